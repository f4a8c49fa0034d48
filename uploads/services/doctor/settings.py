"""What settings alone tell: Django's own checks and ours, as `check --deploy` has them."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.checks import ERROR, WARNING, CheckMessage, run_checks

from uploads.services.doctor.results import CheckResult, fail, ok, warn

PLAIN_HTTP = "uploads.W002"
FOLLOW_FROM_IT = {"security.W004", "security.W008", "security.W012", "security.W016"}


def settings_checks() -> Iterable[CheckResult]:
    told = [one for one in run_checks(include_deployment_checks=True) if one.level >= WARNING and not one.is_silenced()]
    known = FOLLOW_FROM_IT if any(one.id == PLAIN_HTTP for one in told) else set()
    for one in told:
        if one.id not in known:
            yield _line(one)
    if not told:
        yield ok("settings", "check --deploy finds nothing")


def _line(one: CheckMessage) -> CheckResult:
    """Django's own messages say what to do behind what is wrong."""
    message, hint = " ".join(str(one.msg).split()), " ".join(str(one.hint or "").split())
    if not hint:
        message, _, hint = message.partition(". ")
    told = f"{message.rstrip('.')} ({one.id})"
    return (fail if one.level >= ERROR else warn)("settings", told, hint or "see Django's documentation of that check")
