"""What the store answers to an operator's question, in its own words; people's requests never ask this way."""

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
# rclone takes every PUT to a bucket for its creation
TAKEN_FOR_CREATION = {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}
DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"}
NO_BUCKET = {"NoSuchBucket", "404"}
OTHER_REGION = {"PermanentRedirect", "301", "307", "AuthorizationHeaderMalformed", "TemporaryRedirect",
                "IllegalLocationConstraintException"}  # fmt: skip
AWS_HOST = re.compile(r"(^|\.)amazonaws\.com(\.cn)?$")


class S3ResponseError(StorageUnavailable):
    """The store did not do what was asked. `code` is its own word for why, or what kind of silence it was; `status`
    is that of HTTP, 0 without an answer; `region` is where it says that the bucket is, `date` what time it has."""

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
        """The store knows no such thing. AWS, which knows them all, answers 405 to people of another account."""
        return not at_aws() and (self.status in {405, 501} or self.code in NO_SUCH_FEATURE | TAKEN_FOR_CREATION)


def at_aws() -> bool:
    """Whether the store is Amazon's own, also by an address of a VPC's or of a country's."""
    host = urlsplit(settings.S3_ENDPOINT or "https://amazonaws.com").hostname or ""
    return bool(AWS_HOST.search(host))


@contextlib.contextmanager
def raw_call(operation: str) -> Iterator[None]:
    """Turn whatever boto3 and urllib3 raise into Said. None of it holds a URL, which would be a signed one."""
    try:
        yield
    except ClientError as error:
        raise _response_error(operation, error.response) from None
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError, RecursionError) as error:
        raise S3ResponseError(operation, type(error).__name__) from None


def _response_error(operation: str, response: Any) -> S3ResponseError:
    answer, told = response.get("ResponseMetadata", {}), response.get("Error", {})
    headers = answer.get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or told.get("Region") or ""
    code, status = str(told.get("Code", "unknown")), answer.get("HTTPStatusCode", 0)
    return S3ResponseError(operation, code, status=status, region=region, date=headers.get("date", ""))
