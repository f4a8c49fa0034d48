"""What is in the bucket, in order: pages of objects, single objects, and uploads in parts that are open.

A listing is read by us: of a page of XML a few columns are wanted, and four searches through its text find them in a
twentieth of the time that boto3 takes, and in half of what the quickest library does, with every key as it is.
"""

from __future__ import annotations

import html
import operator
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import urllib3
from botocore.exceptions import ClientError

from uploads.content_encoding import normalize
from uploads.errors import ListingOutOfOrder, StorageDenied, StorageUnavailable
from uploads.s3.client import (
    BATCH_ATTEMPTS,
    BATCH_READ_SECONDS,
    CONNECT_SECONDS,
    REFUSED,
    client,
    code_of,
    http,
    log_error,
    require_no_transaction,
    translate_errors,
)
from uploads.s3.objects import head_and_sniff
from uploads.s3.refusals import ARCHIVES
from uploads.s3.stores import Store, store_named
from uploads.s3.streams import require_readable

PAGE_KEYS = 1000  # as many as S3 gives at once
LISTED = "ListObjectsV2"
LISTED_SECONDS = 60  # how long a signed question is good for
PAUSE_SECONDS = 0.5  # before the second attempt; then twice as long each time

KEY = re.compile(r"<Key>([^<]*)</Key>")
SIZE = re.compile(r"<Size>(\d{1,18})</Size>")
ETAG = re.compile(r"<ETag>([^<]*)</ETag>")
MODIFIED = re.compile(r"<LastModified>([^<]*)</LastModified>")
CLASS = re.compile(r"<StorageClass>([A-Z_]{1,40})</StorageClass>")
MORE = re.compile(r"<IsTruncated>(true|false)</IsTruncated>")
TOKEN = re.compile(r"<NextContinuationToken>([^<]+)</NextContinuationToken>")
REFUSALS = frozenset({"400", "403", "451"})  # of a HEAD
CODE = re.compile(r"<Code>(\w+)</Code>")
ENCODED = "<EncodingType>url</EncodingType>"


