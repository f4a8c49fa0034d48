"""Cancel an upload: the reservation ends at once, the bytes are deleted, and the row is deleted last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tests.support.file_rows import create_row, stored_usage
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient, put_bytes
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import File, State
from uploads.services.sweep import sweep

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = pytest.mark.usefixtures("small_parts")


def expire_urls(upload: Upload) -> None:
    File.objects.filter(pk=upload.id).update(signed_until=timezone.now() - timedelta(minutes=5))


def test_cancel_deletes_parts_and_reservation(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1, 2)
    assert upload_client.cancel(upload).status_code == 204
    assert upload.row().state == State.DELETING
    assert stored_usage(alice) == (0, 0)
    assert not bucket.multipart_uploads()


def test_cancel_deletes_the_object_of_a_small_file(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(b"small")
    upload_client.put(upload)
    assert upload_client.cancel(upload).status_code == 204
    assert not bucket.objects()


def test_cancel_of_unsigned_upload_deletes_it_at_once(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY, sha256=None)
    upload_client.cancel(upload)
    assert not File.objects.exists()


def test_row_is_kept_until_its_presigned_urls_expire(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(b"small")
    upload_client.cancel(upload)
    assert put_bytes(upload.signed[1], b"small").status == 200  # late
    sweep()
    assert upload.row().state == State.DELETING
    assert not bucket.objects()
    expire_urls(upload)
    sweep()
    assert not File.objects.exists()


def test_late_parts_are_rejected(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    upload_client.sign(upload)
    upload_client.cancel(upload)
    assert put_bytes(upload.signed[2], BODY[10:20]).status == 404
    assert not bucket.multipart_uploads()


def test_unrecorded_multipart_upload_is_aborted_too(upload_client: UploadClient, bucket: Bucket) -> None:
    """The response of its creation was lost: storage has it, but the row doesn't record it."""
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    s3.create_multipart(upload.row().key)
    assert len(bucket.multipart_uploads()) == 2
    upload_client.cancel(upload)
    assert not bucket.multipart_uploads()


def test_canceling_twice_is_harmless(upload_client: UploadClient, alice: User) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    assert upload_client.cancel(upload).status_code == upload_client.cancel(upload).status_code == 204
    assert stored_usage(alice) == (0, 0)


def test_cancel_works_with_unavailable_storage(
    upload_client: UploadClient, alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    with monkeypatch.context() as patch:
        patch.setattr(s3, "multipart_ids", lambda key, **where: (_ for _ in ()).throw(StorageUnavailable()))
        assert upload_client.cancel(upload).status_code == 204
    assert stored_usage(alice) == (0, 0)
    assert bucket.multipart_uploads()
    sweep()
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize("state", [State.COMPLETING, State.AVAILABLE, State.TRASHED])
def test_completing_or_stored_file_cannot_be_canceled(
    upload_client: UploadClient, alice: User, bucket: Bucket, state: State
) -> None:
    file = create_row(alice, state)
    bucket.write(file.key, b"x")
    response = upload_client.client.delete(f"/uploads/{file.pk}/")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "wrong_state")
    assert File.objects.get(pk=file.pk).state == state
    assert bucket.read(file.key) == b"x"


def test_expired_upload_can_still_be_canceled(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now())
    assert upload_client.cancel(upload).status_code == 204
    assert not bucket.multipart_uploads()
    assert stored_usage(alice) == (0, 0)


def test_canceled_upload_is_410(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    upload_client.cancel(upload)
    codes = [
        upload_client.finish(upload),
        upload_client.request_parts(upload.id, [{"number": 1}]),
        upload_client.retrieve(upload),
    ]
    assert [response.status_code for response in codes] == [410, 410, 410]
