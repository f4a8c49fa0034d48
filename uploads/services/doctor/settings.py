"""Check the settings: Django's own checks and ours, as in `check --deploy`."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.checks import ERROR, WARNING, CheckMessage, run_checks

from uploads.services.doctor.results import CheckResult, fail, ok, warn

PLAIN_HTTP = "uploads.W002"
IMPLIED_BY_PLAIN_HTTP = {"security.W004", "security.W008", "security.W012", "security.W016"}


def settings_checks() -> Iterable[CheckResult]:
    messages = [
        message
        for message in run_checks(include_deployment_checks=True)
        if message.level >= WARNING and not message.is_silenced()
    ]
    implied = IMPLIED_BY_PLAIN_HTTP if any(message.id == PLAIN_HTTP for message in messages) else set()
    for message in messages:
        if message.id not in implied:
            yield _line(message)
    if not messages:
        yield ok("settings", "check --deploy finds nothing")


def _line(check: CheckMessage) -> CheckResult:
    """Convert a check message. Django's messages without a hint have the advice in their second sentence."""
    text, hint = " ".join(str(check.msg).split()), " ".join(str(check.hint or "").split())
    if not hint:
        text, _, hint = text.partition(". ")
    reason = f"{text.rstrip('.')} ({check.id})"
    return (fail if check.level >= ERROR else warn)(
        "settings", reason, hint or "see Django's documentation of that check"
    )
