"""The contract with S3-compatible storage, tested through the functions of `uploads.s3` only.

It runs unchanged against local storage (rclone, S3_CHECKSUMS=off), storage that verifies checksums, and any storage
that environment variables name:

    CONTRACT_ENDPOINT=https://s3.example.org CONTRACT_BUCKET=try CONTRACT_KEY=… CONTRACT_SECRET=… \
    [CONTRACT_REGION=us-east-1] [CONTRACT_CHECKSUMS=sha256|off] \
    python -m amalga.local --ephemeral python -m pytest tests/s3/test_store_contract.py \
        tests/s3/test_store_header_contract.py -k given

The bucket must exist. Only keys `f/<random>` are written, and each is deleted at the end. Parts are 5 MiB, the minimum
of S3, so a run transfers about 50 MiB.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.test import override_settings
from pytest_django import Settings

from tests.support.stores import Address, Bucket
from tests.support.upload_client import composite, put_bytes, sha256, web
from uploads import s3
from uploads.content_headers import content_disposition
from uploads.errors import Gone, StorageUnavailable
from uploads.models import new_key
from uploads.s3 import client as s3_client

STORES = ["local", "digests", *(["given"] if "CONTRACT_ENDPOINT" in os.environ else [])]
PART = 5 * 1024**2
PIECES = [os.urandom(PART), b"the rest"]
SIZE = sum(map(len, PIECES))


def given_address() -> Address:
    return Address(
        endpoint=os.environ["CONTRACT_ENDPOINT"],
        bucket=os.environ["CONTRACT_BUCKET"],
        key=os.environ["CONTRACT_KEY"],
        secret=os.environ["CONTRACT_SECRET"],
        region=os.environ.get("CONTRACT_REGION", "us-east-1"),
        checksums=os.environ.get("CONTRACT_CHECKSUMS", "sha256"),
    )


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """Point the app at this storage, and yield its bucket for direct access."""
    address: Address
    if request.param == "local":
        address = Address.of_this_run()
    elif request.param == "digests":
        address = request.getfixturevalue("digest_store")
    else:
        address = given_address()
    overridden = override_settings(
        S3_ENDPOINT=address.endpoint,
        S3_BUCKET=address.bucket,
        S3_REGION=address.region,
        S3_CHECKSUMS=address.checksums,
        S3_CONDITIONS=address.conditions,
        STORAGES={**settings.STORAGES},  # recreates the storage that signs downloads
    )
    with pytest.MonkeyPatch.context() as patch, overridden:
        for name, value in address.variables().items():
            patch.setenv(name, value)
        s3.reset()
        yield Bucket(address)
    s3.reset()


@pytest.fixture
def key(store: Bucket) -> Iterator[str]:
    """A key without an object, before and after the test."""
    key = new_key()
    yield key
    for multipart_id in s3.multipart_ids(key):
        s3.abort_multipart(key, multipart_id)
    s3.delete(key)


def send_parts(key: str) -> str:
    """Return the ID of a multipart upload with all its parts."""
    multipart_id = s3.create_multipart(key)
    for number, piece in enumerate(PIECES, start=1):
        s3.upload_part(key, multipart_id, number, piece, sha256=sha256(piece))
    return multipart_id


# --- multipart uploads -------------------------------------------------------------------------


def test_parts_are_listed_by_number_with_their_size_and_digest(key: str) -> None:
    multipart_id = s3.create_multipart(key)
    for number in (2, 1):
        s3.upload_part(key, multipart_id, number, PIECES[number - 1], sha256=sha256(PIECES[number - 1]))
    listed = s3.list_parts(key, multipart_id)
    assert listed is not None
    assert [(part.number, part.size) for part in listed] == [(n, len(p)) for n, p in enumerate(PIECES, start=1)]
    assert all(part.etag for part in listed)
    digests = [sha256(piece) if s3.keeps_digests() else None for piece in PIECES]
    assert [part.sha256 for part in listed] == digests


def test_an_upload_without_parts_has_an_empty_list(key: str) -> None:
    assert s3.list_parts(key, s3.create_multipart(key)) == []


def test_complete_makes_the_object_out_of_its_parts(key: str) -> None:
    multipart_id = send_parts(key)
    listed = s3.list_parts(key, multipart_id)
    assert listed
    assert s3.complete_multipart(key, multipart_id, listed, size=SIZE)
    head = s3.head_and_sniff(key, size=SIZE)
    assert head is not None
    assert (head.size, head.first_bytes) == (SIZE, PIECES[0][:8192])
    assert head.checksum == (composite(PIECES) if s3.keeps_digests() else None)
    chunks = s3.read(key)
    assert chunks is not None
    assert hashlib.sha256(b"".join(chunks)).digest() == hashlib.sha256(b"".join(PIECES)).digest()


def test_object_does_not_exist_before_complete(key: str) -> None:
    send_parts(key)
    assert s3.head_and_sniff(key, size=SIZE) is None


def test_second_complete_changes_nothing(key: str) -> None:
    """AWS returns 200 again; other storage reports NoSuchUpload."""
    multipart_id = send_parts(key)
    listed = s3.list_parts(key, multipart_id)
    assert listed
    s3.complete_multipart(key, multipart_id, listed, size=SIZE)
    before = s3.head_and_sniff(key, size=SIZE)
    assert s3.complete_multipart(key, multipart_id, listed, size=SIZE) in {True, False}
    assert s3.head_and_sniff(key, size=SIZE) == before


def test_multipart_upload_does_not_exist_after_complete(key: str) -> None:
    multipart_id = send_parts(key)
    s3.complete_multipart(key, multipart_id, s3.list_parts(key, multipart_id) or [], size=SIZE)
    assert s3.list_parts(key, multipart_id) is None
    assert s3.multipart_ids(key) == []


def test_abort_deletes_the_parts_and_can_be_repeated(key: str) -> None:
    multipart_id = send_parts(key)
    listed = s3.list_parts(key, multipart_id)
    assert listed
    s3.abort_multipart(key, multipart_id)
    s3.abort_multipart(key, multipart_id)
    assert s3.list_parts(key, multipart_id) is None
    assert s3.multipart_ids(key) == []
    assert not s3.complete_multipart(key, multipart_id, listed, size=SIZE)
    assert s3.head_and_sniff(key, size=SIZE) is None


def test_part_of_an_aborted_upload_is_gone(key: str) -> None:
    multipart_id = s3.create_multipart(key)
    s3.abort_multipart(key, multipart_id)
    with pytest.raises(Gone):
        s3.upload_part(key, multipart_id, 1, PIECES[0], sha256=sha256(PIECES[0]))


def test_multipart_ids_returns_only_open_uploads_of_the_key(key: str) -> None:
    neighbour = key + "0"
    ids = {s3.create_multipart(key), s3.create_multipart(key)}
    other = s3.create_multipart(neighbour)
    assert set(s3.multipart_ids(key)) == ids
    s3.abort_multipart(neighbour, other)


def test_multipart_upload_survives_deletion_of_a_neighboring_object(key: str) -> None:
    """rclone stores keys in folders, and deletes a folder with its last object."""
    neighbour = new_key()
    s3.put(neighbour, b"x", sha256=sha256(b"x"))
    multipart_id = s3.create_multipart(key)
    s3.delete(neighbour)
    for number, piece in enumerate(PIECES, 1):
        s3.upload_part(key, multipart_id, number, piece, sha256=sha256(piece))
    assert s3.complete_multipart(key, multipart_id, s3.list_parts(key, multipart_id) or [], size=SIZE)


def test_part_can_be_sent_again(key: str) -> None:
    multipart_id = send_parts(key)
    s3.upload_part(key, multipart_id, 2, PIECES[1], sha256=sha256(PIECES[1]))  # for other bytes rclone returns 501
    listed = s3.list_parts(key, multipart_id)
    assert listed
    assert [part.size for part in listed] == [len(piece) for piece in PIECES]


# --- whole objects ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 100_000])
def test_inspect_returns_size_etag_checksum_and_first_bytes(store: Bucket, key: str, size: int) -> None:
    body = os.urandom(size)
    s3.put(key, body, sha256=sha256(body))
    head = s3.head_and_sniff(key, size=size)
    assert head is not None
    assert (head.size, head.first_bytes) == (size, body[:8192])
    assert head.etag == store.client.head_object(Bucket=store.name, Key=key)["ETag"].strip('"')
    assert head.checksum == (sha256(body) if s3.keeps_digests() else None)


@pytest.mark.parametrize(("size", "expected"), [(0, 10), (10, 0), (10, 100_000), (100_000, 10)])
def test_inspect_returns_the_actual_size(key: str, size: int, expected: int) -> None:
    body = os.urandom(size)
    s3.put(key, body, sha256=sha256(body))
    head = s3.head_and_sniff(key, size=expected)
    assert head is not None
    assert (head.size, head.first_bytes) == (size, body[:8192])


def test_repeated_inspections_reuse_connections(key: str) -> None:
    """An inspection that leaves a large body unread must not make its connection unusable."""
    body = os.urandom(PART)
    s3.put(key, body, sha256=sha256(body))
    for _ in range(40):
        head = s3.head_and_sniff(key, size=PART)
        assert head is not None
        assert head.first_bytes == body[:8192]


@pytest.mark.parametrize("size", [0, 10])
def test_missing_object_is_none(key: str, size: int) -> None:
    assert s3.head_and_sniff(key, size=size) is None
    assert s3.read(key) is None


def test_an_object_is_read_back_in_chunks(key: str) -> None:
    body = os.urandom(3 * 1024**2 + 1)
    s3.put(key, body, sha256=sha256(body))
    chunks = list(s3.read(key) or [])
    assert b"".join(chunks) == body
    assert max(map(len, chunks)) <= 1024**2


def test_delete_can_be_repeated(key: str) -> None:
    s3.put(key, b"x", sha256=sha256(b"x"))
    s3.delete(key)
    s3.delete(key)
    assert s3.head_and_sniff(key, size=1) is None


def test_objects_are_stored_as_octet_stream(store: Bucket, key: str) -> None:
    s3.put(key, b"<html>", sha256=sha256(b"<html>"))
    assert store.client.head_object(Bucket=store.name, Key=key)["ContentType"] == "application/octet-stream"


CALLS: dict[str, Callable[[str], object]] = {
    "peek": lambda key: s3.head_and_sniff(key, size=1),
    "read": s3.read,
    "put": lambda key: s3.put(key, b"x", sha256=sha256(b"x")),
    "create": s3.create_multipart,
    "list": lambda key: s3.list_parts(key, "x" * 32),
    "ids": s3.multipart_ids,
}


@pytest.mark.parametrize("call", CALLS)
def test_missing_bucket_is_unavailable_and_not_a_missing_object(store: Bucket, call: str, settings: Settings) -> None:
    settings.S3_BUCKET = "amalga-no-such-bucket"
    with pytest.raises(StorageUnavailable):
        CALLS[call](new_key())


# --- signed URLs ------------------------------------------------------------------------------


def test_a_signed_put_stores_the_object(store: Bucket, key: str) -> None:
    body = os.urandom(1000)
    signed = s3.sign_put(key, size=len(body), sha256=sha256(body))
    assert put_bytes({"url": signed.url, "headers": signed.headers}, body).status == 200
    assert store.read(key) == body
    assert store.client.head_object(Bucket=store.name, Key=key)["ContentType"] == "application/octet-stream"


def test_signed_parts_make_an_object(key: str) -> None:
    multipart_id = s3.create_multipart(key)
    for number, piece in enumerate(PIECES, start=1):
        signed = s3.sign_part(key, multipart_id, number, size=len(piece), sha256=sha256(piece))
        assert put_bytes({"url": signed.url, "headers": signed.headers}, piece).status == 200
    listed = s3.list_parts(key, multipart_id)
    assert listed
    assert s3.complete_multipart(key, multipart_id, listed, size=SIZE)
    head = s3.head_and_sniff(key, size=SIZE)
    assert head is not None
    assert head.size == SIZE


def test_an_empty_object_can_be_sent_by_a_signed_url(store: Bucket, key: str) -> None:
    signed = s3.sign_put(key, size=0, sha256=sha256(b""))
    assert put_bytes({"url": signed.url, "headers": signed.headers}, b"").status == 200
    assert store.read(key) == b""


@pytest.mark.parametrize("difference", [-1, 1])
def test_another_length_than_signed_is_refused(key: str, difference: int) -> None:
    signed = s3.sign_put(key, size=10, sha256=sha256(bytes(10)))
    assert put_bytes({"url": signed.url, "headers": signed.headers}, bytes(10 + difference)).status == 403
    part = s3.sign_part(key, s3.create_multipart(key), 1, size=10, sha256=sha256(bytes(10)))
    assert put_bytes({"url": part.url, "headers": part.headers}, bytes(10 + difference)).status == 403
    assert s3.head_and_sniff(key, size=10) is None


def test_a_url_that_was_changed_is_refused(key: str) -> None:
    signed = s3.sign_put(key, size=1, sha256=sha256(b"x"))
    signature = parse_qs(urlsplit(signed.url).query)["X-Amz-Signature"][0]
    other_key = signed.url.replace(key, new_key())
    other_signature = signed.url.replace(signature, signature[::-1])
    longer = signed.url.replace("X-Amz-Expires=600", "X-Amz-Expires=601")
    for url in (other_key, other_signature, longer):
        assert url != signed.url
        assert put_bytes({"url": url, "headers": signed.headers}, b"x").status == 403


@pytest.mark.parametrize("header", ["x-amz-copy-source", "x-amz-acl", "x-amz-tagging"])
def test_a_header_that_was_not_signed_is_refused(store: Bucket, key: str, header: str) -> None:
    value = {"x-amz-copy-source": f"/{store.name}/{key}", "x-amz-acl": "public-read", "x-amz-tagging": "a=b"}[header]
    signed = s3.sign_put(key, size=1, sha256=sha256(b"x"))
    response = put_bytes({"url": signed.url, "headers": signed.headers}, b"x", headers={header: value})
    assert 400 <= response.status < 500
    assert s3.head_and_sniff(key, size=1) is None


def test_expired_url_is_rejected(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(key, b"x", sha256=sha256(b"x"))
    monkeypatch.setattr("uploads.s3.signing.URL_SECONDS", 1)
    monkeypatch.setattr("uploads.s3.signing.DOWNLOAD_SECONDS", 1)
    signed = s3.sign_put(key, size=1, sha256=sha256(b"y"))
    download = s3.download_url(key, disposition="attachment", content_type="text/plain")
    time.sleep(2.1)
    # S3 returns 403; rclone returns 400 for a PUT
    assert put_bytes({"url": signed.url, "headers": signed.headers}, b"y").status in {400, 403}
    assert web.request("GET", download).status in {400, 403}
    assert b"".join(s3.read(key) or []) == b"x"


@pytest.mark.parametrize("name", ["plain.txt", "שלום 😀.txt", 'quote"; x="y.txt', "100% sure;.txt"])
def test_download_has_the_signed_headers(key: str, name: str) -> None:
    s3.put(key, b"<html>", sha256=sha256(b"<html>"))
    header = content_disposition(name, inline=False)
    response = web.request("GET", s3.download_url(key, disposition=header, content_type="application/octet-stream"))
    assert (response.status, response.data) == (200, b"<html>")
    assert response.headers["Content-Disposition"] == header
    assert response.headers["Content-Type"] == "application/octet-stream"


def test_the_headers_of_a_download_cannot_be_changed(key: str) -> None:
    s3.put(key, b"<html>", sha256=sha256(b"<html>"))
    url = s3.download_url(key, disposition="attachment", content_type="text/plain")
    for changed in (url.replace("text%2Fplain", "text%2Fhtml"), url.replace("=attachment", "=inline")):
        assert changed != url
        assert web.request("GET", changed).status == 403


def test_all_attempts_of_a_call_time_out_within_ten_seconds() -> None:
    """Including boto3's random backoff of up to one second."""
    max_seconds = s3_client.ATTEMPTS * (s3_client.CONNECT_SECONDS + s3_client.READ_SECONDS) + 1
    assert max_seconds < 10
    config: Any = s3_client.config()
    assert (config.connect_timeout, config.read_timeout) == (s3_client.CONNECT_SECONDS, s3_client.READ_SECONDS)
    assert config.retries["total_max_attempts"] == s3_client.ATTEMPTS
