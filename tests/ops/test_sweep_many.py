"""Sweeps of many rows, concurrent sweeps, rows that always fail, and orphaned multipart uploads."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.conftest import PROJECT
from tests.faults.processes import environment
from tests.support.file_rows import create_row, stored_usage
from tests.support.storage_proxies import Request, Response, StorageProxy, broken, status
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.waiting import wait_until
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import Event, File, Heartbeat, Origin, Preview, PreviewKind, State, Usage
from uploads.models.querysets import seconds_from_now
from uploads.services import orphaned_multiparts, sweep
from uploads.services.bucket_guard import ensure_marker

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes

pytestmark = [pytest.mark.usefixtures("small_parts"), pytest.mark.slow]


def deleting_rows(owner: User, count: int, **facts: Any) -> list[File]:
    rows = [File(owner=owner, name="x", size=1, part_size=10, state=State.DELETING, **facts) for _ in range(count)]
    return File.objects.bulk_create(rows)


def overdue_rows(owner: User, count: int) -> list[File]:
    past = timezone.now() - timedelta(days=1)
    rows = [
        File(owner=owner, name="x", size=3, part_size=10, state=State.UPLOADING, expires_at=past) for _ in range(count)
    ]
    Usage.objects.get_or_create(owner=owner)
    Usage.objects.filter(owner=owner).update(files=count, bytes=3 * count)
    return File.objects.bulk_create(rows)


def poison(storage_proxy: StorageProxy, keys: set[str]) -> None:
    """Let storage fail for these keys, alone and in one request with others."""

    def refuse(request: Request) -> Response | None:
        hit = any(key.encode() in request.body or request.url.endswith(key) for key in keys)
        return status(500, "InternalError")(request) if hit else request.forward()

    storage_proxy.rules["deletes"] = storage_proxy.rules["delete"] = refuse


# --- nothing starves --------------------------------------------------------------------------


def test_failing_rows_do_not_starve_others(
    alice: User, storage_proxy: StorageProxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_rows = deleting_rows(alice, 600)
    failing = {file.key for file in failing_rows}
    monkeypatch.setattr(s3, "delete_many", lambda keys, **_: {key: "InternalError" for key in keys if key in failing})
    new_rows = deleting_rows(alice, 3)
    counts = sweep.sweep()
    assert (counts["failed"], counts["erased"]) == (600, 3)
    assert not File.objects.filter(pk__in=[file.pk for file in new_rows]).exists()


def test_key_that_fails_in_every_request_does_not_stop_others(
    alice: User, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    rows = deleting_rows(alice, 5)
    for row in rows:
        bucket.write(row.key, b"x")
    poison(storage_proxy, {rows[0].key})
    counts = sweep.sweep()
    assert (counts["failed"], counts["erased"]) == (1, 4)
    assert set(bucket.objects()) == {rows[0].key}


def test_backoff_grows_up_to_a_maximum() -> None:
    pauses = [sweep.pause_seconds(tries) for tries in range(20)]
    assert pauses[:4] == [0, 60, 180, 420]
    assert pauses == sorted(pauses)
    assert max(pauses) == sweep.MAX_BACKOFF_SECONDS


def test_failed_row_is_retried_after_its_backoff(alice: User, storage_proxy: StorageProxy, bucket: Bucket) -> None:
    (row,) = deleting_rows(alice, 1)
    storage_proxy.rules["delete"] = status(500, "InternalError")
    assert [sweep.sweep()["failed"] for _ in range(3)] == [1, 1, 0]  # by then, it has a backoff
    storage_proxy.rules.clear()
    assert sweep.sweep()["erased"] == 0
    File.objects.filter(pk=row.pk).update(retry_at=seconds_from_now(-1))
    assert sweep.sweep()["erased"] == 1


def test_unavailable_storage_stops_the_batch_without_backoff(
    alice: User, storage_proxy: StorageProxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting_rows(alice, 40, multipart_id="gone")
    overdue_rows(alice, 5)
    storage_proxy.rules["*"] = broken
    counts = sweep.sweep()
    assert counts["expired"] == counts["erased"] == 0  # only the bucket knows whether this database is the latest
    assert len(storage_proxy.seen) < 60
    assert set(File.objects.values_list("tries", flat=True)) == {0}
    storage_proxy.rules.clear()
    assert sweep.sweep()["erased"] == 45


def test_row_rejected_by_a_constraint_does_not_stop_others(alice: User, bob: User, bucket: Bucket) -> None:
    """The stored usage of its owner is too low, so a constraint rejects the deduction."""
    overdue_rows(alice, 3)
    Usage.objects.filter(owner=alice).update(files=2, bytes=6)
    overdue_rows(bob, 2)
    counts = sweep.sweep()
    assert (counts["expired"], counts["failed"], counts["erased"]) == (4, 1, 4)
    assert (stored_usage(alice), stored_usage(bob)) == ((0, 0), (0, 0))


# --- concurrent sweeps ------------------------------------------------------------------------


def sweep_concurrently(count: int) -> Counter[str]:
    """Run concurrent sweeps, each with its own connection, and return the sum of their counts."""

    def sweep_and_close(_number: int) -> Counter[str]:
        try:
            return sweep.sweep()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(sweep_and_close, range(count)), Counter())


@pytest.mark.django_db(transaction=True)
def test_four_sweeps_share_the_work_and_each_row_is_handled_once(
    alice: User, bob: User, storage_proxy: StorageProxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "ERASE_BATCH_SIZE", 20)
    monkeypatch.setattr(sweep, "BATCH_SIZE", 20)
    rows = [*overdue_rows(alice, 120), *overdue_rows(bob, 80)]
    bodies: list[bytes] = []

    def record(request: Request) -> Response | None:
        bodies.append(request.body + request.url.encode())
        return request.forward()

    storage_proxy.rules["deletes"] = storage_proxy.rules["delete"] = record
    counts = sweep_concurrently(4)
    assert (counts["expired"], counts["erased"], counts["failed"]) == (200, 200, 0)
    requests = b"".join(bodies)
    assert [requests.count(row.key.encode()) for row in rows] == [1] * 200
    assert (stored_usage(alice), stored_usage(bob)) == ((0, 0), (0, 0))


@pytest.mark.django_db(transaction=True)
def test_a_sweep_in_a_loop_touches_no_live_object(as_alice: Client, bucket: Bucket) -> None:
    upload_client, ended = UploadClient(as_alice), threading.Event()
    ensure_marker()

    def loop() -> None:
        while not ended.is_set():
            sweep.sweep()
            Heartbeat.objects.filter(name=orphaned_multiparts.NAME).delete()
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(loop)
        files = {upload_client.send(body, name=f"{n}").key: body for n, body in enumerate([BODY, b"small", b""] * 5)}
        ended.set()
        sweeping.result()
    assert {key: bucket.read(key) for key in files} == files
    assert File.objects.available().count() == 15


@pytest.mark.django_db(transaction=True)
def test_sweep_stops_after_the_current_batch(alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ERASE_BATCH_SIZE", 10)
    deleting_rows(alice, 35)
    turns_left = iter([True] * 8)
    counts = sweep.sweep(should_continue=lambda: next(turns_left, False))
    assert 0 < counts["erased"] < 35
    assert counts["erased"] % 10 == 0
    assert sweep.sweep()["erased"] == 35 - counts["erased"]


@pytest.mark.django_db(transaction=True)
def test_loop_records_a_heartbeat_and_stops_on_sigterm(alice: User, bucket: Bucket) -> None:
    command = [sys.executable, "-W", "error", "manage.py", "sweep", "--every", "60"]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment(), stderr=subprocess.PIPE)
    wait_until(lambda: Heartbeat.objects.last_of("sweep") is not None)
    process.send_signal(signal.SIGTERM)
    _out, errors = process.communicate(timeout=15)
    assert process.returncode == 0
    assert b"Traceback" not in errors


def test_rows_with_unexpired_urls_do_not_stop_the_sweep(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "ERASE_BATCH_SIZE", 2)
    deleting_rows(alice, 3, signed_until=timezone.now() + timedelta(minutes=5))
    deleting_rows(alice, 2)
    assert sweep.sweep()["erased"] == 2
    assert File.objects.count() == 3


def test_leases_of_a_killed_sweep_expire(alice: User, bucket: Bucket) -> None:
    deleting_rows(alice, 2)
    rows = File.objects.filter(state=State.DELETING)
    assert len(sweep.acquire(rows, since=timezone.now(), limit=10)) == 2
    assert sweep.sweep()["erased"] == 0
    rows.update(retry_at=seconds_from_now(-1))
    assert sweep.sweep()["erased"] == 2


# --- kept and deleted objects -----------------------------------------------------------------


def test_the_object_of_an_imported_file_is_never_removed(alice: User, bucket: Bucket) -> None:
    keys = {Origin.UPLOADED: "f/" + "1" * 32, Origin.IMPORTED: "photos/a", Origin.ADOPTED: "photos/b"}
    for origin, key in keys.items():
        create_row(alice, State.DELETING, origin=origin, key=key, size=100)
        bucket.write(key, b"x")
    begun = begin(bucket, "photos/a")
    assert sweep.sweep()["erased"] == 3
    assert set(bucket.objects()) == {"photos/a"}
    assert bucket.multipart_uploads() == [("photos/a", begun)]


def test_each_purged_file_has_an_event(alice: User, bucket: Bucket) -> None:
    for number in range(3):
        create_row(alice, State.TRASHED, purge_after=timezone.now() - timedelta(days=1), name=f"{number}")
    counts = sweep.sweep()
    assert (counts["purged"], counts["erased"]) == (3, 3)
    assert sorted(Event.objects.filter(action="purge").values_list("name", flat=True)) == ["0", "1", "2"]


def test_unfinished_previews_of_trashed_files_are_deleted(alice: User, bucket: Bucket) -> None:
    trashed, available = create_row(alice, State.TRASHED), create_row(alice, State.AVAILABLE)
    for file in (trashed, available):
        preview = Preview.objects.create(file=file, kind=PreviewKind.EXCERPT, lease_until=seconds_from_now(-1))
        bucket.write(Preview.objects.get(pk=preview.pk).key, b"half")
    assert sweep.sweep()["previews"] == 1
    assert [preview.file_id for preview in Preview.objects.all()] == [available.pk]
    assert set(bucket.objects()) == set(Preview.objects.values_list("key", flat=True))


# --- orphaned multipart uploads ---------------------------------------------------------------


@pytest.fixture
def later(db: None, monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> None:
    """A bucket with our marker, and no grace period for multipart uploads."""
    ensure_marker()
    bucket.write("f/" + "e" * 32, b"a neighbour")
    monkeypatch.setattr(orphaned_multiparts, "GRACE", timedelta(seconds=-60))


def begin(bucket: Bucket, key: str) -> str:
    return bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"]


@pytest.mark.usefixtures("later")
def test_orphaned_multiparts_are_aborted_and_current_ones_stay(
    upload_client: UploadClient, alice: User, bucket: Bucket
) -> None:
    live = upload_client.start(BODY)
    upload_client.put(live, 1)
    begin(bucket, live.row().key)  # an orphan of the same file
    begin(bucket, "f/" + "0" * 32)  # of no file
    begin(bucket, create_row(alice, State.AVAILABLE).key)  # of a completed file
    foreign = begin(bucket, "backup/disk")
    assert sweep.sweep()["aborted"] == 3
    assert set(bucket.multipart_uploads()) == {(live.row().key, live.row().multipart_id), ("backup/disk", foreign)}
    upload_client.put(live)
    assert upload_client.finished(live).state == State.AVAILABLE


def test_recent_orphaned_multiparts_stay(bucket: Bucket, alice: User) -> None:
    ensure_marker()
    bucket.write("f/" + "e" * 32, b"a neighbour")
    begin(bucket, "f/" + "0" * 32)
    assert sweep.sweep()["aborted"] == 0
    assert len(bucket.multipart_uploads()) == 1


@pytest.mark.usefixtures("later")
def test_orphaned_multiparts_are_listed_once_an_hour(bucket: Bucket, alice: User) -> None:
    sweep.sweep()
    begin(bucket, "f/" + "0" * 32)
    assert sweep.sweep()["aborted"] == 0
    Heartbeat.objects.filter(name=orphaned_multiparts.NAME).update(
        at=seconds_from_now(-orphaned_multiparts.PAUSE_SECONDS)
    )
    assert sweep.sweep()["aborted"] == 1


@pytest.mark.usefixtures("later")
def test_foreign_bucket_has_no_orphaned_multiparts(
    bucket: Bucket, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.delete("amalga.json")
    begin(bucket, "f/" + "0" * 32)
    assert sweep.sweep().total() == 0
    assert "multipart_listing_failed" in caplog.text
    assert len(bucket.multipart_uploads()) == 1


@pytest.mark.usefixtures("later")
def test_failed_listing_of_orphaned_multiparts_is_retried(
    bucket: Bucket, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(bucket, "f/" + "0" * 32)
    with monkeypatch.context() as patch:
        patch.setattr(s3, "list_multipart_uploads", lambda _prefix, store: (_ for _ in ()).throw(StorageUnavailable()))
        assert sweep.sweep()["failed"] == 1
    assert sweep.sweep()["aborted"] == 1


def test_batch_delete_reports_remaining_keys(digest_bucket: Bucket) -> None:
    keys = [f"f/{number:032x}" for number in range(5)]
    for key in keys[:3]:
        digest_bucket.write(key, b"x")
    assert s3.delete_many(keys) == {}
    assert digest_bucket.objects() == {}
