"""Errors with the storage's own codes for operators' commands, and reads that the storage denies."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from uploads.errors import ObjectArchived, ObjectEncrypted, ObjectRefused, StorageUnavailable
from uploads.keys import MARKER_KEY
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

NO_SUCH_FEATURE = {"NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation", "NotSupported",
                   "OperationNotSupported", "501", "405"}  # fmt: skip
# rclone treats every PUT to a bucket as its creation
BUCKET_EXISTS = {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}
DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
NO_BUCKET = {"NoSuchBucket", "404"}
OTHER_REGION = {"PermanentRedirect", "301", "307", "AuthorizationHeaderMalformed", "TemporaryRedirect",
                "IllegalLocationConstraintException"}  # fmt: skip
AWS_HOST = re.compile(r"(^|\.)amazonaws\.com(\.cn)?$")


class S3ResponseError(StorageUnavailable):
    """A failed call to storage.

    `code` is the storage's error code, or the name of the exception without a response; `status` is the HTTP status, 0
    without a response; `region` is where the storage says the bucket is, and `date` its time.
    """

    def __init__(self, operation: str, code: str, *, status: int = 0, region: str = "", date: str = "") -> None:
        super().__init__(f"{operation}: {code}")
        self.operation = operation
        self.code = code
        self.status = status
        self.region = region
        self.date = date

    @property
    def is_denied(self) -> bool:
        return self.code in DENIED

    @property
    def is_unsupported(self) -> bool:
        """Whether the storage lacks the feature. AWS has all of them, and responds 405 to other accounts."""
        return not at_aws() and (self.status in {405, 501} or self.code in NO_SUCH_FEATURE | BUCKET_EXISTS)


def at_aws() -> bool:
    """Return whether the endpoint is Amazon's, also that of a VPC or a country."""
    host = urlsplit(settings.S3_ENDPOINT or "https://amazonaws.com").hostname or ""
    return bool(AWS_HOST.search(host))


@contextlib.contextmanager
def raw_call(operation: str) -> Iterator[None]:
    """Translate every error of boto3 and urllib3 into S3ResponseError, which never contains a (signed) URL."""
    try:
        yield
    except ClientError as error:
        raise _response_error(operation, error.response) from None
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError, RecursionError) as error:
        raise S3ResponseError(operation, type(error).__name__) from None


def _response_error(operation: str, response: Any) -> S3ResponseError:
    metadata, error = response.get("ResponseMetadata", {}), response.get("Error", {})
    headers = metadata.get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.get("Region") or ""
    code, status = str(error.get("Code", "unknown")), metadata.get("HTTPStatusCode", 0)
    return S3ResponseError(operation, code, status=status, region=region, date=headers.get("date", ""))


SIGNED_SECONDS = 60
READABLE_CACHE_SECONDS = 10.0  # how long the result for a bucket is cached
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
            "get_object", Params={"Bucket": at.bucket, "Key": MARKER_KEY}, ExpiresIn=SIGNED_SECONDS
        )
        response = http().request("GET", url, headers={"Range": "bytes=0-0"})
    exists = response.status in {200, 206} and "ETag" in response.headers
    return exists or (response.status == 404 and b"NoSuchKey" in response.data)
