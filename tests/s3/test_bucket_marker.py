"""The marker that ties a bucket to its database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from amalga.local import bootstrap
from tests.support import storage_proxies, stores
from uploads import s3
from uploads.errors import StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import Installation
from uploads.services.bucket_guard import ensure_marker, require_marker

pytestmark = pytest.mark.django_db


def test_the_marker_is_read_as_it_was_written(bucket: stores.Bucket) -> None:
    installation = uuid4()
    s3.write_marker(installation)
    assert json.loads(bucket.read("amalga.json")) == {"installation": str(installation)}
    assert s3.read_marker() == installation


def test_a_bucket_of_this_database_passes(marker: UUID) -> None:
    require_marker()
    assert marker == Installation.objects.own_id()


def test_a_bucket_without_a_marker_is_refused(unmarked: stores.Bucket) -> None:
    with pytest.raises(WrongMarker, match="provision --apply"):
        require_marker()


def test_bucket_of_another_database_is_rejected_naming_both(bucket: stores.Bucket) -> None:
    other = uuid4()
    s3.write_marker(other)
    with pytest.raises(WrongMarker, match=f"{other}.*{Installation.objects.own_id()}"):
        require_marker()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"installation": 1}', b'{"installation": "x"}', b"\xff" * 2000])
def test_invalid_marker_is_reported(bucket: stores.Bucket, body: bytes) -> None:
    bucket.write("amalga.json", body)
    with pytest.raises(ValidationFailed, match=r"amalga\.json"):
        require_marker()


@pytest.mark.parametrize("read", [s3.read_marker, s3.read_checkpoint])
def test_truncated_marker_is_unavailable_storage(
    bucket: stores.Bucket, settings: Settings, read: Callable[[], object]
) -> None:
    s3.write_checkpoint(s3.Checkpoint(uuid4(), 1, timezone.now()))
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["get"] = storage_proxies.midway
        with pytest.raises(StorageUnavailable):
            read()


def test_unavailable_storage_is_not_a_missing_marker(bucket: stores.Bucket, settings: Settings) -> None:
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["get"] = storage_proxies.status(404, "NoSuchBucket")
        with pytest.raises(StorageUnavailable):
            require_marker()


def test_marker_is_written_once_and_never_overwritten(unmarked: stores.Bucket) -> None:
    assert ensure_marker()
    assert not ensure_marker()
    other = uuid4()
    s3.write_marker(other)
    with pytest.raises(WrongMarker):
        ensure_marker()
    assert s3.read_marker() == other


def test_a_local_installation_marks_its_own_bucket(
    unmarked: stores.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.core.management.call_command", lambda *_args, **_options: None)
    bootstrap.prepare(tmp_path, own_bucket=False)
    assert s3.read_marker() is None
    bootstrap.prepare(tmp_path, own_bucket=True)
    require_marker()


def test_bootstrap_keeps_a_foreign_marker_and_warns(
    bucket: stores.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("django.core.management.call_command", lambda *_args, **_options: None)
    other = uuid4()
    s3.write_marker(other)
    bootstrap.prepare(tmp_path, own_bucket=True)
    assert s3.read_marker() == other
    assert "belongs to another database" in capfd.readouterr().err
