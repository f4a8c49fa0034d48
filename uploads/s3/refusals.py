"""Telling one object that the store refuses from a store that refuses everything."""

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
RECENT_ANSWER_SECONDS = 10.0  # how long one answer about a bucket holds
PROBED_KEY = "amalga.json"  # the marker: a role that may read objects may read it, or learn that there is none
# Storage classes whose objects must be restored before they are read; GLACIER_IR is none of them.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Not about one object: credentials, clocks, buckets, overload.
GENERAL_CODES = frozenset({
    "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "NoSuchBucket", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "SlowDown", "TokenRefreshRequired",
})  # fmt: skip
GENERAL_STATUSES = frozenset({401, 404, 407, 408, 416, 425, 429})
CODE = re.compile(r"<Code>([\w.]{1,100})</Code>")

readable_stores: dict[Store, tuple[float, bool]] = {}  # when it was asked, and what it said


def is_archived(headers: Mapping[str, str]) -> bool:
    """Whether the object that an answer tells of is in an archive, be it restored for a while or not.

    Intelligent-Tiering tells its archive tiers by a header of their own (S3 API, HeadObject).
    """
    return headers.get("x-amz-storage-class") in ARCHIVES or "x-amz-archive-status" in headers


def refused_object(operation: str, answer: urllib3.BaseHTTPResponse, words: bytes, at: Store) -> StorageUnavailable:
    """What to raise for an answer to a read that is neither the object nor "not there".

    ObjectRefused where the store refuses this object alone, by its own word for it, or because it lets us read in
    the same bucket; else what `refusal` says.
    """
    text = words.decode(errors="replace")
    found = CODE.search(text)
    code = found[1] if found else ""
    kind = _kind_of(answer.status, code, text.lower())
    if kind is None and _may_be_about_the_object(answer.status, code) and _is_readable(at):
        kind = ObjectRefused
    if kind is None:
        return response_error(operation, answer)
    log_error(operation, code or str(answer.status))
    return kind(f"{operation}: {code or answer.status}")


def _kind_of(status: int, code: str, text: str) -> type[ObjectRefused] | None:
    """By what only ever means one object."""
    if code == ARCHIVED:
        return ObjectArchived
    if status == 451:
        return ObjectRefused
    if not 400 <= status < 500 or "throttl" in code.lower():
        return None
    with_our_key = code == "InvalidRequest" and "encrypt" in text  # SSE-C, in the words of AWS
    if code.startswith("KMS.") or code == "SSEEncryptedObject" or with_our_key:
        return ObjectEncrypted
    return ObjectEncrypted if code == "AccessDenied" and "kms:" in text else None


def _may_be_about_the_object(status: int, code: str) -> bool:
    return 400 <= status < 500 and status not in GENERAL_STATUSES and code not in GENERAL_CODES


def _is_readable(at: Store) -> bool:
    """Whether the store lets us read in this bucket. Asked once in a while."""
    asked, readable = readable_stores.get(at, (-RECENT_ANSWER_SECONDS, False))
    if time.monotonic() - asked < RECENT_ANSWER_SECONDS:
        return readable
    try:
        readable = _reads_marker(at)
    except StorageUnavailable:
        readable = False
    readable_stores[at] = (time.monotonic(), readable)
    return readable


def _reads_marker(at: Store) -> bool:
    require_no_transaction()
    with translate_errors("GetObject"):
        url = client("quick", at).generate_presigned_url(
            "get_object", Params={"Bucket": at.bucket, "Key": PROBED_KEY}, ExpiresIn=SIGNED_SECONDS
        )
        answer = http().request("GET", url, headers={"Range": "bytes=0-0"})
    there = answer.status in {200, 206} and "ETag" in answer.headers
    return there or (answer.status == 404 and b"NoSuchKey" in answer.data)
