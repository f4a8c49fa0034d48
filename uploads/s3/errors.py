"""Errors with the storage's own codes, for operators' commands only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from uploads.errors import StorageUnavailable

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
