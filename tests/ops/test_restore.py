"""A database that is older than its bucket: nothing is deleted until an operator has reviewed it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from pytest_django import Settings

from tests.support import factories, storage_proxies
from tests.support.commands import run_command
from tests.support.file_rows import ensure_folder
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite
from uploads import s3, services
from uploads.actions import base
from uploads.actions.base import change_folder
from uploads.actions.restore import RestoreAction
from uploads.actions.trash import TrashAction
from uploads.errors import DatabaseOlderThanBucket, Paused, ValidationFailed
from uploads.models import Action, Event, File, Folder, Heartbeat, Installation, State
from uploads.models.querysets import seconds_from_now
from uploads.services import bucket_guard, sweep
from uploads.services.bucket_guard import require_history, require_removal, write_checkpoint
from uploads.services.doctor.background_jobs import _purge
from uploads.services.task_queue import results_of

ANOTHER = b"6d0c4f5e-3d0b-4b52-9d7e-1f2a3b4c5d6e"  # ID of another database
BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes
PAST = seconds_from_now(-3600)
CHECKPOINT = "amalga-checkpoint.json"

pytestmark = pytest.mark.usefixtures("small_parts")


def create_overdue_files(alice: User, bucket: Bucket) -> list[File]:
    """One row of each kind that a sweep expires or deletes, with its object."""
    return [
        factories.create_file(alice, b"due", bucket=bucket, state=State.TRASHED, purge_after=PAST),
        factories.create_file(alice, b"overdue", bucket=bucket, state=State.UPLOADING, expires_at=PAST),
        factories.create_file(alice, b"going", bucket=bucket, state=State.DELETING),
    ]


def write_mark(
    *, event: int = 1000, at: datetime | None = None, installation: uuid.UUID | None = None
) -> s3.Checkpoint:
    """Write a checkpoint, as if the database had once reached this event."""
    moment = s3.Checkpoint(installation or Installation.objects.own_id(), event, at or datetime.now(UTC))
    s3.write_checkpoint(moment)
    return moment


def rows_and_objects(bucket: Bucket) -> tuple[list[Any], dict[str, int]]:
    return list(File.objects.order_by("pk").values()), bucket.objects()


# --- PURGE_PAUSED -------------------------------------------------------------------------------


def test_paused_sweep_expires_and_deletes_nothing(alice: User, bucket: Bucket, settings: Settings) -> None:
    create_overdue_files(alice, bucket)
    before = rows_and_objects(bucket)
    settings.PURGE_PAUSED = True
    status, _output, errors = run_command("sweep")
    assert status == 0
    assert "PURGE_PAUSED is on" in errors
    assert rows_and_objects(bucket) == before
    settings.PURGE_PAUSED = False
    assert run_command("sweep").status == 0
    assert rows_and_objects(bucket) == ([], {})


def test_paused_sweep_completes_interrupted_uploads(upload_client: UploadClient, settings: Settings) -> None:
    upload = upload_client.start(b"small")
    upload_client.put(upload)
    File.objects.update(state=State.COMPLETING, lease_until=PAST, checksum=upload.digests[0])
    settings.PURGE_PAUSED = True
    assert sweep.sweep()["resolved"] == 1
    assert upload.row().state == State.AVAILABLE


def test_canceled_upload_keeps_its_bytes_while_paused(
    upload_client: UploadClient, alice: User, bucket: Bucket, settings: Settings
) -> None:
    upload = upload_client.start(b"small")
    upload_client.put(upload)
    File.objects.update(signed_until=PAST)
    settings.PURGE_PAUSED = True
    services.cancel(upload.row(), by=alice)
    assert (upload.row().state, len(bucket.objects())) == (State.DELETING, 1)


@pytest.mark.parametrize("command", [["fsck", "--repair"], ["after_restore"]], ids=str)
def test_pause_blocks_fsck_repair_but_not_after_restore(bucket: Bucket, settings: Settings, command: list[str]) -> None:
    settings.PURGE_PAUSED = True
    assert run_command(*command).status == (2 if command[0] == "fsck" else 0)


# --- checkpoint ---------------------------------------------------------------------------------


def test_sweep_writes_the_checkpoint_of_the_newest_event(upload_client: UploadClient, bucket: Bucket) -> None:
    upload_client.send(b"hello")
    sweep.sweep()
    newest = Event.objects.first()
    assert newest
    checkpoint = json.loads(bucket.read(CHECKPOINT))
    assert checkpoint == {
        "installation": str(Installation.objects.own_id()),
        "event": newest.pk,
        "at": newest.at.isoformat(),
    }
    require_history()


def test_long_sweep_writes_the_checkpoint_first(alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    create_overdue_files(alice, bucket)
    Event.objects.record(Action.LOGIN, by=alice)
    checkpoints: list[s3.Checkpoint | None] = []
    monkeypatch.setattr(sweep.SweepRun, "_discard", lambda _: checkpoints.append(s3.read_checkpoint()))
    sweep.sweep()
    assert checkpoints[0] is not None


def test_sweep_without_events_writes_no_checkpoint(upload_client: UploadClient, bucket: Bucket) -> None:
    upload_client.send(b"hello")
    sweep.sweep()
    bucket.delete(CHECKPOINT)
    sweep.sweep()
    assert s3.read_checkpoint() is None
    Heartbeat.objects.filter(name=bucket_guard.NAME).update(at=seconds_from_now(-bucket_guard.PAUSE_SECONDS))
    sweep.sweep()  # an event of the last minutes may have been committed late
    assert s3.read_checkpoint()


def test_database_with_the_checkpoint_event_is_not_behind(upload_client: UploadClient) -> None:
    upload_client.send(b"hello")
    write_checkpoint()
    upload_client.send(b"more")
    require_history()


def test_database_without_the_checkpoint_event_deletes_nothing(alice: User, bucket: Bucket) -> None:
    create_overdue_files(alice, bucket)
    before = rows_and_objects(bucket)
    write_mark()
    status, _output, errors = run_command("sweep")
    assert status == 2
    assert "event 1000 of" in errors
    assert "after_restore --apply" in errors
    assert rows_and_objects(bucket) == before


def test_later_event_does_not_replace_the_checkpoint_event(alice: User, bucket: Bucket) -> None:
    """A later event can get the same number, but it has another time."""
    Event.objects.record(Action.LOGIN, by=alice)
    newest = Event.objects.first()
    assert newest
    write_mark(event=newest.pk, at=newest.at - timedelta(minutes=30))
    with pytest.raises(DatabaseOlderThanBucket):
        require_history()
    with pytest.raises(DatabaseOlderThanBucket):
        write_checkpoint()


def test_checkpoint_of_another_database_is_ignored(bucket: Bucket) -> None:
    write_mark(installation=uuid.uuid4())
    require_history()


INVALID_CHECKPOINTS = [
    b"", b"[]", b"{}", b'{"installation": "x"}', b"\xff" * 2000,
    b'{"installation": "%s", "event": 1, "at": "2026-01-01T00:00:00"}' % ANOTHER,
    b'{"installation": "%s", "event": "x", "at": "2026-01-01T00:00:00Z"}' % ANOTHER,
]  # fmt: skip


def test_an_invalid_checkpoint_pauses_the_sweep_too(alice: User, bucket: Bucket) -> None:
    create_overdue_files(alice, bucket)
    for body in INVALID_CHECKPOINTS:
        bucket.write(CHECKPOINT, body)
        with pytest.raises(ValidationFailed, match="amalga-checkpoint"):
            require_history()
    before = rows_and_objects(bucket)
    assert run_command("sweep").status == 2
    assert rows_and_objects(bucket) == before


@pytest.mark.parametrize("fault", ["500", "403", "broken", "page 502"])
def test_unreadable_checkpoint_is_not_treated_as_missing(
    alice: User, bucket: Bucket, settings: Settings, fault: str
) -> None:
    create_overdue_files(alice, bucket)
    before = rows_and_objects(bucket)
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        fault_rule = storage_proxies.FAULTS[fault]
        proxy.rules["get"] = lambda request: fault_rule(request) if CHECKPOINT in request.url else request.forward()
        assert run_command("sweep").status == 1
    assert rows_and_objects(bucket) == before


def test_sweep_with_nothing_to_delete_is_refused_too(alice: User, bucket: Bucket) -> None:
    mark = write_mark()
    Event.objects.record(Action.LOGIN, by=alice)
    assert run_command("sweep").status == 2
    assert s3.read_checkpoint() == mark


def test_repair_is_refused_if_the_database_is_behind(bucket: Bucket) -> None:
    write_mark()
    status, _output, errors = run_command("fsck", "--repair")
    assert status == 2
    assert "older than the bucket" in errors
    with pytest.raises(Paused):
        require_removal()


# --- after_restore ------------------------------------------------------------------------------


def test_restore_dry_run_changes_nothing(alice: User, bucket: Bucket) -> None:
    create_overdue_files(alice, bucket)
    write_mark()
    before = factories.database_rows()
    status, output, _errors = run_command("after_restore")
    assert status == 1
    assert "checkpoint event: 1000\n" in output
    assert factories.database_rows() == before
    assert s3.read_checkpoint()


def test_after_restore_extends_the_retention_of_the_trash(alice: User, bucket: Bucket, settings: Settings) -> None:
    due, *_rest = create_overdue_files(alice, bucket)
    write_mark()
    assert run_command("after_restore", "--apply").status == 0
    due.refresh_from_db()
    assert due.purge_after
    assert due.purge_after > datetime.now(UTC) + timedelta(days=settings.TRASH_RETENTION_DAYS - 1)
    assert run_command("sweep").status == 0
    assert bucket.read(due.key) == b"due"
    assert Event.objects.filter(action=Action.REPAIR, name="after_restore").exists()
    assert run_command("after_restore").status == 0


def test_trashed_folder_is_restorable_after_a_database_restore(alice: User, bucket: Bucket) -> None:
    folder = ensure_folder("Campaign", alice)
    file = factories.create_file(alice, b"brief", bucket=bucket, folder=folder)
    TrashAction().execute([], {}, by=alice, folders=[folder.pk])
    assert run_command("after_restore", "--apply").status == 0
    RestoreAction().execute([], {}, by=alice, folders=[folder.pk])
    file.refresh_from_db()
    assert file.state == State.AVAILABLE
    assert Folder.objects.living().filter(pk=folder.pk).exists()


def test_interrupted_folder_restore_continues_after_a_database_restore(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ensure_folder("Campaign", alice)
    for name in "ab":
        factories.create_file(alice, b"brief", name=name, bucket=bucket, folder=folder)
    TrashAction().execute([], {}, by=alice, folders=[folder.pk])
    monkeypatch.setattr(base, "MAX_FILES_INSIDE", 1)
    RestoreAction().execute([], {}, by=alice, folders=[folder.pk])
    (waiting,) = results_of(change_folder)
    assert File.objects.trashed().count() == 1
    assert run_command("after_restore", "--apply").status == 0
    waiting.refresh_from_db()
    assert change_folder.func(*waiting.args_kwargs["args"]) == 1
    assert not File.objects.trashed().exists()


def test_after_restore_keeps_expired_folders_only_with_files(alice: User, bucket: Bucket) -> None:
    purged, due = ensure_folder("Purged", alice), ensure_folder("Due", alice)
    factories.create_file(alice, b"brief", bucket=bucket, folder=due)
    TrashAction().execute([], {}, by=alice, folders=[due.pk])
    TrashAction().execute([], {}, by=alice, folders=[purged.pk])
    over = datetime.now(UTC) - timedelta(days=1)
    File.objects.update(purge_after=over)
    Folder.objects.filter(pk=due.pk).update(purge_after=over)
    Folder.objects.filter(pk=purged.pk).update(purge_after=over - timedelta(days=1))
    assert run_command("after_restore", "--apply").status == 0
    assert list(Folder.objects.trashed()) == [due]


def test_file_purged_after_the_backup_is_purged_again(alice: User, bucket: Bucket) -> None:
    due, *_rest = create_overdue_files(alice, bucket)
    bucket.delete(due.key)
    write_mark()
    output = run_command("after_restore", "--apply", "--json").output
    assert json.loads(output)["purged"] == 1
    run_command("sweep")
    assert not File.objects.filter(pk=due.pk).exists()


@pytest.mark.parametrize("body", [BODY, b"small", b""], ids=["parts", "small", "empty"])
def test_upload_completed_after_the_backup_is_completed_again(
    upload_client: UploadClient, bucket: Bucket, body: bytes
) -> None:
    """The row is old, but the object is complete; otherwise the sweep would delete it after a week."""
    upload = upload_client.start(body)
    upload_client.put(upload)
    complete_in_bucket_only(bucket, upload.row())
    write_mark()
    assert json.loads(run_command("after_restore", "--json").output)["arrived"] == 1
    summary = json.loads(run_command("after_restore", "--apply", "--json").output)
    assert (summary["finished"], summary["failed"]) == (1, 0)
    assert upload.row().state == State.AVAILABLE
    assert upload.row().checksum == composite(upload.pieces)
    assert bucket.read(upload.row().key) == body


def test_arrived_upload_of_a_guest_is_finished(alice: User, bucket: Bucket) -> None:
    _request, token = create_request(ensure_folder("Inbox", alice), alice)
    guest = GuestClient(token)
    upload = guest.start(b"hello")
    guest.put(upload)
    summary = json.loads(run_command("after_restore", "--apply", "--json").output)
    assert (summary["arrived"], summary["finished"], summary["failed"]) == (1, 1, 0)
    assert upload.row().state == State.AVAILABLE


def complete_in_bucket_only(bucket: Bucket, row: File) -> None:
    """Complete the upload in the bucket only, as if its row came from an older backup."""
    if row.multipart_id:
        where: Any = {"Bucket": bucket.name, "Key": row.key, "UploadId": row.multipart_id}
        parts = bucket.client.list_parts(**where)["Parts"]
        completed_parts: Any = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
        bucket.client.complete_multipart_upload(**where, MultipartUpload={"Parts": completed_parts})


def test_upload_with_a_wrong_checksum_stays_incomplete(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(b"small")
    File.objects.update(checksum="A" * 43 + "=")
    bucket.write(upload.row().key, b"other")
    summary = json.loads(run_command("after_restore", "--apply", "--json").output)
    assert (summary["arrived"], summary["finished"], summary["failed"]) == (1, 0, 1)
    assert upload.row().state == State.UPLOADING


def test_after_restore_extends_the_expiry_of_uploads(upload_client: UploadClient, settings: Settings) -> None:
    upload = upload_client.start(BODY)
    File.objects.update(expires_at=PAST)
    run_command("after_restore", "--apply")
    row = upload.row()
    assert row.expires_at
    assert row.expires_at > datetime.now(UTC) + timedelta(hours=settings.UPLOAD_EXPIRY_HOURS - 1)
    upload_client.put(upload)
    assert upload_client.finished(upload).state == State.AVAILABLE


def test_foreign_bucket_gets_no_checkpoint(unmarked: Bucket) -> None:
    assert run_command("after_restore", "--apply").status == 2
    assert s3.read_checkpoint() is None


# --- doctor -------------------------------------------------------------------------------------


def diagnosed() -> list[tuple[str, str]]:
    return [(str(line.level), line.reason) for line in _purge()]


def test_doctor_warns_while_the_purge_is_paused(bucket: Bucket, settings: Settings) -> None:
    settings.PURGE_PAUSED = True
    assert diagnosed()[0] == ("warn", "paused: PURGE_PAUSED is on, so nothing is deleted")


def test_doctor_reports_the_checkpoint(upload_client: UploadClient) -> None:
    assert diagnosed() == [("ok", "no checkpoint yet")]
    upload_client.send(b"hello")
    write_checkpoint()
    ((level, reason),) = diagnosed()
    assert level == "ok"
    assert reason.startswith("the database is up to date with the checkpoint of 20")


def test_doctor_reports_outdated_checkpoint(alice: User, bucket: Bucket) -> None:
    Event.objects.create(action=Action.LOGIN, at=datetime.now(UTC) - timedelta(days=3))
    write_checkpoint()
    Event.objects.create(action=Action.LOGIN, at=datetime.now(UTC) - timedelta(hours=1))
    assert diagnosed() == [("warn", "the checkpoint is 3 days behind the database")]


@pytest.mark.parametrize("content", [b"hello", b"[" * 1024], ids=["text", "deep"])
def test_doctor_fails_for_an_invalid_checkpoint(bucket: Bucket, content: bytes) -> None:
    bucket.write(CHECKPOINT, content)
    ((level, reason),) = diagnosed()
    assert (level, "is not a valid checkpoint" in reason) == ("fail", True)


def test_doctor_names_the_missing_permission(bucket: Bucket, settings: Settings) -> None:
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["get"] = storage_proxies.status(403, "AccessDenied")
        (line,) = _purge()
    assert line.advice == "allow s3:GetObject on amalga-checkpoint.json"


# --- rebuilt library ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_rebuilt_library_passes_the_checkpoint_check(upload_client: UploadClient, tmp_path: Path) -> None:
    """The manifest has no audit log, so the event of the checkpoint is lost."""
    upload_client.send(b"hello")
    write_checkpoint()
    manifest = str(tmp_path / "manifest")
    assert run_command("export_manifest", "--output", manifest).status == 0
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE auth_user, uploads_installation, uploads_event, uploads_statistic, uploads_statisticdelta,"
            " uploads_usage, uploads_heartbeat, uploads_file RESTART IDENTITY CASCADE"
        )
    assert run_command("rebuild_rows", manifest, "--apply").status == 0
    require_history()
    assert run_command("sweep").status == 0
