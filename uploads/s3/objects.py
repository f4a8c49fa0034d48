"""Whole objects: look at one, store a small one, read one, remove one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from botocore.exceptions import ClientError

from uploads.content_encoding import normalize
from uploads.errors import StoreRefused, StoreUnavailable
from uploads.s3.client import (
    ABSENT,
    CHANGED,
    client,
    code_of,
    http,
    refusal,
    require_no_transaction,
    tell_fault,
    told_plainly,
)
from uploads.s3.signing import OCTET_STREAM
from uploads.s3.stores import Store, store_named

FIRST_BYTES = 8192  # enough for every signature a content sniffer looks for
LOOK_SECONDS = 60
NEVER_USED = "f/" + "0" * 32
CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<size>\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as the store has it. `checksum` only from stores that keep digests; `content_encoding` as
    `content_encoding.normalize` has it."""

    size: int
    etag: str
    checksum: str | None
    first_bytes: bytes
    content_encoding: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int  # 200, 206, 404 where the store says that there is no such key, or 416
    headers: Mapping[str, str]
    first: bytes


def peek(key: str, *, size: int, store: str | None = None) -> Stored | None:
    """Size, ETag, checksum and first bytes of an object of about `size` bytes; None if there is none.

    One ranged GET tells all but the checksum, which S3 leaves out of ranged answers: a HEAD brings it.
    An empty object has no range to ask for, and answers 416 when we expected bytes.
    """
    at = store_named(store)
    headers = {"Range": f"bytes=0-{FIRST_BYTES - 1}"} if size else {}
    got = _ask("GET", key, headers, at)
    if got.status == 416:
        got = _ask("GET", key, {}, at)
    if got.status == 404:
        return None
    checksum = None
    if at.keeps_digests:
        head = _ask("HEAD", key, {}, at, ChecksumMode="ENABLED")
        checksum = head.headers.get("x-amz-checksum-sha256")
    encoding = normalize(got.headers.get("Content-Encoding", ""))
    return Stored(whole_size(got.headers), got.headers["ETag"].strip('"'), checksum, got.first, encoding)


def require_answer(store: str | None = None) -> None:
    """Raise StoreUnavailable unless the store answers now, in seconds; that it refuses is an answer too."""
    with contextlib.suppress(StoreRefused):
        peek(NEVER_USED, size=1, store=store)


def put(key: str, body: bytes | memoryview, *, sha256: str, store: str | None = None) -> None:
    """Store a whole object from here, with retries."""
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumSHA256": sha256} if at.keeps_digests else {}
    with told_plainly("PutObject"):
        client("patient", at).put_object(
            Bucket=at.bucket, Key=key, Body=bytes(body), ContentLength=len(body),
            ContentType=OCTET_STREAM, **extra,
        )  # fmt: skip


def read_small(key: str, *, max_bytes: int, store: str | None = None) -> bytes | None:
    """The first `max_bytes` of an object; None if there is none. Raises StoreUnavailable, also where they end early."""
    at = store_named(store)
    try:
        with told_plainly("GetObject"):
            answer = client("quick", at).get_object(Bucket=at.bucket, Key=key)
            with contextlib.closing(answer["Body"]) as body:
                content = body.read(max_bytes)
    except ClientError:
        return None
    if len(content) < min(max_bytes, answer["ContentLength"]):  # botocore notices only at the end of the body
        tell_fault("GetObject", "IncompleteRead")
        raise StoreUnavailable("GetObject: ended early")
    return content


def delete(key: str, *, etag: str = "", store: str | None = None) -> bool:
    """Remove the object. Safe to repeat: an object that is not there counts as removed.

    With an `etag` only the object that has it, where the store can tell: False when another one is there, and stays.
    """
    at = store_named(store)
    expected = at.if_unchanged(etag)
    extra: dict[str, Any] = {"IfMatch": f'"{expected}"'} if expected else {}
    try:
        with told_plainly("DeleteObject", absent=ABSENT | CHANGED):
            client("quick", at).delete_object(Bucket=at.bucket, Key=key, **extra)
    except ClientError as error:
        return code_of(error) in ABSENT
    return True


def create_bucket() -> None:
    """Make the bucket of a local installation. Safe to repeat."""
    at = store_named(None)
    try:
        with told_plainly("HeadBucket", absent={"404"}):  # a HEAD has no words
            client("quick", at).head_bucket(Bucket=at.bucket)
    except ClientError:
        with told_plainly("CreateBucket"):
            client("quick", at).create_bucket(Bucket=at.bucket)


def _ask(method: str, key: str, headers: dict[str, str], at: Store, **params: Any) -> _Answer:
    operation = {"GET": "get_object", "HEAD": "head_object"}[method]
    if "ChecksumMode" in params:
        headers = {**headers, "x-amz-checksum-mode": params["ChecksumMode"]}
    require_no_transaction()
    with told_plainly(operation):
        url = client("quick", at).generate_presigned_url(
            operation,
            Params={"Bucket": at.bucket, "Key": key, **params},
            ExpiresIn=LOOK_SECONDS,
        )
        answer = http().request(method, url, headers=headers, preload_content=False)
        first = _first_bytes(answer)
    found = answer.status in {200, 206} and "ETag" in answer.headers
    # A 404 may also mean the bucket, or come from something in between. A HEAD has no words for the
    # difference: after a GET that found the object, its 404 is a fault.
    absent = answer.status == 404 and b"NoSuchKey" in first
    if found or absent or answer.status == 416:
        return _Answer(answer.status, answer.headers, first)
    raise refusal(operation, answer)


def _first_bytes(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Read no more than we came for, even from a store that does not know ranges."""
    first = answer.read(FIRST_BYTES)
    if answer.read(1):
        answer.close()
    answer.release_conn()
    return first


def whole_size(headers: Mapping[str, str]) -> int:
    """The object's size: behind the slash of `Content-Range: bytes 0-8191/734003200`, or the length.

    Some stores send that header with status 200.
    """
    ranged = CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    return int(ranged["size"]) if ranged else int(headers["Content-Length"])
