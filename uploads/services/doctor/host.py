"""Whether there is room left: on this machine's disk, for a moment's files, and on the database's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable

from django.db import DatabaseError, connection, transaction

from uploads.services.doctor.results import CheckResult, fail, ok, warn

MIB = 1024**2
# A preview is drawn from a copy of its file, and a manifest is written as a file before it is sent.
LOW_DISK_BYTES = 256 * MIB
TRIED_BYTES = MIB
DATABASE_BYTES = 8 * MIB
FULL = {"53100": "its disk is full", "58030": "its disk fails", "54000": "a limit of its own is reached"}
FILL = "CREATE TEMPORARY TABLE doctor_was_here ON COMMIT DROP AS SELECT repeat('x', 7900) FROM generate_series(1, %s)"


def disk_checks() -> Iterable[CheckResult]:
    """A file is written where those of a moment go, and is gone again."""
    subject, folder = "disk", tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    try:
        _write_a_file()
    except OSError as fault:
        told = f"{folder} takes no more: {fault.strerror} ({_describe(free)} free)"
        yield fail(subject, told, "make room there, or lead TMPDIR to another disk")
        return
    if free < LOW_DISK_BYTES:
        yield warn(
            subject, f"{folder} has {_describe(free)} left", f"give it {_describe(LOW_DISK_BYTES)}: previews need them"
        )
    else:
        yield ok(subject, f"{folder} has {_describe(free)} left")


def database_disk_check() -> Iterable[CheckResult]:
    """A table of a moment is made and taken back: nothing stays, but for the server it is as writing is."""
    subject = "database disk"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(FILL, [DATABASE_BYTES // 7900])
            transaction.set_rollback(True)
    except DatabaseError as fault:
        state = str(getattr(fault.__cause__, "sqlstate", "") or "")
        if state in FULL:
            yield fail(subject, f"{FULL[state]}: nothing can be uploaded", "give it room; storage autoscaling does so")
        elif state in {"42501", "25006"}:  # no right to such tables, or no writes: that has a line of its own
            yield ok(subject, "not tried: this role may make no table; watch its free space at the server")
        else:
            raise
    else:
        yield ok(subject, f"takes {_describe(DATABASE_BYTES)} more")


def _write_a_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(TRIED_BYTES))
        file.flush()


def _describe(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
