"""Move files and previews from the other store to the main one, and clean up the other one afterwards."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import models
from django.db.models import QuerySet
from django.db.models.functions import Now

from amalga.db import DAY_SECONDS, statement_timeout
from amalga.log import field_value
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.keys import ROW_KEY, ROW_PREFIXES
from uploads.models import File, Installation, Origin, Preview, Refusal
from uploads.models.querysets import in_batches
from uploads.models.states import FAILED_CHECKSUMS
from uploads.services.move_store.copy import CannotMove, CopyJob, CopyResult, Route, copy_object
from uploads.services.move_store.rows import (
    RENEW_SECONDS,
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

logger = logging.getLogger(__name__)

BATCH_SIZE = 200
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
        unfit = row.checksum_status in FAILED_CHECKSUMS
        encoding = None if row.is_encoding_unknown else row.content_encoding or ""
        return CopyJob(row.key, row.size, row.part_size, row.checksum, row.etag, encoding, any_content=unfit)

    def _finish(self, row: Row, future: Future[CopyResult], leases: Leases) -> Moved:
        try:
            result = future.result()
        except CannotMove as problem:
            outcome = self._handle_unmovable(row, problem.reason, leases)
        except (StorageUnavailable, s3.ReadStopped):
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
    batches = in_batches(rows.only("pk"), BATCH_SIZE)
    while True:
        with statement_timeout(DAY_SECONDS):
            ids = [row.pk for row in next(batches, [])]
        if not ids:
            return
        for start in range(0, len(ids), size):
            yield ids[start : start + size]


# --- the originals, after their rows were moved ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cleared:
    """The outcome for an object of the other store.

    `removed` (or, in a dry run, removable), `young` if its row was moved or changed too recently, `here` if its row has
    not moved, `orphan` without a row, `kept` for an imported original, or one that is not provably the copied object,
    and `failed` if the copy is missing or differs.
    """

    key: str
    size: int
    outcome: str


def remove_originals(*, apply: bool, hours: int, imported: bool, parallel: int = 4) -> Generator[Cleared]:
    """Yield the outcome for each object in the other store.

    An original is only removed if its row has named the main store for `hours`, and the copy now has the row's size
    and ETag. Keys that Amalga did not generate prove nothing, as another bucket can have another object there: their
    copy must have our tag, and the original must still be the copied object. Safe to repeat. Raises
    StorageUnavailable.

    `imported` includes originals that were imported with a bucket; otherwise they are not even listed.
    """
    source, target = both_stores()
    since = timedelta(hours=hours)
    check = partial(
        _outcome_by_objects, source=source.name, target=target.name, own_id=str(Installation.objects.own_id())
    )
    with ThreadPoolExecutor(parallel) as workers:
        for prefix in [""] if imported else ROW_PREFIXES:
            for page in s3.list_objects(prefix, store=source.name):
                states = _row_states(page.keys, source, target, since)
                outcomes = {item.key: _outcome_by_row(states.get(item.key), imported=imported) for item in page}
                removable = [key for key, outcome in outcomes.items() if outcome == "removed"]
                outcomes |= zip(
                    removable, workers.map(check, removable, [states[key] for key in removable]), strict=True
                )
                etags = {item.key: item.etag for item in page if outcomes[item.key] == "removed"}
                failed_keys = _remove(etags, source.name) if apply else set()
                outcomes |= dict.fromkeys(failed_keys, "failed")
                yield from (Cleared(item.key, item.size, outcomes[item.key]) for item in page)


@dataclass(frozen=True, slots=True)
class _RowState:
    """What a row says about a key: whether it has moved, and whether it has been unchanged for long enough."""

    moved: bool
    old: bool
    size: int
    etag: str  # empty for previews
    imported: bool


def _row_states(keys: list[str], source: s3.Store, target: s3.Store, since: timedelta) -> dict[str, _RowState]:
    stores = [source.name, target.name]
    is_old = models.Case(models.When(models.Q(moment__lte=Now() - since), then=True), default=False)
    files = File.objects.filter(key__in=keys, store__in=stores).annotate(moment=models.F("updated_at"))
    previews = Preview.objects.filter(key__in=keys, store__in=stores).annotate(moment=models.F("lease_until"))
    states: dict[str, _RowState] = {}
    for key, store, size, etag, origin, old in files.annotate(old=is_old).values_list(
        "key", "store", "size", "etag", "origin", "old"
    ):
        if key not in states or store == source.name:  # a row that still names this object wins
            states[key] = _RowState(store == target.name, old, size, etag, origin == Origin.IMPORTED)
    for key, store, size, old in previews.annotate(old=is_old).values_list("key", "store", "size", "old"):
        states[key] = _RowState(store == target.name, old, size, "", imported=False)
    return states


def _outcome_by_row(row: _RowState | None, *, imported: bool) -> str:
    if row is None:
        return "orphan"
    if not row.moved:
        return "here"
    if row.imported and not imported:
        return "kept"
    return "removed" if row.old else "young"


def _outcome_by_objects(key: str, row: _RowState, *, source: str, target: str, own_id: str) -> str:
    try:
        copy = s3.head(key, store=target)
        if copy is None or copy.size != row.size or (row.etag and copy.etag != row.etag):
            return "failed"
        if ROW_KEY.fullmatch(key):
            return "removed"
        tag, original = s3.copy_tag(key, store=target), s3.head(key, store=source)
    except StorageUnavailable:
        return "failed"
    is_copied = original is not None and (original.size, s3.CopyTag(own_id, original.etag)) == (copy.size, tag)
    return "removed" if is_copied else "kept"


def _remove(etags: dict[str, str], source: str) -> set[str]:
    """Delete the objects, and return the keys that failed. An object that was overwritten since the listing stays."""
    failed_keys = set(s3.delete_many(list(etags), etags=etags, store=source)) if etags else set()
    for key in set(etags) - failed_keys:
        logger.info('original_removed key=%s store="%s"', field_value(key), source)
    return failed_keys
