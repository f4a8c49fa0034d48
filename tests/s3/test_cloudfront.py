"""CloudFront delivery: signed URLs allow one file with our headers until they expire; the bucket denies the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.support import factories
from tests.support.aws_template import Template
from tests.support.certificate_authority import CertificateAuthority
from tests.support.cloudfront import OVERRIDES, Edge, Signer, run_cloudfront
from tests.support.stores import Bucket
from uploads import s3
from uploads.models import File
from uploads.s3.signing import DOWNLOAD_SECONDS

pytestmark = pytest.mark.django_db

KEY = "p/" + "0" * 32
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WINDOW = timedelta(seconds=900)

Deliver = Callable[[Signer], None]


@pytest.fixture(scope="module")
def old() -> Signer:
    return Signer("KOLD0000000001")


@pytest.fixture(scope="module")
def new() -> Signer:
    return Signer("KNEW0000000001")


@pytest.fixture
def edge(bucket: Bucket, authority: CertificateAuthority, old: Signer, new: Signer) -> Iterator[Edge]:
    """A CloudFront whose key group has both keys, as during a rotation."""
    with run_cloudfront(bucket, authority, old, new) as edge:
        yield edge


@pytest.fixture
def deliver_by(edge: Edge, settings: Settings) -> Iterator[Deliver]:
    """`deliver_by(signer)`: the app signs for the edge with this key from now on."""

    def deliver_by(signer: Signer) -> None:
        options = {"custom_domain": edge.domain, "cloudfront_key_id": signer.key_id, "cloudfront_key": signer.pem}
        settings.STORAGES = {**settings.STORAGES, "default": {**settings.STORAGES["default"], "OPTIONS": options}}
        s3.reset()

    yield deliver_by
    s3.reset()


@pytest.fixture
def by_edge(deliver_by: Deliver, old: Signer) -> None:
    deliver_by(old)


@pytest.fixture
def get(authority: CertificateAuthority) -> Callable[..., urllib3.BaseHTTPResponse]:
    """An HTTP client without cookies that trusts only the CA of the edge."""
    pool = urllib3.PoolManager(ca_certs=str(authority.file))

    def get(url: str, method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
        return pool.request(method, url, headers=headers, redirect=False, retries=False)

    return get


Get = Callable[..., urllib3.BaseHTTPResponse]


def sent_to(client: Client, file: File, query: str = "") -> str:
    response = client.get(reverse("download", args=[file.pk]) + query)
    assert response.status_code == 302
    assert "no-store" in response.headers["Cache-Control"]
    return response.headers["Location"]


@pytest.mark.usefixtures("by_edge")
@pytest.mark.parametrize("name", ["plain.txt", "שלום 😀.txt", 'quote"; x="y.txt', "100% sure; a+b&c=d#e~.txt"])
def test_download_comes_from_cloudfront_with_the_signed_headers(
    name: str, alice: User, as_alice: Client, bucket: Bucket, edge: Edge, get: Get
) -> None:
    file = factories.create_file(alice, b"<html>", bucket=bucket, name=name)
    url = sent_to(as_alice, file)
    response = get(url)
    assert url.startswith(f"https://{edge.domain}/{file.key}?")
    assert (response.status, response.data) == (200, b"<html>")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["Content-Disposition"] == parse_qs(urlsplit(url).query)["response-content-disposition"][0]
    assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.usefixtures("by_edge")
def test_url_contains_neither_bucket_name_nor_s3_signature(alice: User, as_alice: Client, bucket: Bucket) -> None:
    url = sent_to(as_alice, factories.create_file(alice, b"x", bucket=bucket))
    assert bucket.name not in url
    assert "X-Amz" not in url


@pytest.mark.usefixtures("by_edge")
def test_range_request_returns_a_part_of_the_file(alice: User, as_alice: Client, bucket: Bucket, get: Get) -> None:
    response = get(sent_to(as_alice, factories.create_file(alice, b"0123456789", bucket=bucket)), Range="bytes=2-4")
    assert response.data == b"234"


@pytest.mark.usefixtures("by_edge")
def test_tampered_signed_url_is_rejected(alice: User, as_alice: Client, bucket: Bucket, edge: Edge, get: Get) -> None:
    file, other = (factories.create_file(alice, b"x", bucket=bucket) for _ in range(2))
    url = sent_to(as_alice, file)
    until = parse_qs(urlsplit(url).query)["Expires"][0]
    bent = [
        url.replace("attachment", "inline"),
        url.replace("application%2Foctet-stream", "text%2Fhtml"),
        url.replace(until, str(int(until) + 1)),
        url.replace(file.key, other.key),
        url.replace("KOLD", "KNEW"),
        url.replace("Signature=", "Signature=A"),
        url.replace("response-cache-control=private%2C%20no-store&", ""),
        url + "&response-content-language=x",
        url.split("?")[0],
    ]
    assert url not in bent
    assert [get(url_).status for url_ in bent] == [403] * len(bent)
    assert get(url, "PUT").status == get(url, "DELETE").status == 403
    assert get(url).status == 200


@pytest.mark.usefixtures("by_edge")
def test_download_url_expires_after_five_minutes(
    alice: User, as_alice: Client, bucket: Bucket, edge: Edge, get: Get
) -> None:
    url = sent_to(as_alice, factories.create_file(alice, b"x", bucket=bucket))
    left = int(parse_qs(urlsplit(url).query)["Expires"][0]) - time.time()
    assert 290 < left <= 300
    edge.ahead = 290
    assert get(url).status == 200
    edge.ahead = 301
    assert get(url).status == 403


@pytest.mark.usefixtures("by_edge")
def test_permission_is_checked_every_time_and_no_cache_stores_files(
    alice: User, as_alice: Client, as_charlie: Client, bucket: Bucket, edge: Edge, get: Get
) -> None:
    file = factories.create_file(alice, b"secret", bucket=bucket)
    url = sent_to(as_alice, file)
    assert get(url).status == 200
    assert as_charlie.get(reverse("download", args=[file.pk])).status_code == 404
    bucket.delete(file.key)
    assert get(url).status == 404
    assert edge.cache == {}


@pytest.mark.usefixtures("by_edge")
def test_content_host_gets_no_cookie_and_bucket_refuses_others(
    alice: User, as_alice: Client, bucket: Bucket, edge: Edge, get: Get
) -> None:
    file = factories.create_file(alice, b"secret", bucket=bucket)
    get(sent_to(as_alice, file))
    at_the_bucket = f"{bucket.address.endpoint}/{bucket.name}/{file.key}"
    assert edge.cookies == []
    assert urllib3.request("GET", at_the_bucket).status in {400, 403}  # rclone returns 400
    assert urllib3.request("GET", f"{at_the_bucket}?{urlsplit(sent_to(as_alice, file)).query}").status in {400, 403}


# --- previews ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("by_edge")
def test_preview_url_is_stable_for_15_minutes_and_expires_with_the_cache(edge: Edge) -> None:
    urls = {s3.preview_url(KEY, content_type="image/webp", now=NOON + timedelta(seconds=n)) for n in (0, 450, 899)}
    (url,) = urls
    query = parse_qs(urlsplit(url).query)
    until = datetime.fromtimestamp(int(query["Expires"][0]), UTC)
    assert until == NOON + 2 * WINDOW
    assert parsedate_to_datetime(query["response-expires"][0]) == until
    assert query["response-cache-control"] == ["private"]


@pytest.mark.usefixtures("by_edge")
def test_preview_comes_from_cloudfront(bucket: Bucket, edge: Edge, get: Get) -> None:
    bucket.write(KEY, b"RIFF")
    response = get(s3.preview_url(KEY, content_type="image/webp"))
    assert (response.status, response.data, response.headers["Content-Type"]) == (200, b"RIFF", "image/webp")
    assert edge.cache == {}


@pytest.mark.usefixtures("by_edge")
def test_expiring_credentials_do_not_shorten_cloudfront_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.s3.signing.seconds_of_credentials", lambda _store, limit: min(10, limit))
    query = parse_qs(urlsplit(s3.preview_url(KEY, content_type="image/webp", now=NOON)).query)
    assert int(query["Expires"][0]) == (NOON + 2 * WINDOW).timestamp()


# --- key rotation ---------------------------------------------------------------------------------


def test_key_rotation_breaks_no_downloads(
    alice: User, as_alice: Client, bucket: Bucket, edge: Edge, get: Get, deliver_by: Deliver, old: Signer, new: Signer
) -> None:
    file = factories.create_file(alice, b"x", bucket=bucket)
    deliver_by(old)
    before = sent_to(as_alice, file)
    deliver_by(new)
    after = sent_to(as_alice, file)
    assert get(before).status == get(after).status == 200
    del edge.group[old.key_id]  # half an hour later
    assert (get(before).status, get(after).status) == (403, 200)


def test_foreign_key_is_refused(bucket: Bucket, edge: Edge, get: Get, deliver_by: Deliver) -> None:
    bucket.write(KEY, b"x")
    deliver_by(Signer("KOLD0000000001"))  # our key ID with another key
    assert get(s3.preview_url(KEY, content_type="image/webp")).status == 403


@pytest.mark.usefixtures("by_edge")
@pytest.mark.parametrize("key", ["imported/a b+c%20d/ü~'(1)!.txt", "q?x=1&y#z.txt"])
def test_key_of_imported_file_is_requested_unchanged(key: str, bucket: Bucket, get: Get) -> None:
    bucket.write(key, b"x")
    response = get(s3.download_url(key, disposition="attachment", content_type="text/plain"))
    assert (response.status, response.data) == (200, b"x")


@pytest.mark.usefixtures("by_edge")
@pytest.mark.parametrize("key", ["imported/a//b.txt", "/leading.txt"])
def test_unusual_object_key_is_signed_unchanged(key: str, edge: Edge) -> None:
    """The storage of this run rejects such keys because it uses folders; S3 allows them."""
    at = urlsplit(s3.download_url(key, disposition="attachment", content_type="text/plain"))
    assert at.path == f"/{key}"
    assert edge.is_signed(at.path, at.query)


# --- the template -----------------------------------------------------------------------------


def test_template_forwards_url_overrides_and_limits_the_cache_time() -> None:
    resources = Template().resolved(Domain="files.example.org", HostedZoneId="Z", Image="image", ContentKey1="PEM")
    policy = resources["ContentCaching"]["Properties"]["CachePolicyConfig"]
    queries = policy["ParametersInCacheKeyAndForwardedToOrigin"]["QueryStringsConfig"]
    assert (queries["QueryStringBehavior"], set(queries["QueryStrings"])) == ("whitelist", OVERRIDES)
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)
    assert policy["MaxTTL"] <= DOWNLOAD_SECONDS
