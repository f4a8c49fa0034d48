"""Results of checks, and their time limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    `advice` says how to fix it, and is only empty if there is nothing to fix; `area` is set by `in_area`.
    """

    level: Level
    subject: str
    reason: str
    advice: str = ""
    area: str = ""

    def __str__(self) -> str:
        line = f"{self.level.upper():4}  {self.subject}: {self.reason.rstrip('.')}."
        return f"{line} Fix: {self.advice.rstrip('.')}." if self.advice else line


def ok(subject: str, reason: str) -> CheckResult:
    return CheckResult(Level.OK, subject, reason)


def warn(subject: str, reason: str, advice: str) -> CheckResult:
    return CheckResult(Level.WARN, subject, reason, advice)


def fail(subject: str, reason: str, advice: str) -> CheckResult:
    return CheckResult(Level.FAIL, subject, reason, advice)


def in_area(area: str, results: Iterable[CheckResult]) -> Iterator[CheckResult]:
    return (replace(result, area=area) for result in results)


CHECK_SECONDS = 12.0


def run_safely(subject: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """Run a check. An exception in it becomes a result, so that it does not hide those of other checks."""
    try:
        return list(check())
    except Exception as error:
        return [fail(subject, f"the check itself failed ({type(error).__name__})", "report this as a bug")]


class Deadline:
    """A time limit for a series of checks."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def run(self, subject: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
        """Return the results of the check, or a failure if it does not end in time.

        It runs in a thread that may be abandoned, as some libraries cannot cancel a call.
        """
        seconds = min(CHECK_SECONDS, self.remaining)
        if not seconds:
            return [fail(subject, "not checked: no time left", "fix the slow checks above, and run doctor again")]
        lines: list[CheckResult] = []
        thread = threading.Thread(target=lambda: lines.extend(run_safely(subject, check)), daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            return [fail(subject, f"timed out after {seconds:.0f} seconds", "check the network")]
        return lines
