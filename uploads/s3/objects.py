"""Whole objects: look at one, store a small one, read one, remove one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import urllib3
from botocore.exceptions import ClientError

from uploads.content_encoding import normalize
from uploads.errors import StorageDenied, StorageUnavailable
from uploads.s3.client import (
    ABSENT,
    CHANGED,
    client,
    code_of,
    http,
    log_error,
    require_no_transaction,
    response_error,
    translate_errors,
)
from uploads.s3.signing import OCTET_STREAM
from uploads.s3.stores import Store, store_named

FIRST_BYTES = 8192  # enough for every signature a content sniffer looks for
HEAD_SECONDS = 60
NEVER_USED = "f/" + "0" * 32
CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<size>\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """An object as the store has it. `checksum` only from stores that keep digests; `content_encoding` as
    `content_encoding.normalize` has it."""

    size: int
    etag: str
    checksum: str | None
    first_bytes: bytes
    content_encoding: str = ""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int  # 200, 206, 404 where the store says that there is no such key, or 416
    headers: Mapping[str, str]
    first: bytes


def head_and_sniff(key: str, *, size: int, store: str | None = None) -> ObjectHead | None:
    """Size, ETag, checksum and first bytes of an object of about `size` bytes; None if there is none.

    One ranged GET tells all but the checksum, which S3 leaves out of ranged answers: a HEAD brings it.
    An empty object has no range to ask for, and answers 416 when we expected bytes.
    """
    at = store_named(store)
    headers = {"Range": f"bytes=0-{FIRST_BYTES - 1}"} if size else {}
    got = _get("GET", key, headers, at)
    if got.status == 416:
        got = _get("GET", key, {}, at)
    if got.status == 404:
        return None
    checksum = None
    if at.keeps_digests:
        head = _get("HEAD", key, {}, at, ChecksumMode="ENABLED")
        checksum = head.headers.get("x-amz-checksum-sha256")
    encoding = normalize(got.headers.get("Content-Encoding", ""))
    return ObjectHead(whole_size(got.headers), got.headers["ETag"].strip('"'), checksum, got.first, encoding)


def ping(store: str | None = None) -> None:
    """Raise StorageUnavailable unless the store answers now, in seconds; that it refuses is an answer too."""
    with contextlib.suppress(StorageDenied):
        head_and_sniff(NEVER_USED, size=1, store=store)


def put(key: str, body: bytes | memoryview, *, sha256: str, store: str | None = None) -> None:
    """Store a whole object from here, with retries."""
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumSHA256": sha256} if at.keeps_digests else {}
    with translate_errors("PutObject"):
        client("patient", at).put_object(
            Bucket=at.bucket, Key=key, Body=bytes(body), ContentLength=len(body),
            ContentType=OCTET_STREAM, **extra,
        )  # fmt: skip


def read_small(key: str, *, max_bytes: int, store: str | None = None) -> bytes | None:
    """The first `max_bytes` of an object; None if there is none. Raises StorageUnavailable, also where they end
    early."""
    at = store_named(store)
    try:
        with translate_errors("GetObject"):
            answer = client("quick", at).get_object(Bucket=at.bucket, Key=key)
            with contextlib.closing(answer["Body"]) as body:
                content = body.read(max_bytes)
    except ClientError:
        return None
    if len(content) < min(max_bytes, answer["ContentLength"]):  # botocore notices only at the end of the body
        log_error("GetObject", "IncompleteRead")
        raise StorageUnavailable("GetObject: ended early")
    return content


def delete(key: str, *, etag: str = "", store: str | None = None) -> bool:
    """Remove the object. Safe to repeat: an object that is not there counts as removed.

    With an `etag` only the object that has it, where the store can tell: False when another one is there, and stays.
    """
    at = store_named(store)
    expected = at.if_unchanged(etag)
    extra: dict[str, Any] = {"IfMatch": f'"{expected}"'} if expected else {}
    try:
        with translate_errors("DeleteObject", absent=ABSENT | CHANGED):
            client("quick", at).delete_object(Bucket=at.bucket, Key=key, **extra)
    except ClientError as error:
        return code_of(error) in ABSENT
    return True


def create_bucket() -> None:
    """Make the bucket of a local installation. Safe to repeat."""
    at = store_named(None)
    try:
        with translate_errors("HeadBucket", absent={"404"}):  # a HEAD has no words
            client("quick", at).head_bucket(Bucket=at.bucket)
    except ClientError:
        with translate_errors("CreateBucket"):
            client("quick", at).create_bucket(Bucket=at.bucket)


def _get(method: str, key: str, headers: dict[str, str], at: Store, **params: Any) -> _Response:
    operation = {"GET": "get_object", "HEAD": "head_object"}[method]
    if "ChecksumMode" in params:
        headers = {**headers, "x-amz-checksum-mode": params["ChecksumMode"]}
    require_no_transaction()
    with translate_errors(operation):
        url = client("quick", at).generate_presigned_url(
            operation,
            Params={"Bucket": at.bucket, "Key": key, **params},
            ExpiresIn=HEAD_SECONDS,
        )
        answer = http().request(method, url, headers=headers, preload_content=False)
        first = _first_bytes(answer)
    found = answer.status in {200, 206} and "ETag" in answer.headers
    # A 404 may also mean the bucket, or come from something in between. A HEAD has no words for the
    # difference: after a GET that found the object, its 404 is a fault.
    absent = answer.status == 404 and b"NoSuchKey" in first
    if found or absent or answer.status == 416:
        return _Response(answer.status, answer.headers, first)
    raise response_error(operation, answer)


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


MAX_KEYS = 1000  # S3 API: DeleteObjects
# XML 1.0, 2.2: what no document can hold, not even escaped.
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def delete_many(
    keys: Sequence[str], *, etags: Mapping[str, str] | None = None, store: str | None = None
) -> dict[str, str]:
    """Remove these objects. Safe to repeat: one that is not there counts as removed. Of keys in `etags` only the object
    that has that ETag is removed, where the store can tell; another one stays, and is returned as PreconditionFailed.

    Returns the keys that the store did not remove, each with the store's word for why. Raises StorageUnavailable or
    StorageDenied when it did not take the request as a whole: then some may be removed and some not.
    """
    at, etags = store_named(store), etags or {}
    left: dict[str, str] = {}
    single = [key for key in keys if NOT_IN_XML.search(key)]
    together = [key for key in keys if not NOT_IN_XML.search(key)] if single else keys
    for start in range(0, len(together), MAX_KEYS):
        left |= _delete(at, together[start : start + MAX_KEYS], etags)
    for key in single:
        try:
            if not delete(key, etag=etags.get(key, ""), store=store):
                left[key] = "PreconditionFailed"
        except StorageDenied as problem:
            left[key] = problem.detail
    return left


def _delete(at: Store, keys: Sequence[str], etags: Mapping[str, str]) -> dict[str, str]:
    objects = [
        {"Key": key} | ({"ETag": f'"{etag}"'} if (etag := at.if_unchanged(etags.get(key, ""))) else {}) for key in keys
    ]
    faults = delete_listed(at, objects, translate_errors("DeleteObjects", absent=()))
    return {key: code for key, code in faults.items() if code != "NoSuchKey"}


def delete_listed(at: Store, objects: list[Any], faults: AbstractContextManager[None]) -> dict[str, str]:
    """One request, whose own errors `faults` translates: the keys that were not removed, and the store's word why."""
    s3 = client("patient", at)
    if not at.keeps_digests:
        s3.meta.events.register("before-call.s3.DeleteObjects", _by_md5, unique_id="amalga-md5")
    with faults:
        answer = s3.delete_objects(Bucket=at.bucket, Delete={"Objects": objects, "Quiet": True})
    return {fault["Key"]: fault.get("Code", "unknown") for fault in answer.get("Errors", [])}


def _by_md5(params: dict[str, Any], **_: Any) -> None:
    """S3 wants a digest of this request. Stores that know none of the newer ones know Content-MD5, which boto3 sends
    no more."""
    params["context"].get("checksum", {}).pop("request_algorithm", None)
    params["headers"].pop("x-amz-sdk-checksum-algorithm", None)
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
