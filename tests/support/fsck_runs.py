"""Run fsck over old files, and read its last report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from tests.support.commands import CommandResult, run_command
from tests.support.factories import create_file
from tests.support.stores import Bucket
from uploads import s3
from uploads.models import File, Report

LONG_AGO = timedelta(days=2)


def run_fsck(*args: str, grace: float = 0) -> CommandResult:
    """Run fsck, by default without a grace period."""
    return run_command("fsck", f"--min-age={grace}", *args)


def findings() -> list[tuple[str, str]]:
    """Return kind and key of the findings in the last report."""
    report = Report.objects.filter(command="fsck").first()
    assert report is not None
    return sorted(report.findings.values_list("kind", "key"))


def stored(owner: User, bucket: Bucket, body: bytes = b"hello", **facts: Any) -> File:
    """Create an old file whose object matches its row."""
    file = create_file(owner, body, bucket=bucket, **facts)
    item = s3.head(file.key)
    assert item is not None
    File.objects.filter(pk=file.pk).update(etag=item.etag, updated_at=timezone.now() - LONG_AGO)
    file.refresh_from_db()
    return file


def skipped() -> dict[str, int]:
    """Return the skipped counts of the last report, by reason."""
    report = Report.objects.filter(command="fsck").first()
    assert report is not None
    return dict(report.summary["skipped"])


def key(number: int) -> str:
    return f"f/{number:032x}"
