"""Storage that verifies checksums: the announced bytes are stored, or none."""

from __future__ import annotations

import os
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite, put_bytes, sha256
from tests.support.verification import verify_file
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import File, PartDigest, State, new_key

MIB = 1024**2
BODY = os.urandom(10 * MIB) + b"the rest"  # parts of 5 MiB, 5 MiB and 8 bytes


@pytest.fixture(autouse=True)
def smallest_parts(settings: Settings) -> None:
    settings.UPLOAD_PART_BYTES = 5 * MIB


@pytest.fixture
def upload_client(as_alice: Client, digest_bucket: Bucket) -> UploadClient:
    return UploadClient(as_alice)


def flipped(body: bytes) -> bytes:
    """Return the same bytes with one bit changed."""
    return body[:-1] + bytes([body[-1] ^ 1])


def signed_headers(url: str) -> set[str]:
    return set(parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";"))


# --- successful uploads -------------------------------------------------------------------------------


def test_multipart_file_has_one_checksum_everywhere(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    """The checksum in the row, on the object, and computed again from the stored bytes."""
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    file = upload_client.finished(upload)
    head = digest_bucket.client.head_object(Bucket=digest_bucket.name, Key=file.key, ChecksumMode="ENABLED")
    stored = digest_bucket.read(file.key)
    assert stored == BODY
    recomputed = composite([stored[: 5 * MIB], stored[5 * MIB : 10 * MIB], stored[10 * MIB :]])
    assert file.checksum == head["ChecksumSHA256"] == recomputed
    assert (file.checksum_status, file.checksum_algorithm, file.part_size) == ("verified_by_storage", "sha256", 5 * MIB)
    assert recomputed.endswith("-3")


@pytest.mark.parametrize("body", [b"", b"x", b"hello world"])
def test_a_small_file_has_one_checksum_everywhere(
    upload_client: UploadClient, digest_bucket: Bucket, body: bytes
) -> None:
    file = upload_client.send(body)
    head = digest_bucket.client.head_object(Bucket=digest_bucket.name, Key=file.key, ChecksumMode="ENABLED")
    assert digest_bucket.read(file.key) == body
    assert file.checksum == head["ChecksumSHA256"] == sha256(body)
    assert file.checksum_status == "verified_by_storage"


def test_list_parts_returns_the_checksums_of_storage(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1, 3)
    parts = upload_client.retrieve(upload).json()["parts"]
    assert parts == [
        {"number": 1, "size": 5 * MIB, "sha256": upload.digests[0]},
        {"number": 3, "size": 8, "sha256": upload.digests[2]},
    ]
    assert not PartDigest.objects.exists()


def test_resume_sends_only_the_missing_parts(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 2)
    upload.signed.clear()
    there = {part["number"] for part in upload_client.retrieve(upload).json()["parts"]}
    upload_client.put(upload, *(set(upload.numbers) - there))
    assert digest_bucket.read(upload_client.finished(upload).key) == BODY


def test_verify_agrees_with_the_checksum_of_storage(upload_client: UploadClient) -> None:
    file = upload_client.send(BODY)
    assert verify_file(file) == "verified"


# --- wrong digests ----------------------------------------------------------------------------


def test_flipped_bit_in_a_part_is_rejected_and_the_part_can_be_resent(
    upload_client: UploadClient, digest_bucket: Bucket
) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1, 3)
    (signed,) = upload_client.sign(upload, 2)
    assert put_bytes(signed, flipped(upload.pieces[1])).status == 400
    response = upload_client.finish(upload)
    assert (response.status_code, response.json()["error"]["missing"]) == (409, [2])
    upload_client.put(upload, 2)
    assert digest_bucket.read(upload_client.finished(upload).key) == BODY


