"""Move row by row: claim, copy, verify, switch."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now

from amalga.db.timeouts import long_transaction
from uploads.errors import StorageUnavailable
from uploads.models import File, Installation, Preview, Refusal
from uploads.services.move_store.copy import CannotMove, CopyJob, CopyResult, Route, Stopped, copy_object
from uploads.services.move_store.plan import UNFIT, both_stores, movable_files, movable_previews
from uploads.services.move_store.repoint import (
    leave_missing,
    note_damage,
    remake_preview,
    repoint_file,
    repoint_preview,
    switch_empty_previews,
)
from uploads.services.refusals import save_refusal

BATCH = 200
WAIT_SECONDS = 1.0  # for what another run holds
MAX_FAILURES = 20  # in a row: then the store is away

Row = File | Preview


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a row: `moved`; `gone`, as it was erased meanwhile; or why it stays: `damaged`, `missing`,
    `changed`, `taken`, `archived`, `encrypted`, `denied`, or `failed`, to be tried again."""

    row: Row
    outcome: str

    @property
    def bytes(self) -> int:
        return self.row.size if self.outcome == "moved" else 0


class Mover:
    """One run from the other store to the main one. Several may run at once, on several machines: they share the work.

    A row is claimed by a lease, its object is copied and the copy verified, and one conditional UPDATE switches the
    row. Killed anywhere, a run leaves claims that end within a minute and copies that the next run makes anew.
    """

    def __init__(self, *, parallel: int = 4, bytes_per_second: int | None = None, unfit: bool = False) -> None:
        self.source, self.target = both_stores()
        self._unfit = unfit
        self._parallel = parallel
        self._stop = threading.Event()
        pace = ByteRate(bytes_per_second, stop=self._stop)
        mark = str(Installation.objects.own_id())
        self._way = Route(self.source.name, self.target.name, mark, pace.spend, self._stop)

    def run(self) -> Generator[Moved]:
        """Move all there is, files before previews. To be iterated to its end, or closed. Raises StorageUnavailable
        when a store does not answer at all; what is done stays done."""
        yield from self._each(movable_files(self.source, unfit=self._unfit))
        switch_empty_previews(self._way)
        yield from self._each(movable_previews(self.source))

    def _each(self, rows: QuerySet[Any]) -> Iterator[Moved]:
        claims: Leases = Leases(rows)
        with ThreadPoolExecutor(self._parallel) as workers:
            try:
                yield from self._while_storage_responds(self._through(rows, claims, workers))
            except BaseException:
                self._stop.set()
                workers.shutdown(cancel_futures=True)
                raise
            finally:
                claims.drop_all()

    def _through(self, rows: QuerySet[Any], claims: Leases, workers: ThreadPoolExecutor) -> Iterator[Moved]:
        busy: dict[Future[CopyResult], Row] = {}
        for row in self._claimed(rows, claims):
            if row is not None:
                busy[workers.submit(copy_object, self._load(row), self._way)] = row
            while busy and (row is None or len(busy) >= 2 * self._parallel):
                done, _waiting = wait(busy, timeout=RENEW_SECONDS / 3, return_when=FIRST_COMPLETED)
                claims.renew()
                for future in done:
                    yield self._settle(busy.pop(future), future, claims)

    def _claimed(self, rows: QuerySet[Any], claims: Leases) -> Iterator[Row | None]:
        """Rows that are ours to move; None when those before must be settled first. What others hold comes last: it
        is theirs until they end or are done with it."""
        held: list[Any] = []
        for ids in _batches(rows, size=self._parallel):
            mine = claims.take(ids)
            held += set(ids) - {row.pk for row in mine}
            yield from mine
        yield None
        while held := list(rows.filter(pk__in=held).values_list("pk", flat=True)):
            mine = claims.take(held)
            yield from mine
            yield None
            tried = {row.pk for row in mine}
            held = [pk for pk in held if pk not in tried]
            if held:
                time.sleep(WAIT_SECONDS)

    def _load(self, row: Row) -> CopyJob:
        if isinstance(row, Preview):
            return CopyJob(row.key, row.size, max(1, row.size))
        unfit = row.checksum_basis in UNFIT
        encoding = None if row.is_encoding_unknown else row.content_encoding or ""
        return CopyJob(row.key, row.size, row.part_size, row.checksum, row.etag, encoding, as_it_is=unfit)

    def _settle(self, row: Row, future: Future[CopyResult], claims: Leases) -> Moved:
        try:
            carried = future.result()
        except CannotMove as problem:
            outcome = self._left(row, problem.why, claims)
        except (StorageUnavailable, Stopped):
            outcome = "failed"
        else:
            if isinstance(row, File):
                outcome = repoint_file(row, carried, self._way, until=claims.until)
            else:
                outcome = repoint_preview(row, self._way, until=claims.until)
        claims.drop(row)
        return Moved(row, "failed" if outcome == "again" else outcome)

    def _left(self, row: Row, why: str, claims: Leases) -> str:
        if isinstance(row, Preview):
            return remake_preview(row, self._way, until=claims.until)
        if why == "missing" and self._unfit:
            return leave_missing(row, self._way, until=claims.until)
        if why == "damaged" and row.checksum:
            note_damage(row, self._way, until=claims.until)
        if why in Refusal.values:
            save_refusal(row, why)
        return why

    def _while_storage_responds(self, outcomes: Iterator[Moved]) -> Iterator[Moved]:
        """As they come, until so many fail in a row that there is no use in trying more."""
        failed = 0
        for moved in outcomes:
            failed = failed + 1 if moved.outcome == "failed" else 0
            yield moved
            if failed >= MAX_FAILURES:
                raise StorageUnavailable(f"{failed} copies failed in a row")


