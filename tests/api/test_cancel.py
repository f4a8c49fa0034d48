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


def test_cancelling_takes_the_parts_and_the_reservation(sender: Sender, alice: User, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1, 2)
    assert sender.cancel(upload).status_code == 204
    assert upload.row().state == State.DELETING
    assert used(alice) == (0, 0)
    assert not bucket.multipart_uploads()


def test_cancelling_takes_the_object_of_a_small_file(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(b"small")
    sender.put(upload)
    assert sender.cancel(upload).status_code == 204
    assert not bucket.objects()


def test_an_upload_for_which_nothing_was_signed_goes_at_once(sender: Sender) -> None:
    upload = sender.start(BODY, sha256=None)
    sender.cancel(upload)
    assert not File.objects.exists()


def test_a_row_stays_while_a_signed_url_may_still_bring_bytes(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(b"small")
    sender.cancel(upload)
    assert put_bytes(upload.signed[1], b"small").status == 200  # late
    services.sweep()
    assert upload.row().state == State.DELETING
    assert not bucket.objects()
    let_urls_die(upload)
    services.sweep()
    assert not File.objects.exists()


def test_late_parts_find_no_upload(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    sender.sign(upload)
    sender.cancel(upload)
    assert put_bytes(upload.signed[2], BODY[10:20]).status == 404
    assert not bucket.multipart_uploads()


def test_a_multipart_upload_nobody_remembers_goes_as_well(sender: Sender, bucket: Bucket) -> None:
    """Its creation was answered into the void: the store knows it, the row does not."""
    upload = sender.start(BODY)
    sender.put(upload, 1)
    s3.create_multipart(upload.row().key)
    assert len(bucket.multipart_uploads()) == 2
    sender.cancel(upload)
    assert not bucket.multipart_uploads()


def test_cancelling_twice_is_as_good_as_once(sender: Sender, alice: User) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    assert sender.cancel(upload).status_code == sender.cancel(upload).status_code == 204
    assert used(alice) == (0, 0)


def test_a_store_that_is_away_does_not_hold_a_cancel_up(
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
def test_what_is_finished_or_being_finished_is_not_cancelled(
    sender: Sender, alice: User, bucket: Bucket, state: State
) -> None:
    file = make_row(alice, state)
    bucket.write(file.key, b"x")
    answer = sender.client.delete(f"/uploads/{file.pk}/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "wrong_state")
    assert File.objects.get(pk=file.pk).state == state
    assert bucket.read(file.key) == b"x"


def test_an_expired_upload_can_still_be_cancelled(sender: Sender, alice: User, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now())
    assert sender.cancel(upload).status_code == 204
    assert not bucket.multipart_uploads()
    assert used(alice) == (0, 0)


def test_a_cancelled_upload_takes_nothing_more(sender: Sender) -> None:
    upload = sender.start(BODY)
    sender.put(upload)
    sender.cancel(upload)
    codes = [sender.finish(upload), sender.ask_parts(upload.id, [{"number": 1}]), sender.look(upload)]
    assert [answer.status_code for answer in codes] == [410, 410, 410]
