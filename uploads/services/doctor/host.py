"""Check the settings, as `check --deploy` does, and the space for temporary files on this machine."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Iterable

import django
from django.core.checks import ERROR, WARNING, CheckMessage, run_checks

import amalga
from uploads import previews
from uploads.humanize import humanize_bytes
from uploads.services.doctor.results import CheckResult, fail, ok, warn

PLAIN_HTTP = "uploads.W002"
IMPLIED_BY_PLAIN_HTTP = {"security.W004", "security.W008", "security.W012", "security.W016"}
# Previews are made from a temporary copy of the file, and manifests are written to a file before the upload.
LOW_DISK_BYTES = 250_000_000
TEST_FILE_BYTES = 1_000_000
OPTIONAL_PROGRAMS = {previews.SOFFICE: "Office documents", previews.FFMPEG: "videos"}


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
        yield ok("settings", "no problems found by check --deploy")


def _line(check: CheckMessage) -> CheckResult:
    """Convert a check message. Django's messages without a hint have the advice in their second sentence."""
    text, hint = " ".join(str(check.msg).split()), " ".join(str(check.hint or "").split())
    if not hint:
        text, _, hint = text.partition(". ")
    if hint[1:2].islower():  # not the name of a variable
        hint = f"{hint[0].lower()}{hint[1:]}"
    reason = f"{text.rstrip('.')} ({check.id})"
    return (fail if check.level >= ERROR else warn)(
        "settings", reason, hint or "see this check in Django's documentation"
    )


def version_checks() -> Iterable[CheckResult]:
    yield ok(
        "version",
        f"Amalga {amalga.__version__}, Django {django.get_version()}, Python {platform.python_version()}",
    )


def disk_checks() -> Iterable[CheckResult]:
    """Check that a temporary file can be written, and delete it."""
    subject, folder = "disk", tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    try:
        _write_test_file()
    except OSError as fault:
        reason = f"cannot write to {folder}: {fault.strerror} ({humanize_bytes(free)} free)"
        yield fail(subject, reason, "free some space, or set TMPDIR to another disk")
        return
    if free < LOW_DISK_BYTES:
        yield warn(
            subject,
            f"{humanize_bytes(free)} free in {folder}",
            f"free at least {humanize_bytes(LOW_DISK_BYTES)}, which previews need",
        )
    else:
        yield ok(subject, f"{humanize_bytes(free)} free in {folder}")


def program_checks() -> Iterable[CheckResult]:
    """Report which of the optional programs for previews are installed on this machine."""
    for name, files in OPTIONAL_PROGRAMS.items():
        path = shutil.which(name)
        yield ok("programs", f"{name}: {path}" if path else f"{name} is not installed: no previews of {files}")


def _write_test_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(TEST_FILE_BYTES))
        file.flush()