def _batches(rows: QuerySet[Any], *, size: int) -> Iterator[list[Any]]:
    """Ids of all these rows in their order, so many at once; a row that comes later may be left out."""
    last: Any = None
    while True:
        with long_transaction():
            page = rows.order_by("pk") if last is None else rows.order_by("pk").filter(pk__gt=last)
            ids = list(page.values_list("pk", flat=True)[:BATCH])
        if not ids:
            return
        last = ids[-1]
        for start in range(0, len(ids), size):
            yield ids[start : start + size]


LEASE_SECONDS = 60
RENEW_SECONDS = 15


class Leases:
    """All of a run's claims end at one moment, which no other run has: it says whose they are. To be renewed."""

    def __init__(self, rows: QuerySet[Any]) -> None:
        self._rows = rows
        self._over = None if rows.model._meta.get_field("lease_until").null else Now()
        self._held: set[Any] = set()
        self.until = _end_of_lease()
        self._due = time.monotonic() + RENEW_SECONDS

    def take(self, ids: Iterable[Any]) -> list[Any]:
        """Those of these rows that nobody else holds and that are still to be moved, as they are now."""
        self.renew()
        wanted = self._rows.filter(pk__in=list(ids))
        self._set(wanted.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=Now())), self.until, skip_locked=True)
        had = list(wanted.filter(lease_until=self.until))
        self._held |= {row.pk for row in had}
        return had

    def renew(self) -> None:
        if time.monotonic() < self._due:
            return
        until = _end_of_lease()
        self._set(self._mine(), until)
        self.until, self._due = until, time.monotonic() + RENEW_SECONDS

    def drop(self, row: Model) -> None:
        """The row is settled: forget it, and end the claim where it still is one."""
        self._set(self._mine().filter(pk=row.pk), self._over)
        self._held.discard(row.pk)

    def drop_all(self) -> None:
        self._set(self._mine(), self._over)
        self._held.clear()

    def _set(self, rows: QuerySet[Any], until: Any, *, skip_locked: bool = False) -> None:
        """Rows are locked in one order, as everywhere: nobody waits for each other in a circle."""
        with transaction.atomic():
            locked = rows.order_by("pk").select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
            ids = list(locked.values_list("pk", flat=True))
            if ids:
                self._rows.model._default_manager.filter(pk__in=ids).update(lease_until=until)

    def _mine(self) -> QuerySet[Any]:
        mine: QuerySet[Any] = self._rows.model._default_manager.filter(pk__in=self._held, lease_until=self.until)
        return mine


def _end_of_lease() -> datetime:
    """By the database's clock, to the microsecond, of which chance chooses one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    moment: datetime = now + timedelta(seconds=LEASE_SECONDS, microseconds=random.randrange(10**6))  # noqa: S311
    return moment


class ByteRate:
    """Whoever spends bytes waits until they fit; without a limit nobody does. `stop` ends every wait."""

    def __init__(self, bytes_per_second: int | None, *, stop: threading.Event) -> None:
        self._rate = bytes_per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def spend(self, count: int) -> None:
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        self._stop.wait(wait)
