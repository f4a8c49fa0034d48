"""Going on after a reload or on another day: which parts are there, and what they were announced with."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support.rows import make_row
from tests.support.senders import Sender, put_bytes, sha256
from tests.support.stores import Bucket
from uploads.models import File, PartDigest, State

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = pytest.mark.usefixtures("small_parts")


def parts_told(sender: Sender, upload: Any) -> dict[int, tuple[int, str | None]]:
    response = sender.look(upload)
    assert response.status_code == 200
    return {part["number"]: (part["size"], part.get("sha256")) for part in response.json()["parts"]}


def test_stored_parts_have_size_and_announced_digest(sender: Sender) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 3, 1)
    assert parts_told(sender, upload) == {1: (10, upload.digests[0]), 3: (3, upload.digests[2])}


def test_part_that_was_only_signed_is_not_listed(sender: Sender) -> None:
    upload = sender.start(BODY)
    sender.sign(upload)
    assert parts_told(sender, upload) == {}


def test_response_describes_the_upload(sender: Sender) -> None:
    upload = sender.start(BODY, name="a.txt", folder="x/y", modified=1_700_000_000_000)
    data = sender.look(upload).json()
    assert (data["id"], data["token"], data["state"]) == (str(upload.id), str(upload.token), "uploading")
    assert (data["name"], data["folder"], data["size"], data["modified"]) == ("a.txt", "x/y", 23, 1_700_000_000_000)
    assert (data["part_size"], data["part_count"], data["parts"]) == (10, 3, [])


def test_missing_parts_complete_the_upload(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 2)
    upload.signed.clear()  # the page was closed
    there = parts_told(sender, upload)
    sender.put(upload, *[number for number in upload.numbers if number not in there])
    assert bucket.read(sender.finished(upload).key) == BODY


def test_stored_small_file_is_listed_as_one_part(sender: Sender) -> None:
    upload = sender.start(b"small")
    assert parts_told(sender, upload) == {}
    sender.put(upload)
    assert parts_told(sender, upload) == {1: (5, sha256(b"small"))}


def test_object_of_another_size_is_not_listed(sender: Sender, bucket: Bucket) -> None:
    for foreign in (b"", b"four", b"sixsix"):
        upload = sender.start(b"small")
        bucket.write(upload.row().key, foreign)
        assert parts_told(sender, upload) == {}


def test_lost_multipart_upload_is_replaced(sender: Sender, bucket: Bucket) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1, 2)
    lost = upload.row()
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=lost.key, UploadId=lost.multipart_id)
    assert put_bytes(upload.signed[1], BODY[:10]).status == 404
    assert parts_told(sender, upload) == {}
    assert not PartDigest.objects.exists()
    upload.signed.clear()
    sender.put(upload)
    assert upload.row().multipart_id != lost.multipart_id
    assert bucket.read(sender.finished(upload).key) == BODY


def test_unfinished_uploads_are_listed_newest_first(sender: Sender) -> None:
    first = sender.start(BODY, name="a.txt", modified=1000)
    second = sender.start(b"x", name="b.txt", folder="f")
    sender.send(b"done")
    data = sender.unfinished().json()["uploads"]
    assert [(t["id"], t["name"], t["folder"], t["size"], t["modified"]) for t in data] == [
        (str(second.id), "b.txt", "f", 1, None),
        (str(first.id), "a.txt", "", 23, 1000),
    ]
    assert all(t["expires_at"] and t["part_count"] and t["state"] == "uploading" for t in data)


def test_list_has_own_uploads_only(sender: Sender, as_bob: Client) -> None:
    sender.start(BODY)
    assert Sender(as_bob).unfinished().json() == {"uploads": []}


def test_finished_file_has_no_parts(sender: Sender) -> None:
    upload = sender.start(BODY)
    sender.put(upload)
    sender.finished(upload)
    data = sender.look(upload).json()
    assert (data["state"], data["parts"]) == ("available", [])


def test_expired_upload_lists_its_parts_but_accepts_no_more(sender: Sender) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now())
    assert list(parts_told(sender, upload)) == [1]
    assert sender.ask_parts(upload.id, [{"number": 2}]).status_code == 410


@pytest.mark.parametrize("state", [State.TRASHED, State.DELETING])
def test_removed_upload_is_gone(as_alice: Client, alice: User, state: State) -> None:
    file = make_row(alice, state)
    response = as_alice.get(f"/uploads/{file.pk}/")
    assert (response.status_code, response.json()["error"]["code"]) == (410, "gone")


def test_more_than_a_thousand_parts_are_listed(sender: Sender, settings: Settings, bucket: Bucket) -> None:
    """S3 lists a thousand parts a page."""
    settings.UPLOAD_PART_BYTES = 1
    upload = sender.start(bytes(1100))
    sender.sign(upload, 1)
    row = upload.row()
    for number in range(1, 1101):
        bucket.client.upload_part(
            Bucket=bucket.name, Key=row.key, UploadId=row.multipart_id, PartNumber=number, Body=b"\x00"
        )
    assert list(parts_told(sender, upload)) == list(range(1, 1101))
    assert sender.finished(upload).checksum.endswith("-1100")
    assert bucket.objects() == {row.key: 1100}
