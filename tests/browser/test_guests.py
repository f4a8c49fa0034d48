"""A guest in a browser: drop files, resume after a reload, see the receipt; the name is required."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.support.file_rows import ensure_folder
from tests.support.guests import create_request
from tests.support.stores import Bucket
from uploads.models import File, GuestSession, State

pytestmark = pytest.mark.slow


@pytest.fixture
def guest(
    transactional_db: None, bucket: Bucket, small_parts_site: str, alice: User, page: Page, tmp_path: Path
) -> UploaderPage:
    """A guest on the page of a request of alice's, which requires a name."""
    _request, token = create_request(ensure_folder("Inbox", by=alice), alice, ask_name="required")
    page.goto(f"{small_parts_site}/r/{token}/")
    return UploaderPage(page, tmp_path, small_parts_site)


def test_a_guest_drops_files_and_gets_a_receipt(guest: UploaderPage, bucket: Bucket) -> None:
    folder = guest.file("photos/a.txt", b"one").parent
    guest.file("photos/b.txt", b"two")
    guest.drop(folder)
    expect(guest.page.locator("#id_name:invalid")).to_be_focused()  # nothing is sent without a name
    guest.page.get_by_label("Your name").fill("Gina")
    guest.drop(folder, guest.large_file(parts=3))
    guest.expect_receipt("3 of 3 stored, size verified")
    expect(guest.page.locator("#sent .result")).to_have_count(3, timeout=WAIT_MS)
    expect(guest.page.locator("#guest-details")).to_contain_text("You're uploading as Gina.")
    expect(guest.tray.get_by_role("button", name="Copy links")).to_be_hidden()
    assert GuestSession.objects.get().name == "Gina"
    assert File.objects.filter(state=State.AVAILABLE, guest_session__name="Gina").count() == 3


def test_a_guest_resumes_after_a_reload(guest: UploaderPage, bucket: Bucket) -> None:
    guest.page.get_by_label("Your name").fill("Gina")
    large = guest.large_file(parts=4)
    blocked = guest.block_puts(lambda count: count > 2)
    guest.drop(large)
    blocked.wait_for(1, guest.page)
    guest.page.on("dialog", lambda dialog: dialog.accept())
    blocked.ended = True
    guest.page.reload()
    guest.page.unroute_all()
    expect(guest.page.locator("#sent")).to_contain_text("unfinished")
    if guest.page.get_by_label("Your name").count():
        guest.page.get_by_label("Your name").fill("Gina")
    guest.drop(large)
    guest.expect_receipt("1 of 1 stored, size verified")
    assert bucket.read(File.objects.get(state=State.AVAILABLE).key) == large.read_bytes()
    assert File.objects.count() == 1


def test_revoked_request_is_reported_in_the_tray(guest: UploaderPage) -> None:
    from uploads.models import FileRequest

    guest.page.get_by_label("Your name").fill("Gina")
    FileRequest.objects.update(revoked_at="2020-01-01T00:00Z")
    guest.drop(guest.file("a.txt"))
    expect(guest.tray).to_contain_text("Ask alice for a new one.", timeout=WAIT_MS)


def test_the_page_fits_a_phone(guest: UploaderPage) -> None:
    guest.page.set_viewport_size({"width": 360, "height": 640})
    assert guest.page.evaluate("document.documentElement.scrollWidth") <= 360
