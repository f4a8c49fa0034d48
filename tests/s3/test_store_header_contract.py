"""The storage contract (test_store_contract.py) for object headers: unsigned headers of a PUT are
rejected, or overridden in downloads, and bytes are read as stored."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest

from tests.s3 import test_store_contract
from tests.s3.test_store_contract import PIECES, SIZE
from tests.support.stores import Bucket
from tests.support.upload_client import put_bytes, sha256, web
from uploads import s3

store, key = test_store_contract.store, test_store_contract.key

STORED_HEADERS = {
    "Cache-Control": "public, max-age=31536000",
    "Content-Disposition": "inline; filename=other.html",
    "Content-Encoding": "gzip",
    "Content-Language": "xx",
    "Expires": "Wed, 01 Jan 2031 00:00:00 GMT",
}


@pytest.mark.parametrize("header", STORED_HEADERS)
def test_a_header_that_is_not_signed_does_not_reach_a_download(key: str, header: str) -> None:
    """Storage keeps headers that a sender adds, but the signed headers of a download override them."""
    signed = s3.sign_put(key, size=5, sha256=sha256(b"bytes"))
    added = {header: STORED_HEADERS[header]}
    assert put_bytes({"url": signed.url, "headers": signed.headers}, b"bytes", headers=added).status == 200
    url = s3.download_url(key, disposition="attachment", content_type="application/octet-stream")
    response = web.request("GET", url, decode_content=False)
    assert response.data == b"bytes"
    assert {name: response.headers[name] for name in STORED_HEADERS} == {
        "Cache-Control": "private, no-store",
        "Content-Disposition": "attachment",
        "Content-Encoding": "identity",
        "Content-Language": "und",
        "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
    }


@pytest.mark.parametrize(
    "header", ["x-amz-website-redirect-location", "x-amz-meta-name", "x-amz-storage-class", "x-amz-tagging"]
)
def test_a_header_of_s3_that_is_not_signed_is_refused(key: str, header: str) -> None:
    signed = s3.sign_put(key, size=1, sha256=sha256(b"x"))
    value = {"x-amz-storage-class": "GLACIER"}.get(header, "/x")
    assert put_bytes({"url": signed.url, "headers": signed.headers}, b"x", headers={header: value}).status == 403
    assert s3.head_and_sniff(key, size=1) is None


def test_encoding_of_parts_does_not_reach_the_object(key: str) -> None:
    multipart_id = s3.create_multipart(key)
    for number, piece in enumerate(PIECES, start=1):
        signed = s3.sign_part(key, multipart_id, number, size=len(piece), sha256=sha256(piece))
        response = put_bytes({"url": signed.url, "headers": signed.headers}, piece, headers=STORED_HEADERS)
        assert response.status == 200
    assert s3.complete_multipart(key, multipart_id, s3.list_parts(key, multipart_id) or [], size=SIZE)
    head = s3.head_and_sniff(key, size=SIZE)
    assert head is not None
    assert (head.size, head.first_bytes, head.content_encoding) == (SIZE, PIECES[0][:8192], "")


TEXT = b"what was hashed " * 4096
BODIES = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "br": brotli.compress(TEXT),
    "zstd": TEXT,
    "gzip, gzip": gzip.compress(gzip.compress(TEXT)),
    "gzip,br": b"this is neither",
    "GZIP": b"this is no gzip",
}


@pytest.mark.parametrize("encoding", BODIES)
def test_readers_get_stored_bytes_whatever_encoding_an_object_has(store: Bucket, key: str, encoding: str) -> None:
    body = BODIES[encoding]
    store.client.put_object(Bucket=store.name, Key=key, Body=body, ContentEncoding=encoding)
    head = s3.head_and_sniff(key, size=len(body))
    assert head is not None
    assert (head.size, head.first_bytes) == (len(body), body[:8192])
    assert head.content_encoding == ", ".join(encoding.lower().replace(" ", "").split(","))
    assert s3.read_start(key, max_bytes=7) == body[:7]
    assert b"".join(s3.read(key) or []) == body
    for start in (0, 3):
        stream = s3.stream(key, start=start)
        assert stream is not None
        with stream:
            assert (stream.size, stream.content_encoding) == (len(body), head.content_encoding)
            assert b"".join(stream.chunks(1000)) == body[start:]
