"""The queue of previews and the worker that processes it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from tests.support.pictures import as_file, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.waiting import wait_until
from uploads import previews as drawing
from uploads import s3, services
from uploads.errors import StorageUnavailable
from uploads.models import File, Preview, PreviewKind, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.services import previews, task_queue, tasks
from uploads.services.previews import clear_scratch
from uploads.services.sweep import sweep

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
UNKNOWN_USER_ID = 10**9  # no user has this ID


def queued_ids() -> list[list[str]]:
    """The files of every task, in the order of the queue."""
    return [result.args_kwargs["args"][0] for result in queued().order_by("enqueued_at")]


def queued() -> Any:
    """Return the results of preview tasks."""
    return DBTaskResult.objects.filter(task_path=services.preview_files.module_path)


def work() -> None:
    """Run all due tasks in this process."""
    call_command("worker", "--once")


def states() -> dict[str, int]:
    all_states = list(Preview.objects.values_list("state", flat=True))
    return {state: all_states.count(state) for state in set(all_states)}


def test_completion_queues_one_task_for_all_previewable_files(upload_client: UploadClient) -> None:
    bodies = [b"words", b"more words", bytes(range(256)), b"", as_file(two_halves())]
    uploads = [upload_client.start(body, name=f"{n}.txt") for n, body in enumerate(bodies)]
    for upload in uploads:
        upload_client.put(upload)
    assert upload_client.finish(*uploads).status_code == 200
    assert [set(ids) for ids in queued_ids()] == [{str(uploads[n].id) for n in (0, 1, 4)}]
    upload_client.finish(*uploads)
    assert len(queued_ids()) == 1


def test_file_without_a_preview_gets_no_task(upload_client: UploadClient) -> None:
    upload_client.send(bytes(range(256)))
    assert queued_ids() == []


def test_upload_completes_if_the_queue_is_unavailable(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(DBTaskResult.objects, "create", raise_unavailable)
        patch.setattr("django_tasks_db.models.DBTaskResult.save", raise_unavailable)
        file = upload_client.send(b"words")
    assert file.state == State.AVAILABLE
    assert queued_ids() == []
    sweep()
    assert queued_ids() == [[str(file.pk)]]


@pytest.mark.django_db(transaction=True)
def test_worker_runs_queued_tasks(upload_client: UploadClient) -> None:
    upload_client.send(b"words")
    upload_client.send(as_file(two_halves()))
    work()
    assert states() == {PreviewState.READY: 3}
    assert {result.status for result in DBTaskResult.objects.all()} == {TaskResultStatus.SUCCESSFUL}


@contextmanager
def working(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker as it runs in production, over the test database."""
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict)
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "manage.py", "worker"], cwd=PROJECT, stdout=log, stderr=log,
            env={**os.environ, "DATABASE_URL": database},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.django_db(transaction=True)
def test_worker_process_runs_tasks_and_stops_on_sigterm(upload_client: UploadClient, tmp_path: Path) -> None:
    with working(tmp_path) as worker:
        upload_client.send(as_file(two_halves()))
        wait_until(lambda: states() == {PreviewState.READY: 2})
        upload_client.send(b"words")
        wait_until(lambda: states() == {PreviewState.READY: 3})
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_stopped_worker_finishes_its_task_and_leaves_the_rest(upload_client: UploadClient, tmp_path: Path) -> None:
    body = as_file(two_halves(3000, 3000), "JPEG")
    uploads = [upload_client.start(body, name=f"{n}.jpg") for n in range(100)]
    for upload in uploads:
        upload_client.put(upload)
    upload_client.finish(*uploads)
    with working(tmp_path) as worker:
        wait_until(lambda: Preview.objects.filter(state=PreviewState.READY).exists())
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(15) == 0
    done = Preview.objects.filter(state=PreviewState.READY, kind=PreviewKind.PICTURE).count()
    left = queued().get(status=TaskResultStatus.READY)
    assert done + len(left.args_kwargs["args"][0]) == 100
    assert not Preview.objects.exclude(state=PreviewState.READY).exists()


