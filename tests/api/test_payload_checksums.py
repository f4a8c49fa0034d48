"""S3_CHECKSUMS=payload: storage without checksums verifies the body against the hash in the signature.

No storage available here does that: the two that check signatures accept any body. So one of them checks the
signature, header and URL, and a proxy in front of it verifies the body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support import storage_proxies
from tests.support.storage_proxies import Request, Response, StorageProxy, status
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, put_bytes, sha256
from uploads import s3
from uploads.models import File, State

MIB = 1024**2
BODY = bytes(range(256)) * 20 * 1024 + b"the rest"  # parts of 5 MiB and 8 bytes
PAYLOAD_HASH = "x-amz-content-sha256"


def verify_payload_hash(request: Request) -> Response | None:
    """Refuse a body that does not match its signed hash, as S3 does."""
    sent = {name.lower(): value for name, value in request.headers.items()}
    if sent.get(PAYLOAD_HASH) != hashlib.sha256(request.body).hexdigest():
        return status(400, "XAmzContentSHA256Mismatch")(request)
    return request.forward()


@pytest.fixture
def storage_proxy(digest_bucket: Bucket, settings: Settings) -> Iterator[StorageProxy]:
    """A proxy that verifies the hash of each body, between the app and the digest store."""
    settings.UPLOAD_PART_BYTES = 5 * MIB
    settings.S3_CHECKSUMS = "payload"
    with storage_proxies.proxy_of_app(settings, digest_bucket) as proxy:
        proxy.rules |= {"put": verify_payload_hash, "part": verify_payload_hash}
        yield proxy


@pytest.fixture
def upload_client(as_alice: Client, storage_proxy: StorageProxy) -> UploadClient:
    return UploadClient(as_alice)


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


def test_multipart_file_is_stored(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    file = upload_client.finished(upload)
    assert digest_bucket.read(file.key) == BODY
    assert file.checksum_status == "unverified"  # such storage keeps no checksums


def test_small_file_is_stored(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    file = upload_client.send(b"small")
    assert digest_bucket.read(file.key) == b"small"


def test_flipped_bit_is_rejected_and_correct_bytes_are_accepted(
    upload_client: UploadClient, digest_bucket: Bucket
) -> None:
    several, small = upload_client.start(BODY), upload_client.start(b"small")
    upload_client.sign(several)
    assert put_bytes(several.signed[2], flipped(several.pieces[1])).status == 400
    assert put_bytes(small.signed[1], flipped(b"small")).status == 400
    assert not digest_bucket.objects()
    upload_client.put(several)
    upload_client.put(small)
    assert {upload_client.finished(upload).state for upload in (several, small)} == {State.AVAILABLE}


def test_signed_hash_cannot_be_changed_or_omitted(upload_client: UploadClient) -> None:
    """Storage rejects it, not the proxy: the hash is part of the signature."""
    upload = upload_client.start(b"small")
    signed = upload.signed[1]
    other = hashlib.sha256(b"other").hexdigest()
    exchanged = {**signed, "headers": {**signed["headers"], PAYLOAD_HASH: other}}
    assert put_bytes(exchanged, b"other").status == 403
    in_the_url = {**exchanged, "url": signed["url"].replace(signed["headers"][PAYLOAD_HASH], other)}
    assert put_bytes(in_the_url, b"other").status == 403
    left_out = {**signed, "headers": {"Content-Type": "application/octet-stream"}}
    assert put_bytes(left_out, b"small").status in {400, 403}


@pytest.mark.parametrize("difference", [-1, 1])
def test_the_exact_length_is_signed_as_well(upload_client: UploadClient, difference: int) -> None:
    upload = upload_client.start(b"small")
    assert put_bytes(upload.signed[1], bytes(5 + difference)).status in {400, 403}


def test_presigned_url_includes_the_hash_and_length(upload_client: UploadClient) -> None:
    """Storage looks for the hash in the header or in the URL, and the signature covers both."""
    upload = upload_client.start(BODY)
    (first, *_others) = upload_client.sign(upload)
    query = parse_qs(urlsplit(first["url"]).query)
    digest = hashlib.sha256(upload.pieces[0]).hexdigest()
    assert query["X-Amz-Content-Sha256"] == [digest]
    assert query["X-Amz-SignedHeaders"] == [f"content-length;host;{PAYLOAD_HASH}"]
    assert (query["partNumber"], int(query["X-Amz-Expires"][0])) == (["1"], s3.URL_SECONDS)
    assert first["headers"] == {PAYLOAD_HASH: digest}


def test_no_part_is_signed_without_its_digest(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    response = upload_client.request_parts(upload.id, [{"number": 1}])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_digest")


def test_other_content_is_not_signed_before_the_url_expires(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    """Otherwise the second URL could replace the object after the first content is published."""
    upload = upload_client.start(b"small")
    other = [{"number": 1, "sha256": sha256(b"other")}]
    response = upload_client.request_parts(upload.id, other)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_digest")
    assert upload_client.request_parts(upload.id, [{"number": 1, "sha256": sha256(b"small")}]).status_code == 200
    File.objects.update(signed_until=timezone.now() - timedelta(minutes=3))
    assert upload_client.request_parts(upload.id, other).status_code == 200


def test_put_by_the_app_sends_a_matching_hash(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    key = "p/" + "0" * 32
    s3.put(key, b"hello", sha256=sha256(b"hello"))
    assert digest_bucket.read(key) == b"hello"
