"""The worker verifies new uploads soon, in short tasks, and retries after outages and crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from tests.support.file_rows import create_row
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.verification import verify_file
from tests.support.waiting import wait_until
from uploads import actions, s3, services
from uploads.errors import StorageDenied, StorageUnavailable
from uploads.models import ChecksumStatus, File, Heartbeat, State
from uploads.s3 import streams
from uploads.services import task_queue, tasks
from uploads.services.sweep import sweep
from uploads.services.verify.fixity import judge

PROJECT = Path(__file__).resolve().parents[2]
BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes

pytestmark = [pytest.mark.usefixtures("small_parts"), pytest.mark.slow]


def queued_tasks() -> Any:
    return DBTaskResult.objects.filter(task_path=services.verify_files.module_path).order_by("enqueued_at")


def queued_ids() -> list[list[str]]:
    return [task.args_kwargs["args"][0] for task in queued_tasks()]


def run_tasks() -> None:
    """Run all queued tasks in this process, inside the transaction of the test."""
    while task := queued_tasks().filter(status=TaskResultStatus.READY).first():
        arguments = task.args_kwargs["args"]
        task.delete()
        services.verify_files.call(*arguments)


def statuses() -> dict[str, int]:
    values = list(File.objects.values_list("checksum_status", flat=True))
    return {status: values.count(status) for status in set(values)}


def test_completion_queues_one_task_with_small_files_first(upload_client: UploadClient) -> None:
    uploads = [upload_client.start(body) for body in (BODY, b"small", b"")]
    for upload in uploads:
        upload_client.put(upload)
    upload_client.finish(*uploads)
    assert queued_ids() == [[str(uploads[n].id) for n in (2, 1, 0)]]
    upload_client.finish(*uploads)
    assert len(queued_ids()) == 1


def test_storage_with_checksums_needs_no_verification(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    assert upload_client.send(b"small").checksum_status == ChecksumStatus.VERIFIED_BY_STORAGE
    assert queued_ids() == []


def test_upload_completes_if_the_queue_is_unavailable(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(DBTaskResult.objects, "create", fail)
        patch.setattr("django_tasks_db.models.DBTaskResult.save", fail)
        file = upload_client.send(b"small")
    assert (file.state, queued_ids()) == (State.AVAILABLE, [])
    sweep()
    assert queued_ids() == [[str(file.pk)]]


@pytest.mark.django_db(transaction=True)
def test_worker_verifies_uploads_within_seconds(upload_client: UploadClient, tmp_path: Path) -> None:
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-W", "error", "manage.py", "worker"], cwd=PROJECT, stdout=log, stderr=log,
            env={**os.environ, "DATABASE_URL": database},
        )  # fmt: skip
    try:
        wait_until(lambda: Heartbeat.objects.last_of("worker") is not None)
        started = time.monotonic()
        for body in (BODY, b"small", b""):
            upload_client.send(body)
        wait_until(lambda: statuses() == {ChecksumStatus.VERIFIED: 3})
        assert time.monotonic() - started < 10
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    finally:
        worker.kill()
        worker.wait()
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_large_file_is_verified_in_several_tasks_without_rereading(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", -1.0)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 10)
    starts: list[int] = []
    stream = s3.stream

    def recording_stream(key: str, *, start: int = 0, **options: str) -> s3.Stream | None:
        starts.append(start)
        return stream(key, start=start, **options)

    monkeypatch.setattr(streams, "stream", recording_stream)
    large, other = upload_client.send(BODY), upload_client.send(b"small")
    run_tasks()
    assert starts == [0, 0, 10, 20]  # the small file is read between two tasks of the large one
    assert statuses() == {ChecksumStatus.VERIFIED: 2}
    large.refresh_from_db()
    assert large.verified_at is not None
    assert other.pk


def test_detected_type_survives_verification_in_several_tasks(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", -1.0)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 10)
    file = upload_client.send(b"%PDF-1.7\nwords after it")
    assert file.detected_type == "application/pdf"
    run_tasks()
    file.refresh_from_db()
    assert (file.checksum_status, file.detected_type) == (ChecksumStatus.VERIFIED, "application/pdf")


def test_corruption_found_by_a_later_task_is_saved(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", -1.0)
    monkeypatch.setattr(streams, "CHUNK_BYTES", 10)
    file = upload_client.send(BODY)
    bucket.write(file.key, BODY[:-1] + b"X")
    run_tasks()
    assert statuses() == {ChecksumStatus.CORRUPTED: 1}


def test_tasks_wait_during_an_outage(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    files = [str(upload_client.send(body).pk) for body in (b"small", BODY)]
    queued_tasks().delete()
    with monkeypatch.context() as patch:
        patch.setattr(streams, "stream", lambda *_, **__: (_ for _ in ()).throw(StorageUnavailable()))
        patch.setattr(s3, "ping", lambda *_: (_ for _ in ()).throw(StorageUnavailable()))
        assert services.verify_files.call(files) == 0
    (retry,) = queued_tasks()
    assert retry.args_kwargs["args"] == [files, [], 1]
    assert timedelta(seconds=20) < retry.run_after - timezone.now() < timedelta(seconds=40)
    run_tasks()
    assert statuses() == {ChecksumStatus.VERIFIED: 2}


def test_unreadable_file_does_not_delay_the_others(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable, readable = upload_client.send(BODY), upload_client.send(b"small")
    queued_tasks().delete()
    stream = s3.stream

    def failing_stream(key: str, **options: Any) -> s3.Stream | None:
        if key == unreadable.key:
            raise StorageDenied
        return stream(key, **options)

    monkeypatch.setattr(streams, "stream", failing_stream)
    assert services.verify_files.call([str(unreadable.pk), str(readable.pk)]) == 1
    assert queued_ids() == [[str(unreadable.pk)]]
    assert statuses() == {ChecksumStatus.UNVERIFIED: 1, ChecksumStatus.VERIFIED: 1}


def test_refused_marker_is_requested_once(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(upload_client.send(b"small").pk) for _ in range(5)]
    queued_tasks().delete()
    requested: list[str | None] = []

    def refuse(store: str | None = None) -> None:
        requested.append(store)
        raise StorageDenied

    monkeypatch.setattr(s3, "read_marker", refuse)
    assert services.verify_files.call(files) == 0
    assert (len(requested), queued_ids()) == (1, [files])


def test_lost_verification_is_requeued_while_another_file_waits(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable, readable = upload_client.send(BODY), upload_client.send(b"small")
    queued_tasks().delete()
    with monkeypatch.context() as patch:
        patch.setattr(streams, "stream", lambda *_, **__: (_ for _ in ()).throw(StorageDenied()))
        services.verify_files.call([str(unreadable.pk)])
    services.requeue_lost_verifications()
    assert queued_ids() == [[str(unreadable.pk)], [str(readable.pk)]]


def test_exception_for_one_file_does_not_stop_the_others(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(upload_client.send(body).pk) for body in (BODY, b"small")]
    monkeypatch.setattr(tasks, "judge", lambda hasher: 1 / 0 if hasher.file.size > 5 else judge(hasher))
    assert services.verify_files.call(files) == 1


def test_file_is_left_to_the_sweep_after_the_last_attempt(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload_client.send(b"small")
    queued_tasks().delete()
    monkeypatch.setattr(streams, "stream", lambda *_, **__: (_ for _ in ()).throw(StorageDenied()))
    services.verify_files.call([str(file.pk)], [], task_queue.MAX_ATTEMPTS)
    assert queued_ids() == []
    services.requeue_lost_verifications()
    assert queued_ids() == [[str(file.pk)]]


def test_trashed_and_verified_files_are_skipped(upload_client: UploadClient, alice: User) -> None:
    trashed, verified = upload_client.send(b"one"), upload_client.send(b"two")
    actions.trash_file(trashed, by=alice)
    verify_file(verified)
    assert services.verify_files.call([str(trashed.pk), str(verified.pk)]) == 0


def test_task_of_a_killed_worker_is_requeued(upload_client: UploadClient) -> None:
    upload_client.send(b"small")
    queued_tasks().update(
        status=TaskResultStatus.RUNNING, worker_ids=["w"],
        started_at=timezone.now() - timedelta(seconds=tasks.VERIFY_LOST_AFTER_SECONDS + 1),
    )  # fmt: skip
    sweep()
    assert [task.status for task in queued_tasks()] == [TaskResultStatus.READY]


def test_sweep_queues_nothing_while_a_task_waits(upload_client: UploadClient) -> None:
    upload_client.send(b"small")
    sweep()
    assert len(queued_ids()) == 1


@pytest.mark.django_db(transaction=True)
def test_worker_records_a_heartbeat(alice: User) -> None:
    create_row(alice)
    call_command("worker", "--once")
    assert Heartbeat.objects.last_of("worker") is not None
