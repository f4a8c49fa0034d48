"""Bucket listings: every key once, unchanged and in order; truncated listings are errors."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest

from tests.support.storage_proxies import FAULTS, Request, Response, StorageProxy
from tests.support.stores import Bucket
from tests.support.upload_client import sha256
from uploads import s3
from uploads.errors import ListingOutOfOrder, StorageDenied, StorageUnavailable
from uploads.s3 import bucket_listing, client

ODD_KEYS = [
    "/lead",
    "a//b",
    "b/../c",
    "c d",
    "c%20d",
    "d",
    "d!",
    "d/",
    "d/x",
    "e#f",
    "f/",
    "f/abc",
    "f/abc/",
    "fé/ü",
    "z",
]


class GeneratedListing:
    """Responses to ListObjectsV2 with the given keys in the given order, `page` keys per page."""

    def __init__(self, keys: list[str], *, page: int = 2, size: int = 1) -> None:
        self.keys, self.page, self.size = keys, page, size

    def __call__(self, request: Request) -> Response:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}
        last = query.get("continuation-token") or query.get("start-after")
        behind = self.keys[self.keys.index(last) + 1 :] if last in self.keys else self.keys
        keys = [key for key in behind if key.startswith(query.get("prefix", ""))]
        items = "".join(map(self.item, keys[: self.page]))
        more = len(keys) > self.page
        elements = f"<NextContinuationToken>{escape(keys[self.page - 1])}</NextContinuationToken>" if more else ""
        elements += f"<IsTruncated>{str(more).lower()}</IsTruncated>{items}"
        body = f'<?xml version="1.0"?><ListBucketResult>{elements}</ListBucketResult>'
        return Response(200, {"Content-Type": "application/xml"}, body.encode())

    def item(self, key: str) -> str:
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
            f"<ETag>&quot;e{len(key)}&quot;</ETag><Size>{self.size}</Size></Contents>"
        )


@pytest.fixture
def bucket(bucket: Bucket) -> Bucket:
    """A bucket without its marker, because these tests list every object."""
    bucket.unmark()
    return bucket


@pytest.fixture
def digest_bucket(digest_bucket: Bucket) -> Bucket:
    digest_bucket.unmark()
    return digest_bucket


def keys_of(prefix: str = "", *, after: str = "") -> list[str]:
    return [item.key for page in s3.list_objects(prefix, after=after) for item in page]


def plain(count: int) -> list[str]:
    return [f"f/{number:032x}" for number in range(count)]


def test_objects_are_listed_unchanged(bucket: Bucket) -> None:
    bucket.write("f/" + "0" * 32, b"hello")
    (item,) = (item for page in s3.list_objects("f/") for item in page)
    assert (item.key, item.size, item.etag) == ("f/" + "0" * 32, 5, "5d41402abc4b2a76b9719d911017c592")
    assert abs(datetime.now(UTC) - item.modified) < timedelta(minutes=1)
    head = s3.head(item.key)
    assert head is not None
    assert head == item._replace(modified=item.modified.replace(microsecond=0))


def test_an_empty_bucket_has_no_pages(bucket: Bucket) -> None:
    assert keys_of() == keys_of("f/") == []


def test_prefix_can_end_anywhere_in_a_key(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_listing, "PAGE_KEYS", 5)
    keys = [*plain(64), "fa", "p/x"]
    for key in keys:
        bucket.write(key, b"x")
    for prefix in ("", "f/", "f/000", "f/0000000000000000000000000000003", "f/" + "0" * 32, "p/", "f"):
        assert keys_of(prefix) == [key for key in keys if key.startswith(prefix)], prefix


def test_listing_continues_after_any_key(storage_proxy: StorageProxy) -> None:
    storage_proxy.rules["listing"] = GeneratedListing(ODD_KEYS)
    for at, key in enumerate(ODD_KEYS):
        assert keys_of("f", after=key) == [later for later in ODD_KEYS[at + 1 :] if later.startswith("f")]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_unusual_keys_are_listed_unchanged(storage_proxy: StorageProxy, page: int, size: int) -> None:
    storage_proxy.rules["listing"] = GeneratedListing(ODD_KEYS, page=page, size=size)
    assert keys_of() == ODD_KEYS
    assert keys_of("f/") == [key for key in ODD_KEYS if key.startswith("f/")]


@pytest.mark.parametrize(
    "key",
    ["a b", "a+b", "a%2Bb", "a&amp;b", "a<b>&c", "line\nend", "ctrl\x01", "été ملف 🎈", "back\\slash", "a//", "q\"'"],
)
def test_any_key_is_listed_unchanged(digest_bucket: Bucket, key: str) -> None:
    digest_bucket.write(key, b"x")
    assert keys_of() == [key]


def test_missing_etag_is_listed_as_empty(storage_proxy: StorageProxy) -> None:
    pages = GeneratedListing(plain(3), page=5)
    body = pages(Request("GET", "http://x/", {}, b"")).body.replace(b"<ETag>&quot;e34&quot;</ETag>", b"", 1)
    storage_proxy.rules["listing"] = lambda _request: Response(200, {}, body)
    assert [item.etag for page in s3.list_objects() for item in page] == ["", "e34", "e34"]


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><Code>InternalError</Code></Error>",
        b"<html><body>Please sign in</body></html>",
        b"<ListBucketResult/>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>f/x</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>f/x",
        b"",
    ],
)
def test_truncated_listing_is_not_treated_as_complete(
    storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(bucket_listing, "BATCH_ATTEMPTS", 1)
    pages = GeneratedListing(plain(4), page=2)
    storage_proxy.rules["listing"] = lambda request: Response(200, {}, body) if is_later(request) else pages(request)
    with pytest.raises(StorageUnavailable):
        keys_of("f/")


def test_failed_page_is_requested_again(storage_proxy: StorageProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_listing, "PAUSE_SECONDS", 0.01)
    pages, faults = GeneratedListing(plain(6), page=2), iter(["500", "200 with an error", "broken"])

    def rule(request: Request) -> Response | None:
        fault = next(faults, None) if is_later(request) else None
        return FAULTS[fault](request) if fault in FAULTS else pages(request)

    storage_proxy.rules["listing"] = rule
    assert keys_of("f/") == plain(6)


def is_later(request: Request) -> bool:
    return "continuation-token" in request.url


@pytest.mark.parametrize("wrong", [["f/b", "f/a"], ["f/a", "f/a"], ["f/a", "f/b", "f/c", "f/d", "f/ca"]])
@pytest.mark.parametrize("page", [1, 2, 10])
def test_a_listing_out_of_order_is_refused(storage_proxy: StorageProxy, wrong: list[str], page: int) -> None:
    storage_proxy.rules["listing"] = GeneratedListing(wrong, page=page)
    with pytest.raises(ListingOutOfOrder):
        keys_of()


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("fault", FAULTS)
def test_error_messages_contain_no_urls_or_credentials(
    storage_proxy: StorageProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    first: bool,
) -> None:
    for module in (bucket_listing, client):
        monkeypatch.setattr(module, "BATCH_ATTEMPTS", 1)
    s3.reset()
    pages = GeneratedListing(plain(4), page=2)

    def rule(request: Request) -> Response | None:
        return pages(request) if not first and not is_later(request) else FAULTS[fault](request)

    storage_proxy.rules["listing"] = rule
    with caplog.at_level(logging.INFO), pytest.raises(StorageUnavailable) as error:
        keys_of("f/")
    assert isinstance(error.value, StorageDenied) == (fault in {"403", "403 without words", "clock", "page 403"})
    message = f"{error.value.detail} {error.value.__cause__} {caplog.text}"
    assert not re.search(r"http|Credential=|<", message)


def test_head_reports_absence_only_for_404_of_storage(storage_proxy: StorageProxy) -> None:
    assert s3.head("f/" + "0" * 32) is None
    storage_proxy.rules["*"] = FAULTS["no bucket"]
    with pytest.raises(StorageUnavailable):
        s3.head("f/" + "0" * 32)


def test_404_of_head_for_an_existing_object_is_unavailable(storage_proxy: StorageProxy, bucket: Bucket) -> None:
    bucket.write("f/" + "0" * 32, b"x")
    storage_proxy.rules["head"] = lambda _request: Response(404, {}, b"")
    with pytest.raises(StorageUnavailable):
        s3.head("f/" + "0" * 32)


def test_head_without_headers_is_an_error(bucket: Bucket, storage_proxy: StorageProxy) -> None:
    bucket.write("f/" + "0" * 32, b"x")
    storage_proxy.rules["head"] = lambda _request: Response(200, {}, b"")
    with pytest.raises(StorageUnavailable):
        s3.head("f/" + "0" * 32)


def test_head_returns_the_checksum_if_storage_has_one(digest_bucket: Bucket) -> None:
    key = "f/" + "1" * 32
    digest_bucket.client.put_object(Bucket=digest_bucket.name, Key=key, Body=b"x", ChecksumAlgorithm="SHA256")
    metadata = s3.head(key)
    assert metadata is not None
    assert metadata.checksum == sha256(b"x")
    assert keys_of() == [key]


def test_multipart_uploads_are_listed_with_their_age(bucket: Bucket) -> None:
    assert list(s3.list_multipart_uploads()) == []
    for key in ("f/a", "f/b", "other"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    assert sorted(upload.key for upload in s3.list_multipart_uploads("f/")) == ["f/a", "f/b"]
    assert all(datetime.now(UTC) - upload.initiated < timedelta(minutes=1) for upload in s3.list_multipart_uploads())
