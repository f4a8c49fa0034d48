"""Verify stored objects against their rows (fixity): which files, in which order, and many at once."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Q, Sum

from uploads import s3
from uploads.errors import ObjectRefused, Problem, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import (
    ChecksumStatus,
    File,
    Finding,
    FindingKind,
    Heartbeat,
    Origin,
    Refusal,
    Report,
    Statistic,
    StatisticKind,
    StatisticStatus,
    apply_deltas,
)
from uploads.models.querysets import FileQuerySet, database_now, in_batches
from uploads.services.bucket_guard import refuse_foreign_bucket
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.stored_objects import save_refusal
from uploads.services.verify.fixity import FixityVerdict, check_content, check_head, save_results

logger = logging.getLogger(__name__)

NAME = "verify"  # of the heartbeat
ALWAYS_REPORTED = ("verified", "corrupted", "missing", "failed")  # even if zero
HEARTBEAT_SECONDS = 20.0
TICK_SECONDS = 0.2
RESULTS_BATCH_SIZE = 100
SAVE_SECONDS = 1.0
QUEUED_PER_THREAD = 3  # files per thread
# More missing files than this number, or than this fraction of all, mean rather that the bucket is incomplete.
MIN_ALLOWED_MISSING = 10
ALLOWED_MISSING_DIVISOR = 100

BATCH_SIZE = 200
ALL = Fraction(1)


class TooManyMissing(Problem):
    code = "too_many_missing"
    status_code = 409

    def __init__(self, missing: int, limit: int) -> None:
        super().__init__(
            f"At least {missing:,} files are missing from the bucket, more than the limit of {limit:,}. Check that it "
            "is the right bucket, and complete. If the files are lost, count them with `manage.py fsck`, and run again "
            "with --max-missing and that number."
        )


class Run:
    """Verifies the files of `selection`, `parallel` at once.

    `counts` has the number of files that were `unchanged` (level 1), `verified`, `corrupted`, `missing`, of
    another ETag but the right bytes (`etag_mismatch`), `archived`, `refused` by the storage for another reason, and
    `failed`: not verified.

    The run ends early, with the reason in `refusal`, for a bucket that is not ours, and if more files are missing than
    is plausible (or than `max_missing`): these results are not saved.

    With a `report`, each problem becomes a finding. `on_problem` is called for each problem, `on_tick` a few times a
    second with the number of files so far. Whatever stops the run, saved results stay.
    """

    def __init__(
        self,
        selection: Selection,
        *,
        level: int = 2,
        parallel: int = 1,
        limiter: s3.RateLimiter | None = None,
        report: Report | None = None,
        max_missing: int | None = None,
        on_problem: Callable[[str, File], None] = lambda _outcome, _file: None,
        on_tick: Callable[[int], None] = lambda _done: None,
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(ALWAYS_REPORTED, 0))
        self.storage_unavailable = False
        self.stopped = False
        self.refusal: Problem | None = None
        self._selection = selection
        self._parallel = parallel
        self._limiter = limiter or s3.RateLimiter()
        self._report = report
        self._on_problem = on_problem
        self._on_tick = on_tick
        self._level = level
        self._max_missing = max_missing
        self._missing_count = 0
        self._circuit_breaker = CircuitBreaker()
        self._checked_stores: set[str] = set()
        self._unsaved: list[FixityVerdict] = []
        self._last_save = self._last_heartbeat = 0.0

    def run(self) -> Counter[str]:
        running: dict[Future[FixityVerdict], File] = {}
        with ThreadPoolExecutor(self._parallel) as pool:
            try:
                while self._submit_more(pool, running):
                    self._collect(running)
                    self._tick()
            finally:
                for future in running:
                    future.cancel()
        self._save()
        Heartbeat.objects.beat(NAME)
        return self.counts

    def _submit_more(self, pool: ThreadPoolExecutor, running: dict[Future[FixityVerdict], File]) -> bool:
        """Submit the next files. Return False once none is running or left."""
        while not self._is_over() and len(running) < QUEUED_PER_THREAD * self._parallel:
            file = next(self._selection.files, None)
            if file is None:
                break
            if self._is_store_ours(file):
                running[pool.submit(self._check, file)] = file
        return bool(running)

    def _is_over(self) -> bool:
        return self.stopped or self.storage_unavailable or self.refusal is not None

    def _is_store_ours(self, file: File) -> bool:
        """Whether the bucket of the file's store is ours; checked once per store."""
        if file.store not in self._checked_stores:
            try:
                refuse_foreign_bucket(file.store)
            except StorageUnavailable as fault:
                self._circuit_breaker.unavailable.add(file.store)  # without its marker no result counts
                self._handle_failure(file, fault)
                return False
            except (WrongMarker, ValidationFailed) as problem:
                self.refusal = problem
                return False
            self._checked_stores.add(file.store)
        return True

    def _check(self, file: File) -> FixityVerdict:
        """Check one file, in a thread of the pool: sends requests to the storage, and none to the database."""
        self._limiter.spend(0)
        self._circuit_breaker.require(file.store)
        check = check_head if self._level == 1 else check_content
        return check(file, limiter=self._limiter)

    def _collect(self, running: dict[Future[FixityVerdict], File]) -> None:
        finished, _ = wait(running, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
        for future in finished:
            file = running.pop(future)
            try:
                self._unsaved.append(future.result())
            except s3.ReadStopped:
                self.stopped = True
            except ObjectRefused as fault:
                self._handle_refusal(file, fault)
            except Exception as fault:  # a failure of one file must not stop the others
                self._handle_failure(file, fault)

    def _handle_refusal(self, file: File, fault: ObjectRefused) -> None:
        """Count an archived object as fine; report any other refusal, as a foreign key or policy needs attention."""
        save_refusal(file, fault.reason)
        self._selection.failed += 1
        if fault.reason == Refusal.ARCHIVED:
            self.counts["archived"] += 1
        else:
            self._record_problem(
                file, "refused", FindingKind.FAILED, {"error": type(fault).__name__, "reason": fault.reason}
            )

    def _handle_failure(self, file: File, fault: Exception) -> None:
        unexpected = None if isinstance(fault, Problem) else fault
        logger.warning("verify_failed file=%s error=%s", file.pk, type(fault).__name__, exc_info=unexpected)
        self._selection.failed += 1
        if isinstance(fault, StorageUnavailable) and self._circuit_breaker.record_failure(file.store):
            self.storage_unavailable = True
        self._record_problem(file, "failed", FindingKind.FAILED, {"error": type(fault).__name__})

    def _tick(self) -> None:
        now = time.monotonic()
        if len(self._unsaved) >= RESULTS_BATCH_SIZE or now - self._last_save > SAVE_SECONDS:
            self._save()
            self._last_save = now
        if now - self._last_heartbeat > HEARTBEAT_SECONDS:
            Heartbeat.objects.beat(NAME)
            self._last_heartbeat = now
        self._on_tick(self.counts.total())

    def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, []
        for verdict in self._save_unless_refused(unsaved) if unsaved and self.refusal is None else []:
            outcome = "unchanged" if verdict.status is None else str(verdict.status.value)
            if verdict.kind is None:
                self.counts[outcome] += 1
            else:
                outcome = "etag_mismatch" if verdict.status is ChecksumStatus.VERIFIED else outcome
                self._record_problem(verdict.file, outcome, verdict.kind, verdict.detail)

    def _save_unless_refused(self, verdicts: list[FixityVerdict]) -> list[FixityVerdict]:
        try:
            self._refuse_too_many(verdicts)
            return save_results(verdicts)
        except StorageUnavailable as fault:
            for verdict in verdicts:
                if verdict.doubts:
                    self._handle_failure(verdict.file, fault)
            return save_results([verdict for verdict in verdicts if not verdict.doubts])
        except (WrongMarker, ValidationFailed, TooManyMissing) as problem:
            self.refusal = problem
            return []

    def _refuse_too_many(self, verdicts: list[FixityVerdict]) -> None:
        """Raise TooManyMissing for an implausible number of newly missing files.

        If the number of files is unknown, the limit depends on the number of verified files.
        """
        self._missing_count += sum(verdict.is_a_loss for verdict in verdicts)
        files = self._selection.total if self._selection.total is not None else self.counts.total() + len(verdicts)
        limit = (
            max(MIN_ALLOWED_MISSING, files // ALLOWED_MISSING_DIVISOR)
            if self._max_missing is None
            else self._max_missing
        )
        if self._missing_count > limit:
            raise TooManyMissing(self._missing_count, limit)

    def _record_problem(self, file: File, outcome: str, kind: FindingKind, detail: dict[str, Any]) -> None:
        self.counts[outcome] += 1
        self._on_problem(outcome, file)
        if self._report is not None:
            Finding.objects.create(report=self._report, kind=kind, key=file.key, file_id=file.pk, detail=detail)


def differences(counts: Counter[str]) -> int:
    """Return the number of files with a problem, or with an unknown result."""
    return counts.total() - counts["verified"] - counts["unchanged"] - counts["archived"]


@dataclass
class Selection:
    """The files of one run, and their number and bytes: estimates for many files, None if not computed.

    The run increments `failed`; as many other files are then selected instead, so that unreadable files do not replace
    others night after night. `files` yields None while nothing is left unless another file fails.
    """

    files: Iterator[File | None]
    total: int | None = None
    total_bytes: int | None = None
    failed: int = 0


def by_ids(ids: Sequence[UUID]) -> Selection:
    """Select available files by id."""
    rows = File.objects.available().filter(pk__in=ids)
    totals = rows.aggregate(files=Count("pk"), bytes=Sum("size", default=0))
    return Selection(_each(rows, "pk"), totals["files"], totals["bytes"])


def unverified_checksums() -> Selection:
    """Select files with an unverified checksum, except those that the storage is known to refuse."""
    return Selection(_each(_unrefused().unverified(), "pk"))


def unverified() -> Selection:
    """Select files with an unverified checksum, and imported files that have none yet. Each has its own index."""
    without_checksum = _unrefused().filter(checksum_status=ChecksumStatus.UNVERIFIED, checksum="")
    imported = without_checksum.exclude(origin=Origin.UPLOADED)
    return Selection(chain(unverified_checksums().files, _each(imported, "pk")))


def least_recent(fraction: Fraction = ALL) -> Selection:
    """Select this fraction of all available files, rounded up, the least recently verified first.

    Successive runs thus read every file. A fraction below 1 skips the files that the storage is known to refuse.
    """
    apply_deltas()
    stored = Statistic.objects.filter(
        kind=StatisticKind.TOTAL, status__in=[StatisticStatus.STORED, StatisticStatus.VERSION]
    )
    totals = stored.aggregate(files=Sum("files", default=0), bytes=Sum("bytes", default=0))
    limit = math.ceil(totals["files"] * fraction) if fraction < 1 else None
    selection = Selection(iter(()), math.ceil(totals["files"] * fraction), math.ceil(totals["bytes"] * fraction))
    rows = File.objects.available() if limit is None else _unrefused()
    selection.files = _least_recent(rows, selection, database_now(), limit)
    return selection


_ORDER = (F("verified_at").asc(nulls_first=True), "pk")


def _each(rows: FileQuerySet, *order: Any) -> Iterator[File]:
    return chain.from_iterable(in_batches(rows, BATCH_SIZE, order=order))


def _unrefused() -> FileQuerySet:
    return File.objects.available().filter(refusal="")


def _least_recent(
    rows: FileQuerySet, selection: Selection, since: datetime, limit: int | None
) -> Iterator[File | None]:
    """Yield files that were never verified, then the others by their last verification: two ranges of one index."""
    taken = 0
    never_read = rows.filter(verified_at__isnull=True)
    for files in (_each(never_read, *_ORDER), _by_time(rows, since)):
        for file in files:
            while limit is not None and taken - selection.failed >= limit:
                yield None
            taken += 1
            yield file


def _by_time(rows: FileQuerySet, since: datetime) -> Iterator[File]:
    rows = rows.filter(verified_at__lt=since).order_by(*_ORDER)
    last: File | None = None
    while True:
        page = rows
        if last is not None:
            after_last = Q(verified_at__gt=last.verified_at) | Q(verified_at=last.verified_at, pk__gt=last.pk)
            page = rows.filter(after_last, verified_at__gte=last.verified_at)
        batch = list(page[:BATCH_SIZE])
        if not batch:
            return
        yield from batch
        last = batch[-1]
