"""Move row by row: lease, copy, verify, switch."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from amalga.db import DAY_SECONDS, statement_timeout
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import File, Installation, Preview, Refusal
from uploads.services.move_store.copy import CannotMove, CopyJob, CopyResult, Route, copy_object
from uploads.services.move_store.rows import (
    RENEW_SECONDS,
    UNFIT,
    Leases,
    both_stores,
    leave_missing,
    movable_files,
    movable_previews,
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
        limiter = s3.RateLimiter(bytes_per_second, stop=self._stop.is_set)
        installation = str(Installation.objects.own_id())
        self._route = Route(self.source.name, self.target.name, installation, limiter)

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
        except (StorageUnavailable, s3.Stopped):
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
