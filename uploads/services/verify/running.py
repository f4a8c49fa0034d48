"""Many files at once: threads that read, and one that writes down what they found."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from uploads.errors import Problem, StoreUnavailable
from uploads.models import Basis, File, Finding, Heartbeat, Report, Trouble
from uploads.services.verify.choosing import Chosen
from uploads.services.verify.pace import Paced, Stopped
from uploads.services.verify.verdicts import Verdict, look, read, settle
from uploads.services.watch import StoreWatch

logger = logging.getLogger(__name__)

NAME = "verify"  # of the heartbeat
TOLD = ("read", "damaged", "missing", "failed")  # even if there are none
BEAT_SECONDS = 20.0
TICK_SECONDS = 0.2
SETTLED_AT_ONCE = 100
SETTLED_WITHIN_SECONDS = 1.0
AHEAD = 3  # files for each thread


class Run:
    """Looks at the files of `chosen`, `parallel` at once. `counts` tells how many were `agreed` (level 1), `read`,
    `damaged`, `missing`, of another ETag though of the right bytes (`etag`), and `failed`: could not be looked at.

    With a `report`, what is wrong becomes its findings. `told` is called with each that is wrong, `ticked` a few times
    a second. Whatever stops the run, what is done stays done.
    """

    def __init__(
        self,
        chosen: Chosen,
        *,
        level: int = 2,
        parallel: int = 1,
        pace: Paced | None = None,
        report: Report | None = None,
        told: Callable[[str, File], None] = lambda _outcome, _file: None,
        ticked: Callable[[int], None] = lambda _done: None,
    ) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(TOLD, 0))
        self.store_is_away = False
        self.stopped = False
        self._chosen = chosen
        self._parallel = parallel
        self._pace = pace or Paced()
        self._report = report
        self._told = told
        self._ticked = ticked
        self._level = level
        self._watch = StoreWatch()
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
        while not self.stopped and not self.store_is_away and len(under_way) < AHEAD * self._parallel:
            file = next(self._chosen.files, None)
            if file is None:
                break
            under_way[pool.submit(self._judge, file)] = file
        return bool(under_way)

    def _judge(self, file: File) -> Verdict:
        """In a thread of the pool: asks the store, and no database."""
        self._pace(0)
        self._watch.require(file.store)
        return look(file, pace=self._pace) if self._level == 1 else read(file, pace=self._pace)

    def _collect(self, under_way: dict[Future[Verdict], File]) -> None:
        done, _ = wait(under_way, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            file = under_way.pop(future)
            try:
                self._unsettled.append(future.result())
            except Stopped:
                self.stopped = True
            except Exception as fault:  # whatever is wrong with one file, the others go on
                self._failed(file, fault)

    def _failed(self, file: File, fault: Exception) -> None:
        bug = None if isinstance(fault, Problem) else fault
        logger.warning("verify_failed file=%s fault=%s", file.pk, type(fault).__name__, exc_info=bug)
        self._chosen.failed += 1
        if isinstance(fault, StoreUnavailable) and self._watch.doubt(file.store):
            self.store_is_away = True
        self._note(file, "failed", Trouble.FAILED, {"fault": type(fault).__name__})

    def _tick(self) -> None:
        now = time.monotonic()
        if len(self._unsettled) >= SETTLED_AT_ONCE or now - self._settled > SETTLED_WITHIN_SECONDS:
            self._settle()
            self._settled = now
        if now - self._beaten > BEAT_SECONDS:
            Heartbeat.objects.beat(NAME)
            self._beaten = now
        self._ticked(self.counts.total())

    def _settle(self) -> None:
        unsettled, self._unsettled = self._unsettled, []
        for verdict in settle(unsettled) if unsettled else []:
            outcome = "agreed" if verdict.basis is None else str(verdict.basis.value)
            if verdict.trouble is None:
                self.counts[outcome] += 1
            else:
                outcome = "etag" if verdict.basis is Basis.READ else outcome
                self._note(verdict.file, outcome, verdict.trouble, verdict.detail)

    def _note(self, file: File, outcome: str, trouble: Trouble, detail: dict[str, Any]) -> None:
        self.counts[outcome] += 1
        self._told(outcome, file)
        if self._report is not None:
            Finding.objects.create(report=self._report, trouble=trouble, key=file.key, file_id=file.pk, detail=detail)


def differences(counts: Counter[str]) -> int:
    """Of how many files something is wrong, or not known."""
    return counts.total() - counts["read"] - counts["agreed"]
