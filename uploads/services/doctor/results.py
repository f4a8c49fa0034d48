"""Results of checks, and the time that they have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class CheckResult:
    """`advice` says what to do, and is empty only where nothing is to be done."""

    level: Level
    subject: str
    reason: str
    advice: str = ""

    def __str__(self) -> str:
        told = f"{self.level:4} {self.subject}: {self.reason}"
        return f"{told} — {self.advice}" if self.advice else told


def ok(subject: str, reason: str) -> CheckResult:
    return CheckResult(Level.OK, subject, reason)


def warn(subject: str, reason: str, advice: str) -> CheckResult:
    return CheckResult(Level.WARN, subject, reason, advice)


def fail(subject: str, reason: str, advice: str) -> CheckResult:
    return CheckResult(Level.FAIL, subject, reason, advice)


def humanize_duration(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


CHECK_SECONDS = 12.0


def safely(subject: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
    """A bug of ours in one check must not hide what the others find."""
    try:
        return list(check())
    except Exception as error:
        return [fail(subject, f"the check itself failed: {type(error).__name__}", "please report this")]


class Deadline:
    """So many seconds for a row of checks."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def run(self, subject: str, check: Callable[[], Iterable[CheckResult]]) -> list[CheckResult]:
        """What the check says, or that it did not come to an end in time.

        It runs in a thread that may be left behind: not every library lets a call be broken off.
        """
        seconds = min(CHECK_SECONDS, self.left)
        if not seconds:
            return [fail(subject, "not looked at, there was no time left", "mend what is slow above, and ask again")]
        lines: list[CheckResult] = []
        thread = threading.Thread(target=lambda: lines.extend(safely(subject, check)), daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            return [fail(subject, f"no answer within {seconds:.0f} seconds", "look at the network on the way there")]
        return lines
