"""Many files at once: threads that read, and one that writes down what they found."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from uploads.errors import ObjectRefused, Problem, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import ChecksumStatus, File, Finding, Heartbeat, Refusal, Report, Trouble
from uploads.services.bucket_owner import refuse_foreign_bucket
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.refusals import save_refusal
from uploads.services.verify.reader import CHUNK_BYTES
from uploads.services.verify.results import Verdict, check_content, check_head, save_results
from uploads.services.verify.selection import Candidate

logger = logging.getLogger(__name__)

NAME = "verify"  # of the heartbeat
TOLD = ("read", "damaged", "missing", "failed")  # even if there are none
HEARTBEAT_SECONDS = 20.0
TICK_SECONDS = 0.2
RESULTS_BATCH_SIZE = 100
SETTLED_WITHIN_SECONDS = 1.0
AHEAD = 3  # files for each thread
# So many files may be lost in one run, or this part of all, before it is likelier that the bucket is not whole.
FEW = 10
ONE_IN = 100


class TooManyMissing(Problem):
    code = "too_many_missing"
    status_code = 409

    def __init__(self, missing: int, most: int) -> None:
        super().__init__(
            f"{missing} files or more are not in the bucket; one run believes that of {most}. Is it the right bucket, "
            "and whole? No more is written down. `manage.py fsck` tells how many are missing; when they are lost "
            "indeed, run this again with --expect-missing and that number."
        )


class Run:
    """Looks at the files of `chosen`, `parallel` at once. `counts` tells how many were `agreed` (level 1), `read`,
    `damaged`, `missing`, of another ETag though of the right bytes (`etag`), `archived` or `refused` by the store for
    another reason, and `failed`: could not be looked at.

    It ends before its end, and `refusal` says why, at a bucket that is not ours, and at more missing files than a few
    (or than `expect_missing`): those are not settled.

    With a `report`, what is wrong becomes its findings. `told` is called with each that is wrong, `ticked` a few times
    a second. Whatever stops the run, what is done stays done.
    """

    def __init__(
        self,
        chosen: Candidate,
        *,
        level: int = 2,
        parallel: int = 1,
        pace: RateLimiter | None = None,
        report: Report | None = None,
        expect_missing: int | None = None,
        told: Callable[[str, File], None] = lambda _outcome, _file: None,
        ticked: Callable[[int], None] = lambda _done: None,
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(TOLD, 0))
        self.store_is_away = False
        self.stopped = False
        self.refusal: Problem | None = None
        self._chosen = chosen
        self._parallel = parallel
        self._pace = pace or RateLimiter()
        self._report = report
        self._told = told
        self._ticked = ticked
        self._level = level
        self._expect_missing = expect_missing
        self._lost = 0
        self._watch = CircuitBreaker()
        self._may_be_read: set[str] = set()  # stores
        self._unsettled: list[Verdict] = []
        self._settled = self._beaten = 0.0

    def go(self) -> Counter[str]:
        under_way: dict[Future[Verdict], File] = {}
        with ThreadPoolExecutor(self._parallel) as pool:
            try:
                while self._begin_more(pool, under_way):
                    self._collect(under_way)
                    self._tick()
            finally:
                for left in under_way:
                    left.cancel()
        self._settle()
        Heartbeat.objects.beat(NAME)
        return self.counts

    def _begin_more(self, pool: ThreadPoolExecutor, under_way: dict[Future[Verdict], File]) -> bool:
        """False once nothing is under way and nothing more is to come."""
        while not self._is_over() and len(under_way) < AHEAD * self._parallel:
            file = next(self._chosen.files, None)
            if file is None:
                break
            if self._may_read(file):
                under_way[pool.submit(self._judge, file)] = file
        return bool(under_way)

    def _is_over(self) -> bool:
        return self.stopped or self.store_is_away or self.refusal is not None

    def _may_read(self, file: File) -> bool:
        """Each store is asked once whose it is."""
        if file.store not in self._may_be_read:
            try:
                refuse_foreign_bucket(file.store)
            except StorageUnavailable as fault:
                self._watch.unavailable.add(file.store)  # without its marker no file of it counts
                self._failed(file, fault)
                return False
            except (WrongMarker, ValidationFailed) as problem:
                self.refusal = problem
                return False
            self._may_be_read.add(file.store)
        return True

    def _judge(self, file: File) -> Verdict:
        """In a thread of the pool: asks the store, and no database."""
        self._pace(0)
        self._watch.require(file.store)
        return check_head(file, pace=self._pace) if self._level == 1 else check_content(file, pace=self._pace)

    def _collect(self, under_way: dict[Future[Verdict], File]) -> None:
        done, _ = wait(under_way, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            file = under_way.pop(future)
            try:
                self._unsettled.append(future.result())
            except Stopped:
                self.stopped = True
            except ObjectRefused as fault:
                self._refused(file, fault)
            except Exception as fault:  # whatever is wrong with one file, the others go on
                self._failed(file, fault)

    def _refused(self, file: File, fault: ObjectRefused) -> None:
        """An archived object is as intended; a foreign key or policy needs a look."""
        save_refusal(file, fault.reason)
        self._chosen.failed += 1
        if fault.reason == Refusal.ARCHIVED:
            self.counts["archived"] += 1
        else:
            self._note(file, "refused", Trouble.FAILED, {"fault": type(fault).__name__, "reason": fault.reason})

    def _failed(self, file: File, fault: Exception) -> None:
        bug = None if isinstance(fault, Problem) else fault
        logger.warning("verify_failed file=%s fault=%s", file.pk, type(fault).__name__, exc_info=bug)
        self._chosen.failed += 1
        if isinstance(fault, StorageUnavailable) and self._watch.record_failure(file.store):
            self.store_is_away = True
        self._note(file, "failed", Trouble.FAILED, {"fault": type(fault).__name__})

    def _tick(self) -> None:
        now = time.monotonic()
        if len(self._unsettled) >= RESULTS_BATCH_SIZE or now - self._settled > SETTLED_WITHIN_SECONDS:
            self._settle()
            self._settled = now
        if now - self._beaten > HEARTBEAT_SECONDS:
            Heartbeat.objects.beat(NAME)
            self._beaten = now
        self._ticked(self.counts.total())

    def _settle(self) -> None:
        unsettled, self._unsettled = self._unsettled, []
        for verdict in self._locked_rows(unsettled) if unsettled and self.refusal is None else []:
            outcome = "agreed" if verdict.basis is None else str(verdict.basis.value)
            if verdict.trouble is None:
                self.counts[outcome] += 1
            else:
                outcome = "etag" if verdict.basis is ChecksumStatus.READ else outcome
                self._note(verdict.file, outcome, verdict.trouble, verdict.detail)

    def _locked_rows(self, verdicts: list[Verdict]) -> list[Verdict]:
        try:
            self._refuse_too_many(verdicts)
            return save_results(verdicts)
        except StorageUnavailable as fault:
            for verdict in verdicts:
                if verdict.doubts:
                    self._failed(verdict.file, fault)
            return save_results([verdict for verdict in verdicts if not verdict.doubts])
        except (WrongMarker, ValidationFailed, TooManyMissing) as problem:
            self.refusal = problem
            return []

    def _refuse_too_many(self, verdicts: list[Verdict]) -> None:
        """Losses that were known before do not count. How many files there are is not always known: then those that
        were looked at do."""
        self._lost += sum(verdict.is_a_loss for verdict in verdicts)
        files = self._chosen.total if self._chosen.total is not None else self.counts.total() + len(verdicts)
        most = max(FEW, files // ONE_IN) if self._expect_missing is None else self._expect_missing
        if self._lost > most:
            raise TooManyMissing(self._lost, most)

    def _note(self, file: File, outcome: str, trouble: Trouble, detail: dict[str, Any]) -> None:
        self.counts[outcome] += 1
        self._told(outcome, file)
        if self._report is not None:
            Finding.objects.create(report=self._report, trouble=trouble, key=file.key, file_id=file.pk, detail=detail)


def differences(counts: Counter[str]) -> int:
    """Of how many files something is wrong, or not known."""
    return counts.total() - counts["read"] - counts["agreed"] - counts["archived"]


SLICE_SECONDS = 0.2
MIN_CHUNK_BYTES = 16 * 1024


class Stopped(Exception):
    """Somebody asked to stop: what is read by half is not read."""


class RateLimiter:
    """Counts the bytes of all threads, holds them back to `rate` bytes a second, and raises Stopped once `stop` says
    so."""

    def __init__(self, *, rate: int | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        self.bytes = 0
        # Slower than a megabyte a second, smaller pieces: nobody waits long with an open connection.
        self.chunk = CHUNK_BYTES if rate is None else max(MIN_CHUNK_BYTES, min(CHUNK_BYTES, rate // 4))
        self._rate = rate
        self._stop = stop
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        until = self._account(count)
        while True:
            if self._stop():
                raise Stopped
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(SLICE_SECONDS, left))

    def _account(self, count: int) -> float:
        """When so many bytes more may have come."""
        with self._lock:
            self.bytes += count
            if self._rate:
                self._free_at = max(self._free_at, time.monotonic()) + count / self._rate
            return self._free_at