@pytest.mark.django_db(transaction=True)
def test_remaining_files_of_a_task_go_to_the_end_of_the_queue(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", 0.0)
    files = [str(upload_client.send(b"words").pk) for _ in range(3)]
    DBTaskResult.objects.all().delete()
    services.preview_files.enqueue(files)
    services.preview_files.enqueue(["4b2f6d5e-0000-4000-8000-000000000000"])
    work()
    assert [len(ids) for ids in queued_ids()] == [3, 1, 2, 1]
    assert states() == {PreviewState.READY: 3}


def test_previews_alternate_between_users(as_alice: Client, as_bob: Client, bucket: Bucket) -> None:
    alices, bobs = UploadClient(as_alice), UploadClient(as_bob)
    first = [bobs.send(as_file(two_halves()), name=f"{number}.png") for number in range(4)]
    other = alices.send(as_file(two_halves()), name="other.png")
    in_turn = [result.args_kwargs["args"][0][0] for result in queued()]  # as the worker takes them
    assert in_turn == [str(first[0].pk), str(other.pk), *(str(file.pk) for file in first[1:])]
    assert {result.args_kwargs["kwargs"]["owner_id"] for result in queued()} == {first[0].owner_id, other.owner_id}


def test_remaining_files_of_a_task_get_a_lower_priority(
    upload_client: UploadClient, as_bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TASK_SECONDS", 0)
    files = [upload_client.send(as_file(two_halves()), name=f"{number}.png").pk for number in range(2)]
    queued().delete()
    services.request_previews(files, owner_id=UNKNOWN_USER_ID)
    services.request_previews(files[:1], owner_id=UNKNOWN_USER_ID)
    services.request_previews(files[:1], owner_id=UNKNOWN_USER_ID + 1)
    assert [result.priority for result in queued().order_by("enqueued_at")] == [0, -1, 0]
    services.preview_files.func([str(pk) for pk in files], owner_id=UNKNOWN_USER_ID)
    assert [result.priority for result in queued().order_by("enqueued_at")][-1] == -2


def test_owner_of_a_preview_that_was_too_hard_gets_less_time_for_the_next(
    upload_client: UploadClient, as_bob: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_limits: list[float] = []

    def reject_image(*_: Any, seconds: float, **__: Any) -> Any:
        time_limits.append(seconds)
        raise drawing.PreviewFailed("too_hard")

    monkeypatch.setattr(drawing, "render", reject_image)
    for who in (upload_client, upload_client, UploadClient(as_bob)):
        services.preview_files.func([str(who.send(as_file(two_halves()), name="hard.png").pk)])
    assert time_limits == [drawing.WAIT_SECONDS, previews.SHORT_SECONDS, drawing.WAIT_SECONDS]
    Preview.objects.update(updated_at=seconds_from_now(-previews.HARD_WITHIN_SECONDS - 1))
    services.preview_files.func([str(upload_client.send(as_file(two_halves()), name="later.png").pk)])
    assert time_limits[-1] == drawing.WAIT_SECONDS


@pytest.mark.django_db(transaction=True)
def test_task_is_retried_after_unavailable_storage(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(upload_client.send(b"words").pk) for _ in range(2)]
    DBTaskResult.objects.all().delete()
    with monkeypatch.context() as patch:
        patch.setattr(s3, "read_start", raise_unavailable)
        services.preview_files.enqueue(files)
        work()
    later = queued().get(status=TaskResultStatus.READY)
    assert later.args_kwargs["args"] == [files, 1]
    assert timedelta(seconds=29) < later.run_after - later.enqueued_at <= timedelta(seconds=30)
    DBTaskResult.objects.update(run_after=timezone.now())
    work()
    assert states() == {PreviewState.READY: 2}


def raise_unavailable(*_: Any, **__: Any) -> None:
    raise StorageUnavailable


def test_unreadable_file_does_not_delay_the_others(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, good = upload_client.send(b"words"), upload_client.send(b"words")
    DBTaskResult.objects.all().delete()
    beginning = s3.read_start
    monkeypatch.setattr(
        s3, "read_start", lambda key, **more: raise_unavailable() if key == poison.key else beginning(key, **more)
    )
    assert services.preview_files.call([str(poison.pk), str(good.pk)]) == 1
    assert queued_ids() == [[str(poison.pk)]]
    assert Preview.objects.get(file=good).state == PreviewState.READY


def test_exception_for_one_file_does_not_stop_the_others(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [upload_client.send(b"words"), upload_client.send(b"other words")]
    excerpt = "uploads.previews.excerpt_of"
    monkeypatch.setattr(excerpt, lambda text: 1 / 0 if text == b"words" else text)
    assert services.preview_files.call([str(file.pk) for file in files]) == 1
    assert states() == {PreviewState.PENDING: 1, PreviewState.READY: 1}


# --- sweep --------------------------------------------------------------------------------------


def test_sweep_queues_missing_tasks(upload_client: UploadClient) -> None:
    old, new, binary = upload_client.send(b"words"), upload_client.send(b"words"), upload_client.send(bytes(range(256)))
    DBTaskResult.objects.all().delete()
    File.objects.filter(pk=old.pk).update(available_at=timezone.now() - timedelta(days=2))
    assert services.requeue_lost_previews() == 1
    assert queued_ids() == [[str(new.pk)]]
    assert str(binary.pk) not in queued_ids()[0]


def test_sweep_queues_nothing_while_a_task_waits(upload_client: UploadClient) -> None:
    upload_client.send(b"words")
    assert services.requeue_lost_previews() == 0
    assert len(queued_ids()) == 1


def test_sweep_requeues_lost_previews_while_another_file_waits(
    upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, forgotten = upload_client.send(b"words"), upload_client.send(b"words")
    DBTaskResult.objects.all().delete()
    with monkeypatch.context() as patch:
        patch.setattr(s3, "read_start", raise_unavailable)
        services.preview_files.call([str(waiting.pk)])
    assert services.requeue_lost_previews() == 1
    assert queued_ids() == [[str(waiting.pk)], [str(forgotten.pk)]]


def test_unfinished_preview_of_a_killed_worker_is_requeued(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(b"words")
    DBTaskResult.objects.all().delete()
    Preview.objects.create(file=file, kind=PreviewKind.EXCERPT, lease_until=seconds_from_now(-1))
    File.objects.update(available_at=timezone.now() - timedelta(days=2))
    assert services.requeue_lost_previews() == 1
    services.preview_files.call(queued_ids()[0])
    assert states() == {PreviewState.READY: 1}


@pytest.mark.parametrize(
    ("workers", "status"), [(1, TaskResultStatus.READY), (3, TaskResultStatus.FAILED)], ids=["first", "third"]
)
def test_task_of_killed_workers_is_requeued_up_to_a_limit(
    upload_client: UploadClient, workers: int, status: str
) -> None:
    upload_client.send(b"words")
    long_ago = timezone.now() - timedelta(hours=1)
    values = {"status": TaskResultStatus.RUNNING, "started_at": long_ago, "worker_ids": ["w"] * workers}
    queued().update(**values)
    task_queue.requeue_lost(services.preview_files, lost_after_seconds=tasks.PREVIEW_LOST_AFTER_SECONDS)
    assert queued().get().status == status


def test_old_task_results_are_deleted(upload_client: UploadClient) -> None:
    upload_client.send(b"words")
    done = {"status": TaskResultStatus.SUCCESSFUL, "finished_at": timezone.now() - timedelta(days=2)}
    queued().update(**done)
    File.objects.update(available_at=timezone.now() - timedelta(days=2))
    services.requeue_lost_previews()
    assert not queued().exists()


# --- the previews command -----------------------------------------------------------------------


def test_command_queues_files_without_previews(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.services.task_queue.FILES_PER_TASK", 2)
    shown, *bare = (upload_client.send(b"words") for _ in range(4))
    upload_client.send(bytes(range(256)))
    services.make_previews(shown)
    DBTaskResult.objects.all().delete()
    out = io.StringIO()
    call_command("previews", stdout=out)
    assert out.getvalue() == "files: 3\ndocuments: 0\n"
    assert sorted(pk for ids in queued_ids() for pk in ids) == sorted(str(file.pk) for file in bare)
    assert [len(ids) for ids in queued_ids()] == [2, 1]


def test_previews_command_retries_failed_previews_on_request(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(as_file(two_halves()))
    body = bucket.read(file.key)
    bucket.delete(file.key)
    services.make_previews(file)
    bucket.write(file.key, body)
    call_command("previews", stdout=io.StringIO())
    assert states() == {PreviewState.FAILED: 2}
    call_command("previews", "--retry-failed", stdout=io.StringIO())
    services.preview_files.call(queued_ids()[-1])
    assert states() == {PreviewState.READY: 2}


def test_old_temporary_folders_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("amalga-preview-old", "amalga-preview-now", "other-old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
    for name in ("amalga-preview-old", "other-old"):
        os.utime(tmp_path / name, (0, 0))
    clear_scratch()
    assert {path.name for path in tmp_path.iterdir()} == {"amalga-preview-now", "other-old"}
