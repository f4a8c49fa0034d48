"""Giving an upload up: the reservation ends at once, the bytes go, and the row goes last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tests.support.rows import make_row, used
from tests.support.senders import Sender, Upload, put_bytes
from tests.support.stores import Bucket
from uploads import s3, services
from uploads.errors import StorageUnavailable
from uploads.models import File, State

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = pytest.mark.usefixtures("small_parts")


def let_urls_die(upload: Upload) -> None:
    File.objects.filter(pk=upload.id).update(signed_until=timezone.now() - timedelta(minutes=5))


def test_cancel_removes_parts_and_reservation(sender: Sender, alice: User, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1, 2)
    assert sender.cancel(upload).status_code == 204
    assert upload.row().state == State.DELETING
    assert used(alice) == (0, 0)
    assert not bucket.multipart_uploads()


def test_cancel_removes_the_object_of_a_small_file(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(b"small")
    sender.put(upload)
    assert sender.cancel(upload).status_code == 204
    assert not bucket.objects()


def test_upload_without_signed_urls_is_removed_at_once(sender: Sender) -> None:
    upload = sender.start(BODY, sha256=None)
    sender.cancel(upload)
    assert not File.objects.exists()


def test_row_stays_while_a_presigned_url_is_valid(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(b"small")
    sender.cancel(upload)
    assert put_bytes(upload.signed[1], b"small").status == 200  # late
    services.sweep()
    assert upload.row().state == State.DELETING
    assert not bucket.objects()
    let_urls_die(upload)
    services.sweep()
    assert not File.objects.exists()


def test_late_parts_are_refused(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    sender.sign(upload)
    sender.cancel(upload)
    assert put_bytes(upload.signed[2], BODY[10:20]).status == 404
    assert not bucket.multipart_uploads()


def test_unknown_multipart_uploads_are_aborted(sender: Sender, bucket: Bucket) -> None:
    """Its creation was answered into the void: the store knows it, the row does not."""
    upload = sender.start(BODY)
    sender.put(upload, 1)
    s3.create_multipart(upload.row().key)
    assert len(bucket.multipart_uploads()) == 2
    sender.cancel(upload)
    assert not bucket.multipart_uploads()


def test_cancel_can_be_repeated(sender: Sender, alice: User) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    assert sender.cancel(upload).status_code == sender.cancel(upload).status_code == 204
    assert used(alice) == (0, 0)


def test_cancel_succeeds_while_the_storage_is_unavailable(
    sender: Sender, alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    with monkeypatch.context() as patch:
        patch.setattr(s3, "multipart_ids", lambda key, **where: (_ for _ in ()).throw(StorageUnavailable()))
        assert sender.cancel(upload).status_code == 204
    assert used(alice) == (0, 0)
    assert bucket.multipart_uploads()
    services.sweep()
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize("state", [State.COMPLETING, State.AVAILABLE, State.TRASHED])
def test_finished_upload_cannot_be_canceled(sender: Sender, alice: User, bucket: Bucket, state: State) -> None:
    file = make_row(alice, state)
    bucket.write(file.key, b"x")
    response = sender.client.delete(f"/uploads/{file.pk}/")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "wrong_state")
    assert File.objects.get(pk=file.pk).state == state
    assert bucket.read(file.key) == b"x"


def test_expired_upload_can_be_canceled(sender: Sender, alice: User, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now())
    assert sender.cancel(upload).status_code == 204
    assert not bucket.multipart_uploads()
    assert used(alice) == (0, 0)


def test_canceled_upload_accepts_nothing(sender: Sender) -> None:
    upload = sender.start(BODY)
    sender.put(upload)
    sender.cancel(upload)
    codes = [sender.finish(upload), sender.ask_parts(upload.id, [{"number": 1}]), sender.look(upload)]
    assert [response.status_code for response in codes] == [410, 410, 410]
