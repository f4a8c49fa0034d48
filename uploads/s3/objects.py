"""Single objects: head, sniff, put, read and delete, why the storage denies a read, and the app's metadata objects."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import urllib3
from botocore.exceptions import ClientError

from uploads.content_headers import normalize_encoding
from uploads.errors import ObjectRefused, StorageDenied, StorageUnavailable, ValidationFailed
from uploads.keys import CHECKPOINT_KEY, FILE_PREFIX, MARKER_KEY
from uploads.s3.client import OCTET_STREAM, OWN_URL_SECONDS, Store, client, http, require_no_transaction, store_named
from uploads.s3.errors import (
    ABSENT,
    CHANGED,
    code_of,
    log_error,
    may_concern_object,
    object_error,
    response_error,
    translate_errors,
)

FIRST_BYTES = 8192  # enough for every signature a content sniffer looks for
READABLE_CACHE_SECONDS = 10.0  # how long the result for a bucket is cached
NEVER_USED = FILE_PREFIX + "0" * 32
CODE = re.compile(r"<Code>([\w.]{1,100})</Code>")
CONTENT_RANGE = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<size>\d{1,18})", re.ASCII)

readable_stores: dict[Store, tuple[float, bool]] = {}  # time of the probe, and its result


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """A stored object. `checksum` only from stores that keep checksums; `content_encoding` is normalized by
    `normalize_encoding`."""

    size: int
    etag: str
    checksum: str | None
    first_bytes: bytes
    content_encoding: str = ""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int  # 200, 206, 404 if the storage says that the key does not exist, or 416
    headers: Mapping[str, str]
    first_bytes: bytes


def head_and_sniff(key: str, *, size: int, store: str | None = None) -> ObjectHead | None:
    """Return size, ETag, checksum and first bytes of an object of about `size` bytes; None if there is none.

    One ranged GET has all but the checksum, which S3 omits from ranged responses: a HEAD returns it. An empty object
    has no range to request, and gives 416 when we expected bytes.
    """
    at = store_named(store)
    headers = {"Range": f"bytes=0-{FIRST_BYTES - 1}"} if size else {}
    response = _get("GET", key, headers, at)
    if response.status == 416:
        response = _get("GET", key, {}, at)
    if response.status == 404:
        return None
    checksum = None
    if at.keeps_digests:
        head = _get("HEAD", key, {}, at, ChecksumMode="ENABLED")
        checksum = head.headers.get("x-amz-checksum-sha256")
    encoding = normalize_encoding(response.headers.get("Content-Encoding", ""))
    return ObjectHead(
        whole_size(response.headers), response.headers["ETag"].strip('"'), checksum, response.first_bytes, encoding
    )


def ping(store: str | None = None) -> None:
    """Raise StorageUnavailable unless the storage responds within seconds; a denial is a response too."""
    with contextlib.suppress(StorageDenied):
        head_and_sniff(NEVER_USED, size=1, store=store)


def put(key: str, body: bytes | memoryview, *, sha256: str, store: str | None = None) -> None:
    """Store a whole object from the server, with retries."""
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumSHA256": sha256} if at.keeps_digests else {}
    with translate_errors("PutObject"):
        client("batch", at).put_object(
            Bucket=at.bucket, Key=key, Body=bytes(body), ContentLength=len(body),
            ContentType=OCTET_STREAM, **extra,
        )  # fmt: skip


def read_small(key: str, *, max_bytes: int, store: str | None = None) -> bytes | None:
    """Return the first `max_bytes` of an object; None if there is none. Raises StorageUnavailable, also when the body
    ends early."""
    at = store_named(store)
    try:
        with translate_errors("GetObject"):
            response = client("quick", at).get_object(Bucket=at.bucket, Key=key)
            with contextlib.closing(response["Body"]) as body:
                content = body.read(max_bytes)
    except ClientError:
        return None
    if len(content) < min(max_bytes, response["ContentLength"]):  # botocore notices only at the end of the body
        log_error("GetObject", "IncompleteRead")
        raise StorageUnavailable("GetObject: ended early")
    return content


def delete(key: str, *, etag: str = "", store: str | None = None) -> bool:
    """Delete the object. Safe to repeat: a missing object counts as deleted.

    With an `etag` only the object that has it, where the storage supports that: False when there is another one, which
    stays.
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


