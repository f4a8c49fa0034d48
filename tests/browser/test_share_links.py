"""Share links and file requests in a browser, with and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import watched
from tests.support import factories
from tests.support.file_rows import ensure_folder
from tests.support.guests import create_request
from tests.support.stores import Bucket
from uploads.models import File, ShareLink, State
from uploads.services import share_links
from uploads.services.share_links import ShareOptions

PASSWORD = "a password of ours"


@pytest.fixture
def file(transactional_db: None, alice: User, bucket: Bucket) -> File:
    return factories.create_file(alice, b"%PDF-1.7 press", bucket=bucket, name="press kit.pdf")


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page without scripts."""
    with watched(browser.new_context(java_script_enabled=False)) as context:
        yield context.new_page()


def test_link_opens_after_its_password_and_downloads(
    file: File, alice: User, page: Page, small_parts_site: str, tmp_path: Path
) -> None:
    _link, token = share_links.share_file(file, ShareOptions(days=7, password=PASSWORD), by=alice)
    page.goto(f"{small_parts_site}/s/{token}/")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("Incorrect password.")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="press kit.pdf")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "copy.pdf")
    assert (tmp_path / "copy.pdf").read_bytes() == b"%PDF-1.7 press"
    response = page.reload()
    assert response is not None
    assert response.headers["referrer-policy"] == "no-referrer"


def test_times_are_in_the_time_zone_of_the_browser(
    file: File, alice: User, browser: Browser, small_parts_site: str
) -> None:
    _link, token = share_links.share_file(file, ShareOptions(days=7), by=alice)
    expiry = ShareLink.objects.values_list("expires_at", flat=True).get()
    assert expiry
    local = expiry.astimezone(ZoneInfo("Asia/Tokyo"))
    with watched(browser.new_context(timezone_id="Asia/Tokyo")) as context:
        page = context.new_page()
        page.goto(f"{small_parts_site}/s/{token}/")
        expect(page.locator("time").first).to_contain_text(f"{local.day} {local:%b %Y, %H:%M} GMT+9")
        assert context.cookies() == []


def test_file_request_accepts_files_without_scripts(
    transactional_db: None, alice: User, bucket: Bucket, plain: Page, small_parts_site: str, tmp_path: Path
) -> None:
    _request, token = create_request(ensure_folder("Inbox", by=alice), alice)
    (tmp_path / "offer.txt").write_text("our offer")
    plain.goto(f"{small_parts_site}/r/{token}/")
    plain.locator("input[type=file][name=files]").set_input_files(tmp_path / "offer.txt")
    plain.locator("form button[type=submit]").first.click()
    expect(plain.get_by_text("offer.txt").first).to_be_visible()
    file = File.objects.get(state=State.AVAILABLE)
    assert (file.name, bucket.read(file.key)) == ("offer.txt", b"our offer")
