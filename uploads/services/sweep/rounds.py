"""What a sweep does, batch by batch."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, ProtectedError, Q

from uploads import s3
from uploads.errors import BadInput, Paused, Problem, StoreUnavailable, WrongMarker
from uploads.models import File, Heartbeat, State, fold
from uploads.models.queries import FileQuerySet, database_now
from uploads.services.assemble import resolve
from uploads.services.erase import erase_all, quiet
from uploads.services.history import note_history, require_history
from uploads.services.marker import require_marker
from uploads.services.preview_queue import tend_previews
from uploads.services.sweep.discards import Discards, expire, purge
from uploads.services.sweep.orphans import forget_orphans
from uploads.services.sweep.strays import abort_strays
from uploads.services.sweep.turns import free, put_back, put_off, take
from uploads.services.verify_queue import tend_claims
from uploads.services.watch import StoreWatch

logger = logging.getLogger(__name__)


NAME = "sweep"  # of the heartbeat
BEAT_SECONDS = 20.0
ERASED_AT_ONCE = 500
RESOLVED_AT_ONCE = 50


def _log(refusal: str) -> None:
    logger.error("sweep_refused: %s", refusal)


def sweep(*, go_on: Callable[[], bool] = lambda: True, refused: Callable[[str], None] = _log) -> Counter[str]:
    """Expire overdue uploads, end assemblies that were left, purge what is due, erase what must go, abort uploads in
    parts that belong to no file, and tend the previews, until nothing is due any more or `go_on` says no.

    Returns how many of each, and `failed`. Safe to repeat. Several at once share the work. A row that fails does
    not stop the others: the next sweep tries it again, and then after growing pauses. A store that is away is asked no
    more; what needs it waits for the next sweep. What lies in a bucket that is not ours is left as it is: removing
    would miss the objects and lose the rows. `refused` is told why, once for each bucket. With PURGE_PAUSED, and
    when the database is older than its bucket, which `refused` is told as well, nothing is given up or removed.
    """
    return _Sweep(go_on, refused).run()


class _Sweep:
    def __init__(self, go_on: Callable[[], bool], refused: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._go_on = go_on
        self._refused = refused
        self._watch = StoreWatch()
        self._foreign: set[str] = set()  # stores whose bucket is not ours
        self._held = settings.PURGE_PAUSED  # nothing is given up or removed
        self._since = database_now()
        self._beaten = 0.0
        self._patient = False
        self._waiting = 0  # rows that were looked at and must stay for now
        self._discards = [
            Discards("expired", lambda: self._ours(File.objects.overdue()), expire, self.counts),
            Discards("purged", lambda: self._ours(File.objects.due_for_purge()), purge, self.counts),
        ]

    def run(self) -> Counter[str]:
        while self._go_on():
            self._beat()
            before = self.counts.total() + self._waiting
            self._round()
            if self.counts.total() + self._waiting > before:
                self._patient = False
            elif not self._held and any(discards.busy for discards in self._discards):
                self._patient = True  # all that is left is held by others
            else:
                break
        self._tend()
        return +self.counts

    def _round(self) -> None:
        """A batch of each, so that all gets on."""
        if stores := self._stores_with_work():
            for store in stores:
                self._ask_whose(store)
            self._ask_history()
            self._note()  # also when it will be long before there is nothing left to do
        for step in (self._resolve, self._discard, self._erase):
            if self._go_on() and not (self._held and step != self._resolve):
                step()

    def _tend(self) -> None:
        """What needs no batches."""
        if self._go_on():
            fold()
        self._note()
        for what, step in (("aborted", abort_strays), ("previews", forget_orphans)):
            if self._go_on() and not (self._held or self._watch.away or self._foreign):
                self._count(what, step)
        if self._go_on():
            tend_previews()
            tend_claims()
        self._beat(now=True)

    def _note(self) -> None:
        """What the bucket is not told of now, it is told of by the next sweep."""
        if not self._go_on() or self._held or self._watch.away or self._foreign:
            return
        try:
            note_history()
        except Paused as problem:
            self._hold(problem)
        except StoreUnavailable as fault:
            logger.warning("history_not_noted: %s", fault.detail)

    def _hold(self, problem: Problem) -> None:
        self._held = True
        self._refused(problem.message)

    def _count(self, what: str, step: Callable[..., int]) -> None:
        try:
            self.counts[what] += step(go_on=self._go_on)
        except StoreUnavailable as fault:
            self.counts["failed"] += 1
            logger.warning("sweep_failed step=%s fault=%s", what, type(fault).__name__)
        except (WrongMarker, BadInput) as problem:
            self._refused(problem.message)

    def _beat(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._beaten > BEAT_SECONDS:
            Heartbeat.objects.beat(NAME)
            self._beaten = time.monotonic()

    # --- whose the buckets are ------------------------------------------------------------------

    def _stores_with_work(self) -> list[str]:
        """An idle sweep asks no store anything."""
        known = {store.name for store in (s3.main_store(), s3.other_store()) if store is not None}
        due = [File.objects.stuck(), File.objects.overdue(), File.objects.due_for_purge(), self._going()]
        free_now = [free(self._within_reach(rows), since=self._since) for rows in due]
        return [store for store in sorted(known) if any(rows.filter(store=store).exists() for rows in free_now)]

    def _ask_whose(self, store: str) -> None:
        """Once a round and store, before anything is given up or taken away there."""
        try:
            require_marker(store)
        except StoreUnavailable as fault:
            self.counts["failed"] += 1
            self._watch.away.add(store)
            logger.warning("sweep_failed step=marker store=%r fault=%s", store, type(fault).__name__)
        except (WrongMarker, BadInput) as problem:
            self._foreign.add(store)
            self._refused(problem.message)

    def _ask_history(self) -> None:
        """Once a round as well, and of the main store alone, whose bucket is told: a pause is for all of them."""
        if self._held or s3.main_store().name in self._watch.away:
            self._held = True
            return
        try:
            require_history()
        except StoreUnavailable as fault:
            self._held = True
            self.counts["failed"] += 1
            logger.warning("sweep_failed step=history fault=%s", type(fault).__name__)
        except (Paused, BadInput) as problem:
            self._hold(problem)

    def _ours(self, rows: FileQuerySet) -> FileQuerySet:
        return rows.exclude(store__in=self._foreign) if self._foreign else rows

    # --- one batch of each ----------------------------------------------------------------------

    def _resolve(self) -> None:
        stuck = free(self._within_reach(File.objects.stuck()), since=self._since).order_by("updated_at")
        for file in list(stuck[:RESOLVED_AT_ONCE]):
            if not self._go_on() or file.store in self._watch.away:
                return
            try:
                self.counts["resolved"] += resolve(file)
            except Exception as fault:  # whatever is wrong with one row, the others go on
                self._failed("resolved", [file], {file.pk: fault})

    def _discard(self) -> None:
        for discards in self._discards:
            discards.some(since=self._since, patient=self._patient, go_on=self._go_on)

    def _erase(self) -> None:
        """Those that go by hundreds before those of which each may need calls of its own."""
        going = self._within_reach(self._going())
        whole = Q(size__lte=F("part_size"), multipart_id="")
        for rows in (going.filter(whole), going.exclude(whole)):
            if files := take(rows, since=self._since, most=ERASED_AT_ONCE):
                self._erase_these(files)
                return

    def _erase_these(self, files: Sequence[File]) -> None:
        """What a URL may still bring bytes for goes twice: what is there now, and all when the URL is dead."""
        erased = erase_all(files, watch=self._watch)
        self.counts["erased"] += len(erased.gone)
        self._failed("erased", [file for file in files if file.pk in erased.failed], erased.failed)
        waiting = [file for file in files if file.pk not in erased.gone and file.pk not in erased.failed]
        put_back(waiting, looked_at=True)
        self._waiting += len(waiting)

    def _going(self) -> FileQuerySet:
        return File.objects.filter(quiet() | Q(tries=0), state=State.DELETING)

    def _within_reach(self, rows: FileQuerySet) -> FileQuerySet:
        return self._ours(rows.exclude(store__in=self._watch.away) if self._watch.away else rows)

    def _failed(self, what: str, files: Sequence[File], faults: Mapping[UUID, Exception]) -> None:
        """Try them again: with the next sweep if it was the store that is away, else after pauses that grow."""
        self.counts["failed"] += len(files)
        away = [file for file in files if self._is_away(file, faults[file.pk])]
        put_back(away)
        put_off(file for file in files if file not in away)
        for file in files:
            fault = faults[file.pk]
            bug = None if isinstance(fault, Problem | DatabaseError | ProtectedError) else fault
            logger.warning("sweep_failed file=%s step=%s fault=%s", file.pk, what, type(fault).__name__, exc_info=bug)

    def _is_away(self, file: File, fault: Exception) -> bool:
        return isinstance(fault, StoreUnavailable) and self._watch.doubt(file.store)
