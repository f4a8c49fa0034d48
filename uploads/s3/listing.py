"""What is in the bucket, in order: pages of objects, single objects, and uploads in parts that are open.

obstore lists several times faster than boto3 can, but its paths are not S3's keys: it drops a slash at either end and
stops at an empty part (`a//b`). Where a page shows any sign of that, boto3 reads it anew.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import obstore
from botocore.exceptions import ClientError
from obstore.exceptions import BaseError, InvalidPathError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from uploads.errors import ListingOutOfOrder, StoreRefused, StoreUnavailable
from uploads.s3.client import (
    CONNECT_SECONDS,
    PATIENT_ATTEMPTS,
    PATIENT_READ_SECONDS,
    REFUSED,
    client,
    code_of,
    credentials,
    logger,
    require_no_transaction,
    seconds_of_credentials,
    session_of,
    told_plainly,
)
from uploads.s3.stores import Store, store_named

if TYPE_CHECKING:
    from arro3.core import Array, RecordBatch
    from obstore.store import ClientConfig, S3Credential

PAGE_KEYS = 1000  # as many as S3 gives at once
RETRY_SECONDS = 60
# Such a key is no folder's marker, even where the object is empty.
PLAIN_KEY = re.compile(r"[fp]/[0-9a-f]{32}")
LISTED = "ListObjectsV2"
ERROR_CODE = re.compile(r"<Code>(\w+)</Code>|status code: (\d{3})")


class Item(NamedTuple):
    """An object as a listing or a HEAD tells of it: size in bytes, ETag without quotes, when it was written.

    `checksum` is its SHA-256 as the row has it; only a HEAD tells, and only of stores that keep digests.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Neighbouring objects by key, as columns: a million of them are compared without a million objects of Python's."""

    keys: list[str]
    sizes: list[int]
    etags: list[str]
    moments: list[datetime] | Array  # costs as much as all the rest to be made a list, and few want it

    @property
    def modified(self) -> list[datetime]:
        return self.moments if isinstance(self.moments, list) else self.moments.to_pylist()

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Item]:
        return map(Item, self.keys, self.sizes, self.etags, self.modified)

    def first(self, count: int) -> Page:
        return Page(self.keys[:count], self.sizes[:count], self.etags[:count], self.modified[:count])


class OpenMultipart(NamedTuple):
    key: str
    id: str
    initiated: datetime


def list_objects(prefix: str = "", *, after: str = "", store: str | None = None) -> Iterator[Page]:
    """Every object whose key begins with `prefix` and comes behind `after`, by the bytes of their keys.

    Any prefix will do, also half a name. Raises ListingOutOfOrder for a store that lists otherwise (S3's directory
    buckets do), StoreUnavailable, StoreRefused. Memory does not grow with the bucket.
    """
    at, end = store_named(store), after
    doubtful: list[str] = []
    while True:
        page, more = _exact_page(at, prefix, end)  # obstore knows no half names
        if page.keys:
            if not _is_in_order(end, page) or not _explains(doubtful, page.keys):
                raise ListingOutOfOrder()
            end = page.keys[-1]
            yield page
        if not more:
            return
        doubtful = []
        with contextlib.suppress(_Odd):  # then boto3 tells what is really there
            for page in _quick_pages(at, prefix, end):
                if not _is_in_order(end, page):
                    doubtful = page.keys
                    raise _Odd
                end = page.keys[-1]
                yield page
            return


def head(key: str, *, store: str | None = None) -> Item | None:
    """One object as it is now; None only if the store itself says that it has no such key.

    A HEAD's 404 has no words, and may mean the bucket or come from something in between: a GET asks again.
    """
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumMode": "ENABLED"} if at.keeps_digests else {}
    s3 = client("quick", at)
    try:
        with told_plainly("HeadObject", absent={"404", "NoSuchKey"}):
            found = s3.head_object(Bucket=at.bucket, Key=key, **extra)
    except ClientError:
        with contextlib.suppress(ClientError):
            with told_plainly("GetObject", absent={"NoSuchKey"}):
                s3.get_object(Bucket=at.bucket, Key=key)["Body"].close()
            raise StoreUnavailable("HeadObject: 404 for an object that is there") from None
        return None
    etag, checksum = found["ETag"].strip('"'), found.get("ChecksumSHA256")
    return Item(key, found["ContentLength"], etag, found["LastModified"], checksum)