def _get(method: str, key: str, headers: dict[str, str], at: Store, **params: Any) -> _Response:
    operation = {"GET": "get_object", "HEAD": "head_object"}[method]
    if "ChecksumMode" in params:
        headers = {**headers, "x-amz-checksum-mode": params["ChecksumMode"]}
    require_no_transaction()
    with translate_errors(operation):
        url = client("quick", at).generate_presigned_url(
            operation,
            Params={"Bucket": at.bucket, "Key": key, **params},
            ExpiresIn=OWN_URL_SECONDS,
        )
        response = http().request(method, url, headers=headers, preload_content=False)
        first_bytes = _first_bytes(response)
    exists = response.status in {200, 206} and "ETag" in response.headers
    # A 404 may also mean the bucket, or come from a proxy. A HEAD has no body that says which: after a GET that found
    # the object, its 404 is an error.
    absent = response.status == 404 and b"NoSuchKey" in first_bytes
    if exists or absent or response.status == 416:
        return _Response(response.status, response.headers, first_bytes)
    raise response_error(operation, response)


def _first_bytes(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read only the first bytes, even from a store that ignores ranges."""
    first_bytes = response.read(FIRST_BYTES)
    if response.read(1):
        response.close()
    response.release_conn()
    return first_bytes


def whole_size(headers: Mapping[str, str]) -> int:
    """Return the object's size: after the slash of `Content-Range: bytes 0-8191/734003200`, or the length.

    Some stores send that header with status 200.
    """
    match = CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    return int(match["size"]) if match else int(headers["Content-Length"])


def object_tags(key: str, *, store: str | None = None) -> dict[str, str]:
    """Return the tags of an object; none if there is no object. Raises StorageUnavailable, StorageDenied."""
    at = store_named(store)
    require_no_transaction()
    try:
        with translate_errors("GetObjectTagging"):
            response = client("quick", at).get_object_tagging(Bucket=at.bucket, Key=key)
    except ClientError:
        return {}
    return {tag["Key"]: tag["Value"] for tag in response["TagSet"]}


MAX_KEYS = 1000  # S3 API: DeleteObjects
# XML 1.0, 2.2: characters that no document can contain, not even escaped.
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def delete_many(
    keys: Sequence[str], *, etags: Mapping[str, str] | None = None, store: str | None = None
) -> dict[str, str]:
    """Delete these objects. Safe to repeat: a missing object counts as deleted. For keys in `etags` only the object
    with that ETag is deleted, where the storage supports that; another one stays, returned as PreconditionFailed.

    Returns the keys that were not deleted, each with the storage's error code. Raises StorageUnavailable or
    StorageDenied when a whole request failed: then some objects may be deleted and some not.
    """
    at, etags = store_named(store), etags or {}
    errors: dict[str, str] = {}
    single = [key for key in keys if NOT_IN_XML.search(key)]
    batched = [key for key in keys if not NOT_IN_XML.search(key)] if single else keys
    for start in range(0, len(batched), MAX_KEYS):
        errors |= _delete(at, batched[start : start + MAX_KEYS], etags)
    for key in single:
        try:
            if not delete(key, etag=etags.get(key, ""), store=store):
                errors[key] = "PreconditionFailed"
        except StorageDenied as problem:
            errors[key] = problem.detail
    return errors


def _delete(at: Store, keys: Sequence[str], etags: Mapping[str, str]) -> dict[str, str]:
    objects = [
        {"Key": key} | ({"ETag": f'"{etag}"'} if (etag := at.if_unchanged(etags.get(key, ""))) else {}) for key in keys
    ]
    errors = delete_listed(at, objects, translate_errors("DeleteObjects", absent=()))
    return {key: code for key, code in errors.items() if code != "NoSuchKey"}


def delete_listed(at: Store, objects: list[Any], translate: AbstractContextManager[None]) -> dict[str, str]:
    """Send one request, whose errors `translate` handles, and return the keys not deleted with their error codes."""
    s3 = client("batch", at)
    if not at.keeps_digests:
        s3.meta.events.register("before-call.s3.DeleteObjects", _add_md5, unique_id="amalga-md5")
    with translate:
        response = s3.delete_objects(Bucket=at.bucket, Delete={"Objects": objects, "Quiet": True})
    return {error["Key"]: error.get("Code", "unknown") for error in response.get("Errors", [])}


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Send Content-MD5: S3 requires a checksum of this request, and stores that lack the newer algorithms support MD5,
    which boto3 no longer sends."""
    params["context"].get("checksum", {}).pop("request_algorithm", None)
    params["headers"].pop("x-amz-sdk-checksum-algorithm", None)
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()


# --- reads that the storage denies ---------------------------------------------------------------


def refused_object(operation: str, response: urllib3.BaseHTTPResponse, body: bytes, at: Store) -> StorageUnavailable:
    """Return the error for a read whose response is neither the object nor a missing key.

    ObjectRefused where the storage denies this object alone: by its error code, or because it lets us read in the same
    bucket; otherwise the error of `response_error`.
    """
    text = body.decode(errors="replace")
    match = CODE.search(text)
    code = match[1] if match else ""
    error = object_error(response.status, code, text.lower())
    if error is None and may_concern_object(response.status, code) and _is_readable(at):
        error = ObjectRefused
    if error is None:
        return response_error(operation, response)
    log_error(operation, code or str(response.status))
    return error(f"{operation}: {code or response.status}")


def _is_readable(at: Store) -> bool:
    """Return whether the storage lets us read in this bucket, from a cache of a few seconds.

    A role that can read objects can read the marker, or learn that there is none.
    """
    probed_at, readable = readable_stores.get(at, (-READABLE_CACHE_SECONDS, False))
    if time.monotonic() - probed_at < READABLE_CACHE_SECONDS:
        return readable
    try:
        readable = _can_read_marker(at)
    except StorageUnavailable:
        readable = False
    readable_stores[at] = (time.monotonic(), readable)
    return readable


def _can_read_marker(at: Store) -> bool:
    require_no_transaction()
    with translate_errors("GetObject"):
        url = client("quick", at).generate_presigned_url(
            "get_object", Params={"Bucket": at.bucket, "Key": MARKER_KEY}, ExpiresIn=OWN_URL_SECONDS
        )
        response = http().request("GET", url, headers={"Range": "bytes=0-0"})
    exists = response.status in {200, 206} and "ETag" in response.headers
    return exists or (response.status == 404 and b"NoSuchKey" in response.data)


# --- the app's own metadata objects --------------------------------------------------------------

MAX_CHECKPOINT_BYTES = MAX_MARKER_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest audit event in the database of this installation: its number and time."""

    installation: UUID
    event: int
    at: datetime


def read_checkpoint(store: str | None = None) -> Checkpoint | None:
    """Return the newest event that was recorded in the bucket; None if there is none yet.

    Raises StorageUnavailable, StorageDenied, and ValidationFailed if that object has other content.
    """
    text = read_small(CHECKPOINT_KEY, max_bytes=MAX_CHECKPOINT_BYTES, store=store)
    if text is None:
        return None
    try:
        data = json.loads(text)
        checkpoint = Checkpoint(UUID(data["installation"]), int(data["event"]), datetime.fromisoformat(data["at"]))
        checkpoint.at.timestamp()
        if checkpoint.at.tzinfo is None:
            raise ValueError("a time without a zone")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValidationFailed(
            f"The object {CHECKPOINT_KEY} in the bucket {store_named(store).bucket} is not a valid checkpoint. If the "
            "database is not older than the bucket, run `manage.py after_restore --apply` to replace it."
        ) from None
    return checkpoint


def write_checkpoint(checkpoint: Checkpoint, store: str | None = None) -> None:
    """Write the newest event of the database to the bucket, over the previous one. Safe to repeat."""
    at = store_named(store)
    data = {"installation": str(checkpoint.installation), "event": checkpoint.event, "at": checkpoint.at.isoformat()}
    with translate_errors("PutObject"):
        client("quick", at).put_object(
            Bucket=at.bucket, Key=CHECKPOINT_KEY, Body=json.dumps(data).encode(), ContentType="application/json"
        )


def read_marker(store: str | None = None) -> UUID | None:
    """Return the installation that the bucket belongs to; None without a marker.

    Raises StorageUnavailable, StorageDenied, and ValidationFailed if that object has other content.
    """
    text = read_small(MARKER_KEY, max_bytes=MAX_MARKER_BYTES, store=store)
    if text is None:
        return None
    try:
        return UUID(json.loads(text)["installation"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValidationFailed(
            f"The object {MARKER_KEY} in the bucket {store_named(store).bucket} is not a valid marker. If no other "
            "program needs it, delete it and run `manage.py provision --apply`."
        ) from None


def write_marker(installation: UUID, store: str | None = None) -> None:
    """Write the marker of this installation, over any other. Safe to repeat."""
    at = store_named(store)
    body = json.dumps({"installation": str(installation)}).encode()
    with translate_errors("PutObject"):
        client("quick", at).put_object(Bucket=at.bucket, Key=MARKER_KEY, Body=body, ContentType="application/json")
