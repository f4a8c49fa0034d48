"""Running fsck over files that are there for long, and what its last report holds."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.support.factories import create_file
from tests.support.stores import Bucket
from uploads import s3
from uploads.models import File, Report

LONG_AGO = timedelta(days=2)


def run(*args: str, grace: float = 0) -> tuple[int, str]:
    """Exit status and what was written."""
    out = io.StringIO()
    try:
        call_command("fsck", f"--min-age={grace}", *args, stdout=out, stderr=io.StringIO())
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def findings() -> list[tuple[str, str]]:
    """The kind and key of the last report's findings."""
    report = Report.objects.filter(command="fsck").first()
    assert report is not None
    return sorted(report.findings.values_list("kind", "key"))


def stored(owner: User, bucket: Bucket, body: bytes = b"hello", **facts: Any) -> File:
    """A file whose object is as its row says, both there for long."""
    file = create_file(owner, body, bucket=bucket, **facts)
    item = s3.head(file.key)
    assert item is not None
    File.objects.filter(pk=file.pk).update(etag=item.etag, updated_at=timezone.now() - LONG_AGO)
    file.refresh_from_db()
    return file


def skipped() -> dict[str, int]:
    """What the last report left out, and why."""
    report = Report.objects.filter(command="fsck").first()
    assert report is not None
    return dict(report.summary["skipped"])


def key(number: int) -> str:
    return f"f/{number:032x}"
