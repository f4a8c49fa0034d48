"""The sweep handles only what is due; a failing row does not stop the others."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from tests.support.commands import check_output
from tests.support.file_rows import create_row, stored_usage, usage_by_rows
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient, composite, sha256
from uploads import actions, s3, services
from uploads.errors import StorageUnavailable
from uploads.models import ChecksumStatus, File, State
from uploads.services.finish import assemble
from uploads.services.sweep import sweep

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = pytest.mark.usefixtures("small_parts")


def ago(**duration: float) -> Any:
    return timezone.now() - timedelta(**duration)


def leave_while_completing(
    upload_client: UploadClient, body: bytes, *, sent: bool = True, assembled: bool = False
) -> Upload:
    """Return an upload whose completion was interrupted long enough ago."""
    upload = upload_client.start(body)
    if sent:
        upload_client.put(upload)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=composite(upload.pieces))
    if assembled:
        assemble(upload.row(), upload.digests)
    File.objects.filter(pk=upload.id).update(lease_until=ago(seconds=1), signed_until=ago(hours=1))
    return upload


def test_sweep_with_nothing_due_changes_nothing(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    file, upload = upload_client.send(BODY), upload_client.start(BODY)
    upload_client.put(upload, 1)
    create_row(alice, State.COMPLETING)
    actions.trash_file(upload_client.send(b"trash"), by=alice)
    before, objects = list(File.objects.order_by("pk").values()), bucket.objects()
    assert sweep().total() == 0
    assert list(File.objects.order_by("pk").values()) == before
    assert bucket.objects() == objects
    assert bucket.read(file.key) == BODY
    assert len(bucket.multipart_uploads()) == 1


def test_expired_upload_is_deleted_with_its_parts(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1, 2)
    File.objects.update(expires_at=ago(seconds=1), signed_until=ago(hours=1))
    counts = sweep()
    assert (counts["expired"], counts["erased"], counts["failed"]) == (1, 1, 0)
    assert not File.objects.exists()
    assert not bucket.multipart_uploads()
    assert stored_usage(alice) == usage_by_rows(alice) == (0, 0)


def test_expired_small_upload_is_deleted_with_its_object(upload_client: UploadClient, bucket: Bucket) -> None:
    upload_client.put(upload_client.start(b"small"))
    File.objects.update(expires_at=ago(seconds=1), signed_until=ago(hours=1))
    sweep()
    assert not bucket.objects()
    assert not File.objects.exists()


@pytest.mark.parametrize("body", [BODY, b"small", b""], ids=["parts", "small", "empty"])
@pytest.mark.parametrize("assembled", [False, True])
def test_interrupted_completion_is_completed(
    upload_client: UploadClient, bucket: Bucket, body: bytes, assembled: bool
) -> None:
    upload = leave_while_completing(upload_client, body, assembled=assembled)
    assert sweep()["resolved"] == 1
    file = upload.row()
    assert (file.state, file.checksum, file.size) == (State.AVAILABLE, composite(upload.pieces), len(body))
    assert bucket.read(file.key) == body


def test_interrupted_completion_without_all_parts_is_reopened(upload_client: UploadClient) -> None:
    upload = leave_while_completing(upload_client, BODY, sent=False)
    sweep()
    assert upload.row().state == State.UPLOADING
    upload_client.put(upload)
    assert upload_client.finished(upload).state == State.AVAILABLE


def test_completing_upload_with_lost_parts_is_deleted(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    upload = leave_while_completing(upload_client, BODY)
    row = upload.row()
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=row.key, UploadId=row.multipart_id)
    sweep()
    sweep()
    assert not File.objects.exists()
    assert stored_usage(alice) == (0, 0)


def test_unavailable_storage_changes_no_state(
    upload_client: UploadClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_while_completing(upload_client, BODY, assembled=True)
    trashed = upload_client.start(b"x")
    File.objects.filter(pk=trashed.id).discard(owner_id=trashed.row().owner_id)
    states = dict(File.objects.values_list("pk", "state"))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        patch.setattr("django.conf.settings.S3_ENDPOINT", "http://127.0.0.1:9")
        s3.reset()
        counts = sweep()
    s3.reset()
    assert (counts["failed"], counts["resolved"], counts["erased"]) == (1, 0, 0)  # the second is not even tried
    assert dict(File.objects.values_list("pk", "state")) == states
    assert sweep()["resolved"] == 1


@pytest.mark.parametrize(
    "fault", [StorageUnavailable(), OperationalError("gone"), RuntimeError("a bug of ours"), KeyError("ETag")]
)
def test_one_row_that_always_fails_does_not_stop_the_others(
    upload_client: UploadClient, alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    rows = [create_row(alice, State.DELETING) for _ in range(3)]
    for row in rows:
        bucket.write(row.key, b"x")
    poison, delete = rows[0].key, s3.delete

    def delete_or_fail(key: str, **where: str) -> None:
        if key == poison:
            raise fault
        delete(key, **where)

    def delete_all_or_fail(keys: list[str], **where: str) -> dict[str, str]:
        for key in keys:
            delete_or_fail(key, **where)
        return {}

    monkeypatch.setattr(s3, "delete", delete_or_fail)
    monkeypatch.setattr(s3, "delete_many", delete_all_or_fail)
    counts = sweep()
    assert (counts["erased"], counts["failed"]) == (2, 1)
    assert bucket.objects() == {poison: 1}
    assert File.objects.get().key == poison


def test_second_sweep_changes_nothing(upload_client: UploadClient, bucket: Bucket) -> None:
    leave_while_completing(upload_client, BODY)
    sweep()
    before = list(File.objects.values())
    assert sweep().total() == 0
    assert list(File.objects.values()) == before


def test_checksum_status_of_corrupted_file_survives_the_trash(upload_client: UploadClient, alice: User) -> None:
    file = upload_client.send(b"x")
    File.objects.update(checksum_status=ChecksumStatus.CORRUPTED)
    actions.trash_file(file, by=alice)
    actions.restore_file(file, by=alice)
    assert File.objects.get().checksum_status == ChecksumStatus.CORRUPTED


# --- the command ------------------------------------------------------------------------------


def test_command_prints_a_summary(upload_client: UploadClient) -> None:
    leave_while_completing(upload_client, BODY)
    assert check_output("sweep").splitlines() == [
        "expired: 0", "resolved: 1", "purged: 0", "erased: 0", "aborted: 0", "previews: 0", "failed: 0",
    ]  # fmt: skip
    assert "resolved: 0\n" in check_output("sweep")


def test_command_prints_json(upload_client: UploadClient) -> None:
    leave_while_completing(upload_client, BODY)
    nothing = dict.fromkeys(["expired", "purged", "erased", "aborted", "previews", "failed"], 0)
    assert json.loads(check_output("sweep", "--json")) == {**nothing, "resolved": 1}


def test_command_exits_with_1_if_something_fails(alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    create_row(alice, State.DELETING)
    monkeypatch.setattr(s3, "delete", lambda key, **_: (_ for _ in ()).throw(StorageUnavailable()))
    with pytest.raises(CommandError) as error:
        call_command("sweep", stdout=io.StringIO())
    assert error.value.returncode == 1


def test_completing_row_with_a_lease_is_not_changed(upload_client: UploadClient, alice: User) -> None:
    file = create_row(alice, State.COMPLETING, checksum=sha256(b"x"))
    assert sweep().total() == 0
    services.resume_completion(file)
    assert File.objects.get().lease_until == file.lease_until
