"""Resume an upload after a reload or later: stored parts and their checksums."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support.file_rows import create_row
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, put_bytes, sha256
from uploads.models import File, PartDigest, State

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = pytest.mark.usefixtures("small_parts")


def listed_parts(upload_client: UploadClient, upload: Any) -> dict[int, tuple[int, str | None]]:
    response = upload_client.retrieve(upload)
    assert response.status_code == 200
    return {part["number"]: (part["size"], part.get("sha256")) for part in response.json()["parts"]}


def test_stored_parts_are_listed_with_size_and_checksum(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 3, 1)
    assert listed_parts(upload_client, upload) == {1: (10, upload.digests[0]), 3: (3, upload.digests[2])}


def test_signed_but_unsent_part_is_not_listed(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.sign(upload)
    assert listed_parts(upload_client, upload) == {}


def test_response_describes_the_upload(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY, name="a.txt", folder="x/y", modified=1_700_000_000_000)
    payload = upload_client.retrieve(upload).json()
    assert (payload["id"], payload["token"], payload["state"]) == (str(upload.id), str(upload.token), "uploading")
    assert (payload["name"], payload["folder"], payload["size"], payload["modified"]) == (
        "a.txt",
        "x/y",
        23,
        1_700_000_000_000,
    )
    assert (payload["part_size"], payload["part_count"], payload["parts"]) == (10, 3, [])


def test_upload_finishes_after_sending_only_the_missing_parts(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 2)
    upload.signed.clear()  # the page was closed
    there = listed_parts(upload_client, upload)
    upload_client.put(upload, *[number for number in upload.numbers if number not in there])
    assert bucket.read(upload_client.finished(upload).key) == BODY


def test_stored_small_file_is_listed_as_one_part(upload_client: UploadClient) -> None:
    upload = upload_client.start(b"small")
    assert listed_parts(upload_client, upload) == {}
    upload_client.put(upload)
    assert listed_parts(upload_client, upload) == {1: (5, sha256(b"small"))}


def test_object_of_another_size_is_not_listed_as_a_part(upload_client: UploadClient, bucket: Bucket) -> None:
    for foreign in (b"", b"four", b"sixsix"):
        upload = upload_client.start(b"small")
        bucket.write(upload.row().key, foreign)
        assert listed_parts(upload_client, upload) == {}


def test_lost_multipart_upload_is_replaced_by_a_new_one(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1, 2)
    lost = upload.row()
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=lost.key, UploadId=lost.multipart_id)
    assert put_bytes(upload.signed[1], BODY[:10]).status == 404
    assert listed_parts(upload_client, upload) == {}
    assert not PartDigest.objects.exists()
    upload.signed.clear()
    upload_client.put(upload)
    assert upload.row().multipart_id != lost.multipart_id
    assert bucket.read(upload_client.finished(upload).key) == BODY


def test_unfinished_uploads_are_listed_newest_first_with_their_fields(upload_client: UploadClient) -> None:
    first = upload_client.start(BODY, name="a.txt", modified=1000)
    second = upload_client.start(b"x", name="b.txt", folder="f")
    upload_client.send(b"done")
    items = upload_client.unfinished().json()["uploads"]
    assert [(t["id"], t["name"], t["folder"], t["size"], t["modified"]) for t in items] == [
        (str(second.id), "b.txt", "f", 1, None),
        (str(first.id), "a.txt", "", 23, 1000),
    ]
    assert all(t["expires_at"] and t["part_count"] and t["state"] == "uploading" for t in items)


def test_unfinished_uploads_of_other_users_are_not_listed(upload_client: UploadClient, as_bob: Client) -> None:
    upload_client.start(BODY)
    assert UploadClient(as_bob).unfinished().json() == {"uploads": []}


def test_finished_file_has_no_parts(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    upload_client.finished(upload)
    payload = upload_client.retrieve(upload).json()
    assert (payload["state"], payload["parts"]) == ("available", [])


def test_expired_upload_lists_its_parts_but_accepts_none(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now())
    assert list(listed_parts(upload_client, upload)) == [1]
    assert upload_client.request_parts(upload.id, [{"number": 2}]).status_code == 410


@pytest.mark.parametrize("state", [State.TRASHED, State.DELETING])
def test_removed_upload_is_410(as_alice: Client, alice: User, state: State) -> None:
    file = create_row(alice, state)
    response = as_alice.get(f"/uploads/{file.pk}/")
    assert (response.status_code, response.json()["error"]["code"]) == (410, "gone")


@pytest.mark.slow
def test_more_than_a_thousand_parts_are_listed(upload_client: UploadClient, settings: Settings, bucket: Bucket) -> None:
    """S3 lists at most 1,000 parts per page."""
    settings.UPLOAD_PART_BYTES = 1
    upload = upload_client.start(bytes(1100))
    upload_client.sign(upload, 1)
    row = upload.row()
    for number in range(1, 1101):
        bucket.client.upload_part(
            Bucket=bucket.name, Key=row.key, UploadId=row.multipart_id, PartNumber=number, Body=b"\x00"
        )
    assert list(listed_parts(upload_client, upload)) == list(range(1, 1101))
    assert upload_client.finished(upload).checksum.endswith("-1100")
    assert bucket.objects() == {row.key: 1100}
