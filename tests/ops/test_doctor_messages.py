"""`doctor` reports each problem in one line: the command runs as operators run it, with a real problem."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from tests.support import storage_proxies, stores
from tests.support.doctor_results import only
from tests.support.storage_proxies import StorageProxy
from uploads import s3
from uploads.services.doctor import database, host

pytestmark = pytest.mark.django_db


def failing() -> list[str]:
    """Return the FAIL lines of the command."""
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", "--origin", "https://files.example.org", stdout=out, no_color=True)
    return [line for line in out.getvalue().splitlines() if line.startswith("FAIL")]


def redirect_to_region(storage_proxy: StorageProxy) -> None:
    headers = {"x-amz-bucket-region": "eu-west-3"}
    storage_proxy.rules["*"] = storage_proxies.status(301, "PermanentRedirect", headers=headers)


def foreign_bucket(storage_proxy: StorageProxy) -> None:
    empty = b"<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>"
    denied, ours = (
        storage_proxies.status(403, "AccessDenied"),
        storage_proxies.Response(200, {"Content-Type": "application/xml"}, empty),
    )
    storage_proxy.rules["*"] = lambda request: (
        denied(request) if stores.Address.of_this_run().bucket in request.url else ours
    )


def without_rights(storage_proxy: StorageProxy) -> None:
    storage_proxy.rules["*"] = storage_proxies.status(403, "AccessDenied")


def deny_quarantine_deletes(storage_proxy: StorageProxy) -> None:
    denied = storage_proxies.status(403, "AccessDenied")
    storage_proxy.rules["delete"] = lambda request: (
        denied(request) if "/quarantine/" in request.url else request.forward()
    )


def expired(storage_proxy: StorageProxy) -> None:
    storage_proxy.rules["*"] = storage_proxies.status(400, "ExpiredToken")


def skewed(storage_proxy: StorageProxy) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=20), usegmt=True)
    storage_proxy.server.RequestHandlerClass.date_time_string = lambda *_: date  # type: ignore[attr-defined]


def full(storage_proxy: StorageProxy) -> None:
    storage_proxy.rules["put"] = storage_proxies.status(507, "XMinioStorageFull")


PROBLEMS: dict[str, tuple[Callable[[StorageProxy], None], str]] = {
    "region": (redirect_to_region, "storage: the bucket {bucket} is in eu-west-3, not in us-east-1. Fix: set AWS_"),
    "somebody else's": (foreign_bucket, "storage: the bucket {bucket} belongs to another account. Fix: correct AWS_"),
    "no rights": (without_rights, "storage: access denied: the bucket {bucket} cannot be listed, or"),
    "one right": (deny_quarantine_deletes, "checksums: the test failed at DeleteObject: AccessDenied. Fix: allow s3:"),
    "expired": (expired, "storage: {place}: the credentials have expired. Fix: get new ones"),
    "clock": (skewed, "storage clock: 20 minutes ahead of the clock of this machine. Fix: set the clocks"),
    "full": (full, "checksums: the storage is full, or its quota is used up, so nothing can be uploaded. Fix:"),
}  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS)
def test_each_problem_is_one_line(storage_proxy: StorageProxy, problem: str) -> None:
    prepare, template = PROBLEMS[problem]
    prepare(storage_proxy)
    expected = template.format(bucket=stores.Address.of_this_run().bucket, place=storage_proxy.url)
    (line,) = [line for line in failing() if not line.startswith(("FAIL  CORS", "FAIL  bucket anonymous access"))]
    assert line.startswith(f"FAIL  {expected}"), line


# --- disk space ---------------------------------------------------------------------------------


def test_disk_with_free_space_is_ok(db: None) -> None:
    assert [only(host.disk_checks()).level, only(database._disk()).level] == ["ok", "ok"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('pg_temp.doctor_was_here')")
        assert cursor.fetchone() == (None,)


def test_a_full_disk_is_named(bucket: stores.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(host, "_write_test_file", is_full)
    (line,) = [line for line in failing() if "CORS" not in line]
    assert "disk: " in line
    assert "cannot write to /tmp: No space left on device" in line


def test_nearly_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: type("Usage", (), {"free": 3_000_000})())
    line = only(host.disk_checks())
    assert (line.level, "3 MB free" in line.reason) == ("warn", True)


@pytest.mark.parametrize(
    ("cause", "level", "reason"),
    [(psycopg.errors.DiskFull(), "fail", "disk full, so nothing can be uploaded"),
     (psycopg.errors.IoError(), "fail", "disk error"),
     (psycopg.errors.InsufficientPrivilege(), "ok", "not checked")],
)  # fmt: skip
def test_a_full_disk_of_the_database_is_named(
    db: None, monkeypatch: pytest.MonkeyPatch, cause: Exception, level: str, reason: str
) -> None:
    def is_full(*_: Any) -> None:
        raise OperationalError("no") from cause

    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.utils.CursorWrapper.execute", is_full)
        line = only(database._disk())
    assert (line.level, reason in line.reason) == (level, True)


def test_all_checks_are_printed_when_they_pass(bucket: stores.Bucket) -> None:
    s3.reset()
    out = io.StringIO()
    call_command("doctor", stdout=out, no_color=True)
    assert "\nOK    disk: " in out.getvalue()
    assert "\nOK    database disk: 8 MB could be written" in out.getvalue()
    assert "\nOK    purge: " in out.getvalue()


def test_the_optional_programs_for_previews_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [(line.level, line.reason) for line in host.program_checks()] == [
        ("ok", "soffice is not installed: no previews of Office documents"),
        ("ok", f"ffmpeg: {tmp_path / 'ffmpeg'}"),
    ]