def open_multiparts(prefix: str = "", *, store: str | None = None) -> Iterator[OpenMultipart]:
    """Every upload in parts that is open for a key with this prefix, whoever began it."""
    at = store_named(store)
    pages = client("patient", at).get_paginator("list_multipart_uploads")
    try:
        with told_plainly("ListMultipartUploads"):
            for page in pages.paginate(Bucket=at.bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    yield OpenMultipart(upload["Key"], upload["UploadId"], upload["Initiated"])
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":  # rclone says so of an empty list
            raise


# --- by boto3: slow, and every key as it is ---------------------------------------------------


def _exact_page(store: Store, prefix: str, after: str) -> tuple[Page, bool]:
    """The next objects, and whether there are more behind them."""
    extra: dict[str, Any] = {"StartAfter": after} if after else {}
    with told_plainly(LISTED, absent=()):
        answer = client("patient", store).list_objects_v2(
            Bucket=store.bucket, Prefix=prefix, MaxKeys=PAGE_KEYS, **extra
        )
    found = answer.get("Contents", [])
    page = Page(
        [item["Key"] for item in found],
        [item["Size"] for item in found],
        [item.get("ETag", "").strip('"') for item in found],
        [item["LastModified"] for item in found],
    )
    return page, answer["IsTruncated"]


def _is_in_order(after: str, page: Page) -> bool:
    """Each key behind the one before. Code points and bytes of UTF-8 have one order."""
    keys = page.keys
    return after < keys[0] and all(map(operator.lt, keys, keys[1:]))


# --- by obstore: quick, for keys without oddities ---------------------------------------------


def _explains(doubtful: list[str], keys: list[str]) -> bool:
    """Whether these are the keys that obstore told without their slashes, and so out of order."""
    told = [key.removeprefix("/").removesuffix("/") for key in keys[: len(doubtful)]]
    return told == doubtful[: len(told)]


class _Odd(Exception):
    """obstore has met a key that it cannot tell truly."""


def _quick_pages(store: Store, prefix: str, after: str) -> Iterator[Page]:
    """Pages of objects behind `after`, none of them empty."""
    require_no_transaction()
    if after.startswith("/") or after.endswith("/"):
        raise _Odd
    with _told_plainly():
        folder = prefix.rpartition("/")[0] or None
        pages = obstore.list(_quick(store), folder, offset=after, chunk_size=PAGE_KEYS, return_arrow=True)
        for page in map(_page, pages):
            if not page.keys[-1].startswith(prefix):
                page = page.first(next(at for at, key in enumerate(page.keys) if not key.startswith(prefix)))
                if page.keys:
                    yield page
                return
            yield page


def _page(found: RecordBatch) -> Page:
    """In columns; raises _Odd where an empty object may be a folder's marker."""
    keys, sizes = found["path"].to_pylist(), found["size"].to_pylist()
    if 0 in sizes and any(not size and not PLAIN_KEY.fullmatch(key) for key, size in zip(keys, sizes, strict=True)):
        raise _Odd
    etags = [(etag or "").strip('"') for etag in found["e_tag"].to_pylist()]
    return Page(keys, sizes, etags, found["last_modified"])


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """What `told_plainly` does for boto3. The messages of obstore hold URLs: they end here."""
    try:
        yield
    except (InvalidPathError, ValueError):  # a key with an empty part; or `after` is one
        raise _Odd from None
    except (BaseError, OSError) as error:
        told = ERROR_CODE.search(str(error))
        code = (told[1] or told[2]) if told else type(error).__name__
        refused = code in REFUSED or isinstance(error, PermissionDeniedError | UnauthenticatedError)
        logger.warning("store_fault operation=%s code=%s", LISTED, code)
        raise (StoreRefused if refused else StoreUnavailable)(f"{LISTED}: {code}") from None


@functools.cache
def _quick(store: Store) -> S3Store:
    """One for all threads. Nothing is left to the variables that obstore would read by itself."""
    # as boto3 knows it, for stores with a certificate of their own
    bundle = session_of(store)._session.get_config_variable("ca_bundle")
    options: ClientConfig = {
        "allow_http": (store.endpoint or "").startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "timeout": timedelta(seconds=PATIENT_READ_SECONDS),
    }
    if bundle:
        options["root_certificate"] = Path(bundle).read_bytes()
    virtual = store.addressing == "virtual"
    own = f"https://{store.bucket + '.' if virtual else ''}s3.{store.region}.amazonaws.com"
    return S3Store(
        store.bucket,
        aws_endpoint_url_s3=store.endpoint or own,
        region=store.region,
        virtual_hosted_style_request=virtual,
        credential_provider=functools.partial(_credentials, store),
        client_options=options,
        retry_config={"max_retries": PATIENT_ATTEMPTS - 1, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    )


def _credentials(store: Store) -> S3Credential:
    """Asked anew before they end: those of a role live for hours, a listing of millions may as well."""
    frozen, left = credentials(store).get_frozen_credentials(), seconds_of_credentials(store)
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expires_at": None if left is None else datetime.now(UTC) + timedelta(seconds=left),
    }
