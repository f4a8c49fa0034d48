"""Translate the errors of boto3, botocore and urllib3 into the app's own.

Operators' commands read the storage's code from an S3ResponseError; everything else sees StorageUnavailable,
StorageDenied or ObjectRefused.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from amalga import metrics
from uploads.errors import ObjectArchived, ObjectEncrypted, ObjectRefused, StorageDenied, StorageUnavailable

logger = logging.getLogger(__name__)

NO_SUCH_FEATURE = {"NotImplemented", "XNotImplemented", "MethodNotAllowed", "UnsupportedOperation", "NotSupported",
                   "OperationNotSupported", "501", "405"}  # fmt: skip
# rclone treats every PUT to a bucket as its creation
BUCKET_EXISTS = {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}
ACCESS_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
NO_BUCKET = {"NoSuchBucket", "404"}
OTHER_REGION = {"PermanentRedirect", "301", "307", "AuthorizationHeaderMalformed", "TemporaryRedirect",
                "IllegalLocationConstraintException"}  # fmt: skip
# S3 denies requests signed 15 minutes before or after its own time; other stores allow less.
MAX_CLOCK_SKEW_SECONDS = 300
# Storage classes whose objects must be restored before they are read; GLACIER_IR is not one of them.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Only the storage's own codes: a bare 404 may come from a proxy in between.
ABSENT = frozenset({"NoSuchKey", "NoSuchUpload"})
CHANGED = frozenset({"PreconditionFailed", "412"})  # an object exists, or it is not the expected one
ARCHIVED = "InvalidObjectState"
DENIED_CODES = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch",
           "ExpiredToken", "RequestTimeTooSkewed", "AllAccessDisabled"}  # fmt: skip
# Codes about credentials, clocks, buckets and overload, not about one object.
GENERAL_CODES = frozenset({
    "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "NoSuchBucket", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "SlowDown", "TokenRefreshRequired",
})  # fmt: skip
GENERAL_STATUSES = frozenset({401, 404, 407, 408, 416, 425, 429})
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
        return self.code in ACCESS_DENIED

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
        raise _parse_client_error(operation, error.response) from None
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError, RecursionError) as error:
        raise S3ResponseError(operation, type(error).__name__) from None


def _parse_client_error(operation: str, response: Any) -> S3ResponseError:
    metadata, error = response.get("ResponseMetadata", {}), response.get("Error", {})
    headers = metadata.get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.get("Region") or ""
    code, status = str(error.get("Code", "unknown")), metadata.get("HTTPStatusCode", 0)
    return S3ResponseError(operation, code, status=status, region=region, date=headers.get("date", ""))


@contextlib.contextmanager
def translate_errors(operation: str, *, absent: Collection[str] = ABSENT) -> Iterator[None]:
    """Translate every error of boto3 and urllib3 into StorageUnavailable or StorageDenied.

    A ClientError with a code in `absent` passes: its meaning differs from call to call.
    """
    try:
        with metrics.call_timed(operation):
            yield
    except ClientError as error:
        code = code_of(error)
        if code in absent:
            raise
        log_error(operation, code)
        if code == ARCHIVED:
            raise ObjectArchived(f"{operation}: {code}") from error
        if code in DENIED_CODES:
            _log_clock_skew(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))
        raise (StorageDenied if code in DENIED_CODES else StorageUnavailable)(f"{operation}: {code}") from error
    # RecursionError: a store redirects everything, and boto3 asks for the bucket's region again and again
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError, RecursionError) as error:
        log_error(operation, type(error).__name__)
        # without its cause: urllib3 puts the whole signed URL into its messages
        raise StorageUnavailable(f"{operation}: {type(error).__name__}") from None
    except RuntimeError as error:
        if "still expired" not in str(error):
            raise
        # botocore's only sign that a role's new credentials have expired as well
        log_error(operation, "ExpiredCredentials")
        raise StorageUnavailable(f"{operation}: ExpiredCredentials") from None


def log_error(operation: str, code: str) -> None:
    """Log and count a call that failed."""
    logger.warning("s3_error operation=%s code=%s", operation, code)
    metrics.count_error(operation, code)


def response_error(operation: str, response: urllib3.BaseHTTPResponse) -> StorageUnavailable:
    """Return the error for a response that is neither the expected one nor a missing object."""
    log_error(operation, str(response.status))
    is_denied = response.status in {401, 403}
    if is_denied:
        _log_clock_skew(response.headers.get("Date"))
    return (StorageDenied if is_denied else StorageUnavailable)(f"{operation}: {response.status}")


def _log_clock_skew(date: str | None) -> None:
    """Log clock skew between this machine and the storage, whose responses carry its time."""
    try:
        server_time = parsedate_to_datetime(date or "").astimezone(UTC)
    except ValueError:
        return
    skew = (datetime.now(UTC) - server_time).total_seconds()
    if abs(skew) > MAX_CLOCK_SKEW_SECONDS:
        direction = "ahead of" if skew > 0 else "behind"
        logger.error(
            "clock_skew: the clock of this machine is %s that of the storage by %.0f minutes", direction, abs(skew) / 60
        )


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def is_archived(headers: Mapping[str, str]) -> bool:
    """Return whether a response is for an object in an archive, also one that is temporarily restored.

    Intelligent-Tiering has a separate header for its archive tiers (S3 API, HeadObject).
    """
    return headers.get("x-amz-storage-class") in ARCHIVES or "x-amz-archive-status" in headers


def object_error(status: int, code: str, text: str) -> type[ObjectRefused] | None:
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


def may_concern_object(status: int, code: str) -> bool:
    return 400 <= status < 500 and status not in GENERAL_STATUSES and code not in GENERAL_CODES
