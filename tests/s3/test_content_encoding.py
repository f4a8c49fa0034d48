"""Objects with a Content-Encoding: they are read, verified and downloaded as stored, and rejected as
uploads."""

from __future__ import annotations

import gzip
import io
import itertools
from typing import Any

import pytest
import urllib3
from django.contrib.auth.models import User
from django.test import Client

from tests.support import factories
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient, put_bytes, web
from tests.support.verification import verify_file
from uploads import s3
from uploads.models import ChecksumStatus, File, State
from uploads.models.querysets import seconds_from_now
from uploads.s3 import streams
from uploads.services.sweep import sweep
from uploads.services.verify.fixity import ResumableHasher

pytestmark = pytest.mark.django_db

PACKED = gzip.compress(b"what a browser would show, and nobody hashed")
ENCODINGS = ["gzip", "deflate", "br", "zstd", "gzip, gzip", "aws-chunked,gzip", "nonsense"]


def sent(upload_client: UploadClient, body: bytes, encoding: str) -> Upload:
    """Return an upload whose bytes were sent with this Content-Encoding."""
    upload = upload_client.start(body)
    response = put_bytes(upload.signed[1], body, headers={"Content-Encoding": encoding})
    assert response.status == 200, response.data
    return upload


# --- uploads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_upload_with_an_encoding_is_rejected_and_removed(
    upload_client: UploadClient, alice: User, bucket: Bucket, encoding: str
) -> None:
    upload = sent(upload_client, b"this is neither", encoding)
    response = upload_client.finish(upload)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (415, "refused_encoding")
    assert encoding.removeprefix("aws-chunked,") in error["message"]
    assert upload.row().state == State.DELETING
    File.objects.update(signed_until=seconds_from_now(-factories.HOUR))
    sweep()
    assert factories.is_all_deleted(bucket, alice)


@pytest.mark.parametrize("encoding", ["aws-chunked", "identity", ""])
def test_encoding_header_without_effect_is_accepted(upload_client: UploadClient, encoding: str) -> None:
    assert upload_client.finished(sent(upload_client, PACKED, encoding)).state == State.AVAILABLE


def test_encoded_upload_is_rejected_with_storage_checksums(as_alice: Client, digest_bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = sent(upload_client, PACKED, "gzip")
    assert upload_client.finish(upload).status_code == 415
    assert upload.row().state == State.DELETING


def test_sweep_removes_an_encoded_upload_left_completing(upload_client: UploadClient) -> None:
    upload = sent(upload_client, b"this is no gzip", "gzip")
    checksum = upload.digests[0]
    File.objects.filter(pk=upload.id).update(
        state=State.COMPLETING, lease_until=seconds_from_now(-1), checksum=checksum
    )
    assert sweep()["failed"] == 0
    assert not File.objects.filter(pk=upload.id).exclude(state=State.DELETING).exists()


def test_parts_sent_with_an_encoding_make_a_plain_file(
    upload_client: UploadClient, bucket: Bucket, small_parts: None
) -> None:
    upload = upload_client.start(PACKED)
    upload_client.sign(upload)
    for number, piece in enumerate(upload.pieces, start=1):
        assert put_bytes(upload.signed[number], piece, headers={"Content-Encoding": "gzip"}).status == 200
    file = upload_client.finished(upload)
    assert bucket.client.head_object(Bucket=bucket.name, Key=file.key).get("ContentEncoding") is None
    assert verify_file(file) is ChecksumStatus.VERIFIED


# --- existing files ---------------------------------------------------------------


def stored(owner: User, bucket: Bucket, body: bytes, encoding: str, **facts: Any) -> File:
    """Return an uploaded file whose object has an encoding, as older versions allowed."""
    file = factories.create_file(owner, body, **facts)
    put = bucket.client.put_object(Bucket=bucket.name, Key=file.key, Body=body, ContentEncoding=encoding)
    File.objects.filter(pk=file.pk).update(etag=put["ETag"].strip('"'))
    file.refresh_from_db()
    return file


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_verify_reads_the_stored_bytes(alice: User, bucket: Bucket, encoding: str) -> None:
    file = stored(alice, bucket, PACKED, encoding, checksum_status=ChecksumStatus.CORRUPTED)
    assert verify_file(file) is ChecksumStatus.VERIFIED


def test_compression_bomb_is_read_without_decompression(alice: User, bucket: Bucket) -> None:
    bomb = gzip.compress(gzip.compress(bytes(2**22)) * 1024)
    reading = ResumableHasher(stored(alice, bucket, bomb, "gzip, gzip"))
    assert reading.run()
    assert (reading.size, reading.checksum) == (len(bomb), reading.file.checksum)


def test_a_download_gives_the_stored_bytes(alice: User, as_alice: Client, bucket: Bucket) -> None:
    file = stored(alice, bucket, PACKED, "gzip")
    response = web.request("GET", as_alice.get(f"/files/{file.pk}/download")["Location"])
    assert (response.data, response.headers["Content-Encoding"]) == (PACKED, "identity")


# --- endless bodies ----------------------------------------------------------------------


class Endless(io.RawIOBase):
    """A body that never ends, whatever size it declares."""

    def __init__(self, declared_size: int) -> None:
        self.declared_size, self.given = declared_size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        assert self.given < self.declared_size + 2 * streams.CHUNK_BYTES, "the stream was not stopped"
        self.given += len(into)
        into[:] = bytes(len(into))
        return len(into)


def endless(declared_size: int) -> s3.Stream:
    headers = {"ETag": '"0"', "Content-Range": f"bytes 0-{declared_size - 1}/{declared_size}"}
    return s3.Stream(urllib3.HTTPResponse(Endless(declared_size), headers, preload_content=False))


def test_stream_stops_at_the_chunk_past_the_object_size() -> None:
    assert [len(piece) for piece in itertools.islice(endless(25).chunks(10), 9)] == [10, 10, 10]


def test_object_larger_than_its_declared_size_is_corrupted(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = factories.create_file(alice, bytes(25), etag="0")
    monkeypatch.setattr(streams, "stream", lambda *_args, **_kwargs: endless(25))
    assert verify_file(file) is ChecksumStatus.CORRUPTED