class ObjectInfo(NamedTuple):
    """An object as a listing or a HEAD tells of it: size in bytes, ETag without quotes, when it was written.

    Only a HEAD tells the rest: `checksum` is its SHA-256 as the row has it, of stores that keep digests,
    `content_encoding` is as `content_encoding.normalize` has it, and `archived` says whether it is in an archive, be it
    restored for a while or not.
    """

    key: str
    size: int
    etag: str
    modified: datetime
    checksum: str | None = None
    content_encoding: str = ""
    archived: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Neighbouring objects by key, as columns: a million of them are compared without a million objects of Python's.

    `moments` are as the store tells them; few want them as times, and that costs as much as all the rest.
    """

    keys: list[str]
    sizes: list[int]
    etags: list[str]
    moments: list[str]
    archived: frozenset[str] = frozenset()  # keys of objects that must be restored before they are read

    @property
    def modified(self) -> list[datetime]:
        return list(map(datetime.fromisoformat, self.moments))

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[ObjectInfo]:
        return map(ObjectInfo, self.keys, self.sizes, self.etags, self.modified)


class OpenMultipart(NamedTuple):
    key: str
    id: str
    initiated: datetime


def list_objects(prefix: str = "", *, after: str = "", store: str | None = None) -> Iterator[Page]:
    """Every object whose key begins with `prefix` and comes behind `after`, by the bytes of their keys.

    Any prefix will do, also half a name. Raises ListingOutOfOrder for a store that lists otherwise (S3's directory
    buckets do), StorageUnavailable, StorageDenied. Memory does not grow with the bucket.
    """
    at, end, token = store_named(store), after, ""
    while True:
        page, token = _page(at, prefix, end, token)
        if page.keys:
            if not _is_in_order(end, page):
                raise ListingOutOfOrder()
            end = page.keys[-1]
            yield page
        if not token:
            return


def head(key: str, *, store: str | None = None) -> ObjectInfo | None:
    """One object as it is now; None only if the store itself says that it has no such key.

    A HEAD's answer has no words: its 404 may mean the bucket or come from something in between, and a refusal this
    object or all. A GET asks again, and its words are searched, not parsed: a key with a control character makes XML
    of them that no parser takes. Raises StorageUnavailable, StorageDenied, ObjectRefused.
    """
    at = store_named(store)
    extra: dict[str, Any] = {"ChecksumMode": "ENABLED"} if at.keeps_digests else {}
    s3 = client("quick", at)
    try:
        with translate_errors("HeadObject", absent={"404", "NoSuchKey", *REFUSALS}):
            found = s3.head_object(Bucket=at.bucket, Key=key, **extra)
    except ClientError as error:
        if code_of(error) in REFUSALS:
            require_readable(key, size=1, store=store)
            raise StorageUnavailable(f"HeadObject: {code_of(error)} for an object that can be read") from None
        if head_and_sniff(key, size=1, store=store) is not None:
            raise StorageUnavailable("HeadObject: 404 for an object that is there") from None
        return None
    if not {"ETag", "ContentLength", "LastModified"} <= found.keys():
        raise StorageUnavailable("HeadObject: an answer that tells nothing")
    etag, checksum = found["ETag"].strip('"'), found.get("ChecksumSHA256")
    encoding = normalize(found.get("ContentEncoding", ""))
    archived = found.get("StorageClass") in ARCHIVES or "ArchiveStatus" in found
    return ObjectInfo(key, found["ContentLength"], etag, found["LastModified"], checksum, encoding, archived)


def list_multipart_uploads(prefix: str = "", *, store: str | None = None) -> Iterator[OpenMultipart]:
    """Every upload in parts that is open for a key with this prefix, whoever began it."""
    at = store_named(store)
    pages = client("patient", at).get_paginator("list_multipart_uploads")
    try:
        with translate_errors("ListMultipartUploads"):
            for page in pages.paginate(Bucket=at.bucket, Prefix=prefix):
                for upload in page.get("Uploads", []):
                    yield OpenMultipart(upload["Key"], upload["UploadId"], upload["Initiated"])
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":  # rclone says so of an empty list
            raise


# --- a page -------------------------------------------------------------------------------------


def _is_in_order(after: str, page: Page) -> bool:
    """Each key behind the one before. Code points and bytes of UTF-8 have one order."""
    keys = page.keys
    return after < keys[0] and all(map(operator.lt, keys, keys[1:]))


def _page(store: Store, prefix: str, after: str, token: str) -> tuple[Page, str]:
    """The next objects, and the token that leads on from there; none at the end."""
    asked: dict[str, Any] = {"Bucket": store.bucket, "Prefix": prefix, "MaxKeys": PAGE_KEYS, "EncodingType": "url"}
    if token or after:
        asked |= {"ContinuationToken": token} if token else {"StartAfter": after}
    for pause in (PAUSE_SECONDS * 2**attempt for attempt in range(BATCH_ATTEMPTS - 1)):
        try:
            return _read(_request(store, asked))
        except StorageDenied:
            raise
        except StorageUnavailable:
            time.sleep(pause)
    return _read(_request(store, asked))


def _request(store: Store, asked: dict[str, Any]) -> str:
    """The text of a page as the store gives it, whole."""
    require_no_transaction()
    patience = urllib3.Timeout(connect=CONNECT_SECONDS, read=BATCH_READ_SECONDS)
    with translate_errors(LISTED):
        url = client("patient", store).generate_presigned_url("list_objects_v2", asked, LISTED_SECONDS)
        answer = http().request("GET", url, retries=False, timeout=patience)
        text = answer.data.decode(errors="replace")
    if answer.status != 200:  # also a redirect: what is signed for one place is no use at another
        raise _fault(text, str(answer.status), refused=answer.status in {401, 403})
    return text


def _read(text: str) -> tuple[Page, str]:
    """The columns of a page. What is no listing to its end is a fault: S3 may tell one with status 200."""
    more, token = MORE.search(text), TOKEN.search(text)
    whole = "<ListBucketResult" in text[:1000] and text.rstrip().endswith("</ListBucketResult>")
    if not whole or not more or (more[1] == "true" and not token):
        raise _fault(text, "NoListing", refused=False)
    keys, sizes, moments = KEY.findall(text), list(map(int, SIZE.findall(text))), MODIFIED.findall(text)
    etags = [etag.strip('"') for etag in ETAG.findall(text.replace("&quot;", "").replace("&#34;", ""))]
    if len(etags) < len(keys):  # some stores leave them out
        etags = [_etag(item) for item in text.split("<Contents>")[1:]]
    if not len(keys) == len(sizes) == len(moments) == len(etags) == text.count("<Contents>"):
        raise _fault(text, "OddListing", refused=False)
    page = Page(_plain(keys, encoded=ENCODED in text), sizes, etags, moments, _archived(text))
    return page, html.unescape(token[1]) if token and more[1] == "true" else ""


def _archived(text: str) -> frozenset[str]:
    """Few pages have any, and no listing includes those of Intelligent-Tiering."""
    if not any(f"<StorageClass>{name}<" in text for name in ARCHIVES):
        return frozenset()
    items = text.split("<Contents>")[1:]
    items = [item for item in items if (found := CLASS.search(item)) and found[1] in ARCHIVES]
    keys = [key for item in items for key in KEY.findall(item)]
    return frozenset(_plain(keys, encoded=ENCODED in text))


def _etag(item: str) -> str:
    found = ETAG.search(item)
    return html.unescape(found[1]).strip('"') if found else ""


def _plain(keys: list[str], *, encoded: bool) -> list[str]:
    """As boto3 decodes them; a store that encodes none writes them as XML needs it."""
    told = "".join(keys)
    if encoded:
        return list(map(unquote_plus, keys)) if "%" in told or "+" in told else keys
    return list(map(html.unescape, keys)) if "&" in told else keys


def _fault(text: str, otherwise: str, *, refused: bool) -> StorageUnavailable:
    """What went wrong, in the store's own word for it if it has one."""
    found = CODE.search(text)
    code = found[1] if found else otherwise
    log_error(LISTED, code)
    return (StorageDenied if refused or code in REFUSED else StorageUnavailable)(f"{LISTED}: {code}")
