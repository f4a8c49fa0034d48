"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Line:
    """`advice` says what to do, and is empty only where nothing is to be done."""

    level: Level
    subject: str
    reason: str
    advice: str = ""

    def __str__(self) -> str:
        told = f"{self.level:4} {self.subject}: {self.reason}"
        return f"{told} — {self.advice}" if self.advice else told


def ok(subject: str, reason: str) -> Line:
    return Line(Level.OK, subject, reason)


def warn(subject: str, reason: str, advice: str) -> Line:
    return Line(Level.WARN, subject, reason, advice)


def fail(subject: str, reason: str, advice: str) -> Line:
    return Line(Level.FAIL, subject, reason, advice)


def span(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