def test_a_flipped_bit_in_a_small_file_is_refused(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(b"hello")
    assert put_bytes(upload.signed[1], flipped(b"hello")).status == 400
    assert not digest_bucket.objects()
    assert upload_client.finish(upload).status_code == 409
    upload_client.put(upload)
    assert digest_bucket.read(upload_client.finished(upload).key) == b"hello"


def test_another_digest_than_signed_is_refused(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    """A client cannot send other bytes by sending their digest along: the digest is signed."""
    upload, other = upload_client.start(b"hello"), b"olleh"
    changed = {"x-amz-checksum-sha256": sha256(other)}
    assert put_bytes(upload.signed[1], other, headers=changed).status == 403
    assert not digest_bucket.objects()


def test_a_put_without_its_digest_is_refused(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(b"hello")
    headers = dict(upload.signed[1]["headers"])
    del headers["x-amz-checksum-sha256"]
    assert put_bytes({"url": upload.signed[1]["url"], "headers": headers}, b"hello").status == 403
    assert not digest_bucket.objects()


def test_a_finish_with_another_digest_names_the_part(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    wrong = [upload.digests[0], sha256(b"other"), upload.digests[2]]
    response = upload_client.finish(upload, digests=wrong)
    assert (response.status_code, response.json()["error"]["missing"]) == (409, [2])
    assert not digest_bucket.objects()
    assert upload_client.finished(upload).checksum == composite(upload.pieces)


def test_a_small_file_with_another_digest_never_becomes_available(upload_client: UploadClient) -> None:
    upload = upload_client.start(b"hello")
    upload_client.put(upload)
    assert upload_client.finish(upload, digests=[sha256(b"other")]).status_code >= 400
    assert upload.row().state != State.AVAILABLE


def test_parts_are_signed_only_with_their_digest(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    response = upload_client.request_parts(upload.id, [{"number": 1, "sha256": upload.digests[0]}, {"number": 2}])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_digest")
    assert not digest_bucket.multipart_uploads()


# --- limits of a presigned URL -------------------------------------------------------------


def test_length_checksum_and_condition_are_signed(upload_client: UploadClient) -> None:
    several, small = upload_client.start(BODY), upload_client.start(b"small")
    every = {"host", "content-length", "x-amz-checksum-sha256"}
    assert signed_headers(upload_client.sign(several, 1)[0]["url"]) == every
    assert signed_headers(small.signed[1]["url"]) == every | {"content-type", "if-none-match"}


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_byte_more_or_less_is_refused(upload_client: UploadClient, digest_bucket: Bucket, difference: int) -> None:
    upload = upload_client.start(b"hello")
    assert put_bytes(upload.signed[1], bytes(5 + difference)).status == 403
    assert not digest_bucket.objects()


def test_another_content_type_is_refused(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(b"<html>")
    assert put_bytes(upload.signed[1], b"<html>", headers={"Content-Type": "text/html"}).status == 403
    assert not digest_bucket.objects()


@pytest.mark.parametrize(
    "extra",
    [
        {"x-amz-copy-source": "/amalga-digests/f/secret"},
        {"x-amz-acl": "public-read"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-meta-name": "x"},
        {"x-amz-storage-class": "GLACIER"},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_another_header_than_signed_is_refused(
    upload_client: UploadClient, digest_bucket: Bucket, extra: dict[str, str]
) -> None:
    digest_bucket.write("f/secret", b"secret")
    upload = upload_client.start(b"hello")
    assert 400 <= put_bytes(upload.signed[1], b"hello", headers=extra).status < 500
    assert digest_bucket.objects() == {"f/secret": 6}


def test_url_replayed_after_finish_is_rejected(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(b"hello")
    upload_client.put(upload)
    file = upload_client.finished(upload)
    assert put_bytes(upload.signed[1], b"hello").status == 412
    head = digest_bucket.client.head_object(Bucket=digest_bucket.name, Key=file.key)
    assert head["ETag"].strip('"') == file.etag


def test_url_can_be_used_only_once_before_finish(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    """A client that lost the first response gets 412, and can finish."""
    upload = upload_client.start(b"hello")
    upload_client.put(upload)
    assert put_bytes(upload.signed[1], b"hello").status == 412
    assert digest_bucket.read(upload_client.finished(upload).key) == b"hello"


def test_condition_cannot_be_omitted(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(b"hello")
    upload_client.put(upload)
    headers = {name: value for name, value in upload.signed[1]["headers"].items() if name != "If-None-Match"}
    assert put_bytes({"url": upload.signed[1]["url"], "headers": headers}, b"hello").status == 403


def test_parts_of_a_finished_file_are_rejected(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    file = upload_client.finished(upload)
    assert put_bytes(upload.signed[1], upload.pieces[0]).status == 404
    head = digest_bucket.client.head_object(Bucket=digest_bucket.name, Key=file.key)
    assert head["ETag"].strip('"') == file.etag


def test_expired_url_gets_403_and_a_new_one_works(
    upload_client: UploadClient, digest_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("uploads.s3.signing.URL_SECONDS", 1)
        upload = upload_client.start(b"hello")
    time.sleep(2.1)
    assert put_bytes(upload.signed[1], b"hello").status == 403
    upload_client.sign(upload)
    upload_client.put(upload)
    assert upload_client.finished(upload).state == State.AVAILABLE


# --- other wrong checksums -------------------------------------------------------------------------


def test_wrong_checksum_of_the_app_is_rejected(digest_bucket: Bucket) -> None:
    key = new_key()
    with pytest.raises(StorageUnavailable):
        s3.put(key, b"hello", sha256=sha256(b"other"))
    with pytest.raises(StorageUnavailable):
        s3.upload_part(key, s3.create_multipart(key), 1, b"hello", sha256=sha256(b"other"))
    assert not digest_bucket.objects()


def test_object_written_directly_with_other_bytes_never_becomes_available(
    upload_client: UploadClient, digest_bucket: Bucket
) -> None:
    upload = upload_client.start(b"hello")
    digest_bucket.client.put_object(
        Bucket=digest_bucket.name, Key=upload.row().key, Body=b"olleh", ChecksumAlgorithm="SHA256"
    )
    assert upload_client.finish(upload).status_code >= 400
    assert not File.objects.available().exists()
