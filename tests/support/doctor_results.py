"""Helpers for tests of `doctor`."""

from __future__ import annotations

from collections.abc import Iterable

from uploads.services.doctor import CheckResult, Level
from uploads.services.doctor.results import Deadline
from uploads.services.doctor.storage import store_checks

ORIGIN = "https://files.example.org"
EVIL = "CORS from https://evil.example"


def only(lines: Iterable[CheckResult]) -> CheckResult:
    (line,) = lines
    return line


def worst(lines: Iterable[CheckResult]) -> dict[str, CheckResult]:
    """Return the worst result of each subject."""
    worst_of_each: dict[str, CheckResult] = {}
    for line in sorted(lines, key=lambda line: [*Level].index(line.level)):
        worst_of_each[line.subject] = line
    return worst_of_each


def examined(*origins: str) -> dict[str, CheckResult]:
    """Return the worst result of each storage check."""
    return worst(store_checks(Deadline(30), origins or [ORIGIN]))


def level(lines: dict[str, CheckResult], subject: str) -> str:
    return str(lines[subject].level)
