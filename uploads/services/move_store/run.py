"""Move row by row: lease, copy, verify, switch."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now

from amalga.db import DAY_SECONDS, statement_timeout
from uploads.errors import StorageUnavailable
from uploads.models import File, Installation, Preview, Refusal
from uploads.models.querysets import database_now
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
from uploads.services.stored_objects import save_refusal

BATCH = 200
WAIT_SECONDS = 1.0  # for rows that another run has leased
MAX_FAILURES = 20  # in a row: then the storage is unavailable

Row = File | Preview


@dataclass(frozen=True, slots=True)
class Moved:
    """The outcome for a row: `moved`; `gone`, if it was erased during the move; or why it stays: `corrupted`,
    `missing`, `changed`, `taken`, `archived`, `encrypted`, `denied`, or `failed`, to be retried."""

    row: Row
    outcome: str

    @property
    def bytes(self) -> int:
        return self.row.size if self.outcome == "moved" else 0


class Mover:
    """One run from the other store to the main one. Several runs, also on several machines, share the work.

    Each row is leased, its object is copied, the copy is verified, and one conditional UPDATE switches the row. A run
    that is killed at any point leaves leases that expire within a minute, and copies that the next run replaces.
    """

    def __init__(self, *, parallel: int = 4, bytes_per_second: int | None = None, unfit: bool = False) -> None:
        self.source, self.target = both_stores()
        self._unfit = unfit
        self._parallel = parallel
        self._stop = threading.Event()
        rate_limit = ByteRate(bytes_per_second, stop=self._stop)
        installation = str(Installation.objects.own_id())
        self._route = Route(self.source.name, self.target.name, installation, rate_limit.spend, self._stop)

    def run(self) -> Generator[Moved]:
        """Move everything, files before previews. Iterate to the end, or close the generator.

        Raises StorageUnavailable if a store does not respond at all; rows that were moved stay moved.
        """
        yield from self._move_all(movable_files(self.source, unfit=self._unfit))
        switch_empty_previews(self._route)
        yield from self._move_all(movable_previews(self.source))

    def _move_all(self, rows: QuerySet[Any]) -> Iterator[Moved]:
        leases: Leases = Leases(rows)
        with ThreadPoolExecutor(self._parallel) as workers:
            try:
                yield from self._while_storage_responds(self._copy_rows(rows, leases, workers))
            except BaseException:
                self._stop.set()
                workers.shutdown(cancel_futures=True)
                raise
            finally:
                leases.release_all()

    def _copy_rows(self, rows: QuerySet[Any], leases: Leases, workers: ThreadPoolExecutor) -> Iterator[Moved]:
        running: dict[Future[CopyResult], Row] = {}
        for row in self._leased_rows(rows, leases):
            if row is not None:
                running[workers.submit(copy_object, self._copy_job(row), self._route)] = row
            while running and (row is None or len(running) >= 2 * self._parallel):
                finished, _pending = wait(running, timeout=RENEW_SECONDS / 3, return_when=FIRST_COMPLETED)
                leases.renew()
                for future in finished:
                    yield self._finish(running.pop(future), future, leases)

    def _leased_rows(self, rows: QuerySet[Any], leases: Leases) -> Iterator[Row | None]:
        """Yield rows that this run has leased, and None where the rows before must be finished first.

        Rows that other runs have leased come last, once those leases end.
        """
        leased_elsewhere: list[Any] = []
        for ids in _batches(rows, size=self._parallel):
            leased = leases.acquire(ids)
            leased_elsewhere += set(ids) - {row.pk for row in leased}
            yield from leased
        yield None
        while leased_elsewhere := list(rows.filter(pk__in=leased_elsewhere).values_list("pk", flat=True)):
            leased = leases.acquire(leased_elsewhere)
            yield from leased
            yield None
            done_ids = {row.pk for row in leased}
            leased_elsewhere = [pk for pk in leased_elsewhere if pk not in done_ids]
            if leased_elsewhere:
                time.sleep(WAIT_SECONDS)

    def _copy_job(self, row: Row) -> CopyJob:
        if isinstance(row, Preview):
            return CopyJob(row.key, row.size, max(1, row.size))
        unfit = row.checksum_status in UNFIT
        encoding = None if row.is_encoding_unknown else row.content_encoding or ""
        return CopyJob(row.key, row.size, row.part_size, row.checksum, row.etag, encoding, any_content=unfit)

    def _finish(self, row: Row, future: Future[CopyResult], leases: Leases) -> Moved:
        try:
            result = future.result()
        except CannotMove as problem:
            outcome = self._handle_unmovable(row, problem.reason, leases)
        except (StorageUnavailable, Stopped):
            outcome = "failed"
        else:
            if isinstance(row, File):
                outcome = repoint_file(row, result, self._route, until=leases.until)
            else:
                outcome = repoint_preview(row, self._route, until=leases.until)
        leases.release(row)
        return Moved(row, "failed" if outcome == "again" else outcome)

    def _handle_unmovable(self, row: Row, reason: str, leases: Leases) -> str:
        if isinstance(row, Preview):
            return remake_preview(row, self._route, until=leases.until)
        if reason == "missing" and self._unfit:
            return leave_missing(row, self._route, until=leases.until)
        if reason == "corrupted" and row.checksum:
            note_damage(row, self._route, until=leases.until)
        if reason in Refusal.values:
            save_refusal(row, reason)
        return reason

    def _while_storage_responds(self, outcomes: Iterator[Moved]) -> Iterator[Moved]:
        """Yield the outcomes. Raises StorageUnavailable once too many copies fail in a row."""
        failures = 0
        for moved in outcomes:
            failures = failures + 1 if moved.outcome == "failed" else 0
            yield moved
            if failures >= MAX_FAILURES:
                raise StorageUnavailable(f"{failures} copies failed in a row")


def _batches(rows: QuerySet[Any], *, size: int) -> Iterator[list[Any]]:
    """Yield the IDs of all rows in order, `size` at once. Rows that are added later may be left out."""
    last_id: Any = None
    while True:
        with statement_timeout(DAY_SECONDS):
            page = rows.order_by("pk") if last_id is None else rows.order_by("pk").filter(pk__gt=last_id)
            ids = list(page.values_list("pk", flat=True)[:BATCH])
        if not ids:
            return
        last_id = ids[-1]
        for start in range(0, len(ids), size):
            yield ids[start : start + size]


LEASE_SECONDS = 60
RENEW_SECONDS = 15


class Leases:
    """The leases of a run. All end at one moment, which no other run has, so that it identifies their owner.

    Call `renew` regularly.
    """

    def __init__(self, rows: QuerySet[Any]) -> None:
        self._rows = rows
        self._released_value = None if rows.model._meta.get_field("lease_until").null else Now()
        self._leased_ids: set[Any] = set()
        self.until = _end_of_lease()
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def acquire(self, ids: Iterable[Any]) -> list[Any]:
        """Lease the rows that no other run has leased and that are still to be moved. Return the current rows."""
        self.renew()
        requested = self._rows.filter(pk__in=list(ids))
        self._set(
            requested.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=Now())), self.until, skip_locked=True
        )
        leased = list(requested.filter(lease_until=self.until))
        self._leased_ids |= {row.pk for row in leased}
        return leased

    def renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        until = _end_of_lease()
        self._set(self._own_rows(), until)
        self.until, self._renew_at = until, time.monotonic() + RENEW_SECONDS

    def release(self, row: Model) -> None:
        """Release the lease of a finished row, if the run still has it."""
        self._set(self._own_rows().filter(pk=row.pk), self._released_value)
        self._leased_ids.discard(row.pk)

    def release_all(self) -> None:
        self._set(self._own_rows(), self._released_value)
        self._leased_ids.clear()

    def _set(self, rows: QuerySet[Any], until: Any, *, skip_locked: bool = False) -> None:
        """Set the end of the leases. Rows are locked in primary key order, as everywhere, to avoid deadlocks."""
        with transaction.atomic():
            locked = rows.order_by("pk").select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
            ids = list(locked.values_list("pk", flat=True))
            if ids:
                self._rows.model._default_manager.filter(pk__in=ids).update(lease_until=until)

    def _own_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._rows.model._default_manager.filter(pk__in=self._leased_ids, lease_until=self.until)
        return rows


def _end_of_lease() -> datetime:
    """Return the end of a new lease by the database's clock, with random microseconds to make it unique."""
    return database_now() + timedelta(seconds=LEASE_SECONDS, microseconds=random.randrange(10**6))  # noqa: S311


class ByteRate:
    """Limits the bytes per second of all threads: `spend` waits until the bytes fit the rate. `stop` ends all waits."""

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
            seconds = self._free_at - now
        self._stop.wait(seconds)
