"""Denied reads: whether the storage denies one object, or everything."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import urllib3

from uploads.errors import ObjectArchived, ObjectEncrypted, ObjectRefused, StorageUnavailable
from uploads.s3.client import (
    ARCHIVED,
    client,
    http,
    log_error,
    require_no_transaction,
    response_error,
    translate_errors,
)
from uploads.s3.stores import Store

SIGNED_SECONDS = 60
READABLE_CACHE_SECONDS = 10.0  # how long the result for a bucket is cached
PROBED_KEY = "amalga.json"  # the marker: a role that may read objects may read it, or learn that there is none
# Storage classes whose objects must be restored before they are read; GLACIER_IR is not one of them.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Codes about credentials, clocks, buckets and overload, not about one object.
GENERAL_CODES = frozenset({
    "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "NoSuchBucket", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "SlowDown", "TokenRefreshRequired",
})  # fmt: skip
GENERAL_STATUSES = frozenset({401, 404, 407, 408, 416, 425, 429})
CODE = re.compile(r"<Code>([\w.]{1,100})</Code>")

readable_stores: dict[Store, tuple[float, bool]] = {}  # time of the probe, and its result


def is_archived(headers: Mapping[str, str]) -> bool:
    """Return whether a response is for an object in an archive, also one that is temporarily restored.

    Intelligent-Tiering has a separate header for its archive tiers (S3 API, HeadObject).
    """
    return headers.get("x-amz-storage-class") in ARCHIVES or "x-amz-archive-status" in headers


def refused_object(operation: str, response: urllib3.BaseHTTPResponse, body: bytes, at: Store) -> StorageUnavailable:
    """Return the error for a read whose response is neither the object nor a missing key.

    ObjectRefused where the storage denies this object alone: by its error code, or because it lets us read in the same
    bucket; otherwise the error of `response_error`.
    """
    text = body.decode(errors="replace")
    match = CODE.search(text)
    code = match[1] if match else ""
    error = _error_of(response.status, code, text.lower())
    if error is None and _may_concern_object(response.status, code) and _is_readable(at):
        error = ObjectRefused
    if error is None:
        return response_error(operation, response)
    log_error(operation, code or str(response.status))
    return error(f"{operation}: {code or response.status}")


def _error_of(status: int, code: str, text: str) -> type[ObjectRefused] | None:
    """Return the error for a code or status that is always about one object."""
    if code == ARCHIVED:
        return ObjectArchived
    if status == 451:
        return ObjectRefused
    if not 400 <= status < 500 or "throttl" in code.lower():
        return None
    has_customer_key = code == "InvalidRequest" and "encrypt" in text  # SSE-C, in AWS's message
    if code.startswith("KMS.") or code == "SSEEncryptedObject" or has_customer_key:
        return ObjectEncrypted
    return ObjectEncrypted if code == "AccessDenied" and "kms:" in text else None


def _may_concern_object(status: int, code: str) -> bool:
    return 400 <= status < 500 and status not in GENERAL_STATUSES and code not in GENERAL_CODES


def _is_readable(at: Store) -> bool:
    """Return whether the storage lets us read in this bucket, from a cache of a few seconds."""
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
            "get_object", Params={"Bucket": at.bucket, "Key": PROBED_KEY}, ExpiresIn=SIGNED_SECONDS
        )
        response = http().request("GET", url, headers={"Range": "bytes=0-0"})
    exists = response.status in {200, 206} and "ETag" in response.headers
    return exists or (response.status == 404 and b"NoSuchKey" in response.data)
