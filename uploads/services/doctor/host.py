"""Check the free space for temporary files on this machine's disk, and on the database's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable

from django.db import DatabaseError, connection, transaction

from uploads.services.doctor.results import CheckResult, fail, ok, warn

MIB = 1024**2
# Previews are made from a temporary copy of the file, and manifests are written to a file before the upload.
LOW_DISK_BYTES = 256 * MIB
TEST_FILE_BYTES = MIB
TEST_TABLE_BYTES = 8 * MIB
FULL_STATES = {"53100": "its disk is full", "58030": "its disk fails", "54000": "a limit of its own is reached"}
FILL = "CREATE TEMPORARY TABLE doctor_was_here ON COMMIT DROP AS SELECT repeat('x', 7900) FROM generate_series(1, %s)"


def disk_checks() -> Iterable[CheckResult]:
    """Check that a temporary file can be written, and delete it."""
    subject, folder = "disk", tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    try:
        _write_test_file()
    except OSError as fault:
        reason = f"{folder} takes no more: {fault.strerror} ({_format_bytes(free)} free)"
        yield fail(subject, reason, "make room there, or lead TMPDIR to another disk")
        return
    if free < LOW_DISK_BYTES:
        yield warn(
            subject,
            f"{folder} has {_format_bytes(free)} left",
            f"give it {_format_bytes(LOW_DISK_BYTES)}: previews need them",
        )
    else:
        yield ok(subject, f"{folder} has {_format_bytes(free)} left")


def database_disk_check() -> Iterable[CheckResult]:
    """Check that the database can write, by a temporary table in a transaction that is rolled back."""
    subject = "database disk"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(FILL, [TEST_TABLE_BYTES // 7900])
            transaction.set_rollback(True)
    except DatabaseError as fault:
        state = str(getattr(fault.__cause__, "sqlstate", "") or "")
        if state in FULL_STATES:
            yield fail(
                subject, f"{FULL_STATES[state]}: nothing can be uploaded", "give it room; storage autoscaling does so"
            )
        elif state in {"42501", "25006"}:  # temporary tables not permitted, or read-only: another check reports that
            yield ok(subject, "not tried: this role may make no table; watch its free space at the server")
        else:
            raise
    else:
        yield ok(subject, f"takes {_format_bytes(TEST_TABLE_BYTES)} more")


def _write_test_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(TEST_FILE_BYTES))
        file.flush()


def _format_bytes(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
