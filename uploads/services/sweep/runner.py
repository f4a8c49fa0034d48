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
from uploads.errors import Paused, Problem, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import File, Heartbeat, State, apply_deltas
from uploads.models.querysets import FileQuerySet, database_now
from uploads.services.assemble import resume_completion
from uploads.services.bucket_owner import require_marker
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.erase import erase_all, urls_expired
from uploads.services.preview_tasks import requeue_lost_previews
from uploads.services.restore_guard import require_history, write_high_water_mark
from uploads.services.sweep.expiry import Discards, expire, purge
from uploads.services.sweep.leases import acquire, back_off, free, put_back
from uploads.services.sweep.multiparts import abort_orphaned_multiparts
from uploads.services.sweep.previews import forget_orphans
from uploads.services.verify_tasks import requeue_lost_verifications

logger = logging.getLogger(__name__)


NAME = "sweep"  # of the heartbeat
HEARTBEAT_SECONDS = 20.0
ERASE_BATCH_SIZE = 500
RESOLVE_BATCH_SIZE = 50


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
    return SweepRun(go_on, refused).run()


class SweepRun:
    def __init__(self, go_on: Callable[[], bool], refused: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._go_on = go_on
        self._refused = refused
        self._watch = CircuitBreaker()
        self._foreign: set[str] = set()  # stores whose bucket is not ours
        self._held = settings.PURGE_PAUSED  # nothing is given up or removed
        self._since = database_now()
        self._beaten = 0.0
        self._patient = False
        self._waiting = 0  # rows that were looked at and must stay for now
        self._discards = [
            Discards("expired", lambda: self._is_own_store(File.objects.overdue()), expire, self.counts),
            Discards("purged", lambda: self._is_own_store(File.objects.due_for_purge()), purge, self.counts),
        ]

    def run(self) -> Counter[str]:
        while self._go_on():
            self._heartbeat()
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
                self._require_owner(store)
            self._require_history()
            self._note()  # also when it will be long before there is nothing left to do
        for step in (self._resolve, self._discard, self._erase):
            if self._go_on() and not (self._held and step != self._resolve):
                step()

    def _tend(self) -> None:
        """What needs no batches."""
        if self._go_on():
            apply_deltas()
        self._note()
        for what, step in (("aborted", abort_orphaned_multiparts), ("previews", forget_orphans)):
            if self._go_on() and not (self._held or self._watch.unavailable or self._foreign):
                self._count(what, step)
        if self._go_on():
            requeue_lost_previews()
            requeue_lost_verifications()
        self._heartbeat(now=True)

    def _note(self) -> None:
        """What the bucket is not told of now, it is told of by the next sweep."""
        if not self._go_on() or self._held or self._watch.unavailable or self._foreign:
            return
        try:
            write_high_water_mark()
        except Paused as problem:
            self._hold(problem)
        except StorageUnavailable as fault:
            logger.warning("history_not_noted: %s", fault.detail)

    def _hold(self, problem: Problem) -> None:
        self._held = True
        self._refused(problem.message)

    def _count(self, what: str, step: Callable[..., int]) -> None:
        try:
            self.counts[what] += step(go_on=self._go_on)
        except StorageUnavailable as fault:
            self.counts["failed"] += 1
            logger.warning("sweep_failed step=%s fault=%s", what, type(fault).__name__)
        except (WrongMarker, ValidationFailed) as problem:
            self._refused(problem.message)

    def _heartbeat(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._beaten > HEARTBEAT_SECONDS:
            Heartbeat.objects.beat(NAME)
            self._beaten = time.monotonic()

    # --- whose the buckets are ------------------------------------------------------------------

    def _stores_with_work(self) -> list[str]:
        """An idle sweep asks no store anything."""
        known = {store.name for store in (s3.main_store(), s3.secondary_store()) if store is not None}
        due = [File.objects.stuck(), File.objects.overdue(), File.objects.due_for_purge(), self._going()]
        free_now = [free(self._within_reach(rows), since=self._since) for rows in due]
        return [store for store in sorted(known) if any(rows.filter(store=store).exists() for rows in free_now)]

    def _require_owner(self, store: str) -> None:
        """Once a round and store, before anything is given up or taken away there."""
        try:
            require_marker(store)
        except StorageUnavailable as fault:
            self.counts["failed"] += 1
            self._watch.unavailable.add(store)
            logger.warning("sweep_failed step=marker store=%r fault=%s", store, type(fault).__name__)
        except (WrongMarker, ValidationFailed) as problem:
            self._foreign.add(store)
            self._refused(problem.message)

    def _require_history(self) -> None:
        """Once a round as well, and of the main store alone, whose bucket is told: a pause is for all of them."""
        if self._held or s3.main_store().name in self._watch.unavailable:
            self._held = True
            return
        try:
            require_history()
        except StorageUnavailable as fault:
            self._held = True
            self.counts["failed"] += 1
            logger.warning("sweep_failed step=history fault=%s", type(fault).__name__)
        except (Paused, ValidationFailed) as problem:
            self._hold(problem)

    def _is_own_store(self, rows: FileQuerySet) -> FileQuerySet:
        return rows.exclude(store__in=self._foreign) if self._foreign else rows

    # --- one batch of each ----------------------------------------------------------------------

    def _resolve(self) -> None:
        stuck = free(self._within_reach(File.objects.stuck()), since=self._since).order_by("updated_at")
        for file in list(stuck[:RESOLVE_BATCH_SIZE]):
            if not self._go_on() or file.store in self._watch.unavailable:
                return
            try:
                self.counts["resolved"] += resume_completion(file)
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
            if files := acquire(rows, since=self._since, most=ERASE_BATCH_SIZE):
                self._erase_these(files)
                return

    def _erase_these(self, files: Sequence[File]) -> None:
        """What a URL may still bring bytes for goes twice: what is there now, and all when the URL is dead."""
        erased = erase_all(files, breaker=self._watch)
        self.counts["erased"] += len(erased.removed)
        self._failed("erased", [file for file in files if file.pk in erased.failed], erased.failed)
        waiting = [file for file in files if file.pk not in erased.removed and file.pk not in erased.failed]
        put_back(waiting, looked_at=True)
        self._waiting += len(waiting)

    def _going(self) -> FileQuerySet:
        return File.objects.filter(urls_expired() | Q(tries=0), state=State.DELETING)

    def _within_reach(self, rows: FileQuerySet) -> FileQuerySet:
        return self._is_own_store(rows.exclude(store__in=self._watch.unavailable) if self._watch.unavailable else rows)

    def _failed(self, what: str, files: Sequence[File], faults: Mapping[UUID, Exception]) -> None:
        """Try them again: with the next sweep if it was the store that is away, else after pauses that grow."""
        self.counts["failed"] += len(files)
        away = [file for file in files if self._is_unavailable(file, faults[file.pk])]
        put_back(away)
        back_off(file for file in files if file not in away)
        for file in files:
            fault = faults[file.pk]
            bug = None if isinstance(fault, Problem | DatabaseError | ProtectedError) else fault
            logger.warning("sweep_failed file=%s step=%s fault=%s", file.pk, what, type(fault).__name__, exc_info=bug)

    def _is_unavailable(self, file: File, fault: Exception) -> bool:
        return isinstance(fault, StorageUnavailable) and self._watch.record_failure(file.store)
