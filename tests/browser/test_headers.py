"""The content security policy in a browser: violations are reported, and ordinary use causes none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import watched
from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.conftest import serving
from tests.support import csp_reports, factories
from tests.support.aws_template import Template
from tests.support.certificate_authority import CertificateAuthority
from tests.support.cloudfront import Edge, Signer, run_cloudfront
from tests.support.pictures import as_file, two_halves
from tests.support.stores import Bucket
from tests.support.tls_proxy import TlsProxy
from uploads import services
from uploads.models import File, State

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
REPORT_SECONDS = 5


@pytest.fixture
def by_tls(browser: Browser, transactional_db: None) -> Iterator[Page]:
    """A page that accepts the certificates of the test authority."""
    with watched(browser.new_context(ignore_https_errors=True)) as context:
        yield context.new_page()


def sign_in_by_form(page: Page, site: str, user: User) -> None:
    page.goto(f"{site}/accounts/login/")
    page.locator("#id_username").fill(user.username)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_password").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Library")
    page.wait_for_load_state()  # with its scripts


@pytest.mark.parametrize("by", ["http", "https"])
def test_policy_violation_is_reported(
    by: str, browser: Browser, transactional_db: None, site: str, tls_site: TlsProxy
) -> None:
    address = (tls_site.url if by == "https" else site) + "/accounts/login/"
    page = browser.new_page(ignore_https_errors=True)
    page.goto(address)
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://localhost:9/x.png'}))")
    end = time.monotonic() + REPORT_SECONDS
    reports: list[str] = []
    while not reports and time.monotonic() < end:
        page.wait_for_timeout(50)
        reports = csp_reports.begin().take()
    page.close()
    assert "violated-directive=img-src" in reports[0]
    assert f"document-uri={address}" in reports[0]


def test_ordinary_pages_over_tls_keep_policy(
    by_tls: Page, tls_site: TlsProxy, bucket: Bucket, admin_user: User, tmp_path: Path
) -> None:
    page = by_tls
    uploader = UploaderPage(page, tmp_path, tls_site.url)
    sign_in_by_form(page, tls_site.url, admin_user)
    uploader.drop(uploader.file("notes.txt", b"sent by TLS"))
    expect(page.get_by_role("link", name="notes.txt").first).to_be_visible(timeout=WAIT_MS)
    file = File.objects.get(state=State.AVAILABLE)
    assert bucket.read(file.key) == b"sent by TLS"
    page.goto(tls_site.url + file.get_absolute_url())
    for address in ("", "uploads/file/", f"uploads/file/{file.pk}/change/", "uploads/event/"):
        response = page.goto(f"{tls_site.url}/admin/{address}")
        assert response is not None
        assert response.status == 200
    cookies = {cookie.get("name"): cookie for cookie in page.context.cookies()}
    assert {name for name in cookies if name and not name.startswith("__Host-")} == set()
    assert all(cookie.get("secure") for cookie in cookies.values())
    assert {name for name, cookie in cookies.items() if not cookie.get("httpOnly")} == {
        "__Host-timezone"
    }  # set by a script


def template_headers(site: str) -> dict[str, str]:
    """Return the headers that CloudFront adds to every response by the template, with http for this site."""
    resources = Template().resolved(Domain=urlsplit(site).netloc, HostedZoneId="Z", Image="image", ContentKey1="PEM")
    config = resources["ContentHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
    policy = config["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    further = {item["Header"]: item["Value"] for item in config["CustomHeadersConfig"]["Items"]}
    sniffed = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return {**sniffed, **further, "Content-Security-Policy": policy.replace("https://", "http://")}


@pytest.fixture
def delivered(
    bucket: Bucket, authority: CertificateAuthority, transactional_db: None, tmp_path: Path
) -> Iterator[tuple[str, Edge]]:
    """A site with content delivery by CloudFront, as in the template."""
    signer = Signer("KBROWSER000001")
    with (
        run_cloudfront(bucket, authority, signer, host="127.0.0.1") as edge,
        serving(tmp_path, {**edge.variables(signer), "ALLOWED_HOSTS": "localhost"}) as site,
    ):
        edge.headers = template_headers(site)
        yield site, edge


def test_pages_show_content_from_cloudfront(
    by_tls: Page, delivered: tuple[str, Edge], bucket: Bucket, admin_user: User
) -> None:
    (site, edge), page = delivered, by_tls
    body = as_file(two_halves())
    picture = factories.create_file(
        admin_user, body, bucket=bucket, name="a.png", detected_type="image/png", category="image"
    )
    words = factories.create_file(
        admin_user, b"plain words", bucket=bucket, name="a.txt", detected_type="text/plain", category="text"
    )
    for file in (picture, words):
        services.make_previews(file)
    sign_in_by_form(page, site, admin_user)
    page.goto(site + picture.get_absolute_url(), wait_until="networkidle")
    assert page.locator("main img").first.evaluate("image => image.naturalWidth") > 0
    page.goto(site + words.get_absolute_url(), wait_until="networkidle")
    expect(page.frame_locator("main iframe").locator("body")).to_have_text("plain words")
    with page.expect_download() as download:
        page.evaluate("address => { location = address }", reverse("download", args=[picture.pk]))
    assert download.value.path().read_bytes() == body
    assert (edge.cookies, edge.cache) == ([], {})
