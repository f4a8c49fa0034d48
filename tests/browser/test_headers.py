"""The policy in a browser: what it refuses is reported, and nothing that a person does, by TLS or by CloudFront."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from tests import policy_reports, shelf
from tests.browser.conftest import watched
from tests.browser.hands import PATIENCE_MS, Hands
from tests.conftest import serving
from tests.edge import Edge, Signer, edge_of
from tests.own_ca import Authority
from tests.pictures import as_file, two_halves
from tests.stores import Bucket
from tests.tls_front import TlsFront
from uploads import services
from uploads.models import File, State

PASSWORD = "correct horse battery staple"
REPORT_SECONDS = 5


@pytest.fixture
def by_tls(browser: Browser, transactional_db: None) -> Iterator[Page]:
    """A browser that takes the certificates of the tests' own authority, as any other."""
    with watched(browser.new_context(ignore_https_errors=True)) as context:
        yield context.new_page()


def sign_in_by_form(page: Page, site: str, user: User) -> None:
    page.goto(f"{site}/accounts/login/")
    page.locator("#id_username").fill(user.username)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("#id_password").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Library")
    page.wait_for_load_state()  # with its scripts


def test_what_the_policy_refuses_is_reported(browser: Browser, transactional_db: None, site: str) -> None:
    page = browser.new_page()
    page.goto(f"{site}/accounts/login/")
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://localhost:9/x.png'}))")
    end = time.monotonic() + REPORT_SECONDS
    reports: list[str] = []
    while not reports and time.monotonic() < end:
        page.wait_for_timeout(50)
        reports = policy_reports.begin().take()
    page.close()
    assert "violated-directive=img-src" in reports[0]
    assert f"document-uri={site}/accounts/login/" in reports[0]


def test_a_day_behind_tls_breaks_no_policy(
    by_tls: Page, tls_site: TlsFront, bucket: Bucket, admin_user: User, tmp_path: Path
) -> None:
    page = by_tls
    hands = Hands(page, tmp_path, tls_site.url)
    sign_in_by_form(page, tls_site.url, admin_user)
    hands.drop(hands.file("notes.txt", b"sent by TLS"))
    expect(page.get_by_role("link", name="notes.txt").first).to_be_visible(timeout=PATIENCE_MS)
    file = File.objects.get(state=State.AVAILABLE)
    assert bucket.read(file.key) == b"sent by TLS"
    page.goto(tls_site.url + file.get_absolute_url())
    for address in ("", "uploads/file/", f"uploads/file/{file.pk}/change/", "uploads/event/"):
        answer = page.goto(f"{tls_site.url}/admin/{address}")
        assert answer is not None
        assert answer.status == 200
    cookies = {cookie.get("name"): cookie for cookie in page.context.cookies()}
    assert {name for name in cookies if name and not name.startswith("__Host-")} == set()
    assert all(cookie.get("secure") and cookie.get("httpOnly") for cookie in cookies.values())


def test_pages_show_what_cloudfront_delivers(
    by_tls: Page, bucket: Bucket, authority: Authority, admin_user: User, tmp_path: Path
) -> None:
    file = shelf.add_file(
        admin_user, as_file(two_halves()), bucket=bucket, name="a.png", detected_type="image/png", family="image"
    )
    services.make_previews(file)
    signer = Signer("KBROWSER000001")
    with contextlib.ExitStack() as stack:
        edge = stack.enter_context(edge_of(bucket, authority, signer, host="127.0.0.1"))
        site = stack.enter_context(serving(tmp_path, {**edge.variables(signer), "ALLOWED_HOSTS": "localhost"}))
        sign_in_by_form(by_tls, site, admin_user)
        by_tls.goto(site + file.get_absolute_url(), wait_until="networkidle")
        assert by_tls.locator("main img").first.evaluate("image => image.naturalWidth") > 0
        with by_tls.expect_download() as download:
            by_tls.goto(site + reverse("library"))
            by_tls.evaluate("address => { location = address }", reverse("download", args=[file.pk]))
        assert download.value.path().read_bytes() == bucket.read(file.key)
    assert_only_content_was_asked(edge)


def assert_only_content_was_asked(edge: Edge) -> None:
    assert edge.seen
    assert edge.cookies == []
    assert edge.kept == {}
