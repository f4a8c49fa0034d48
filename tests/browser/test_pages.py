"""Pages in a browser, with and without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from tests.browser.conftest import watched
from tests.browser.uploader_page import UploaderPage
from tests.conftest import signed_in
from tests.support import file_rows
from tests.support.stores import Bucket
from uploads.models import File, State

pytestmark = pytest.mark.slow

NARROW: ViewportSize = {"width": 360, "height": 720}


@pytest.fixture
def plain(
    browser: Browser, transactional_db: None, bucket: Bucket, small_parts_site: str, alice: User
) -> Iterator[Page]:
    """Alice's browser without JavaScript."""
    with watched(browser.new_context(java_script_enabled=False, base_url=small_parts_site)) as context:
        for name, cookie in signed_in(alice).cookies.items():
            context.add_cookies([{"name": name, "value": cookie.value, "url": small_parts_site}])
        yield context.new_page()


def send(page: Page, *paths: Path) -> None:
    page.goto("/upload/")
    page.locator("#id_files").set_input_files(list(paths))
    page.get_by_role("button", name="Upload").click()


def test_form_without_scripts_stores_one_file(plain: Page, bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_bytes(b"no scripts")
    send(plain, path)
    expect(plain.get_by_role("heading", level=1)).to_have_text("1 of 1 stored")
    plain.get_by_role("link", name="plain.txt").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("plain.txt")
    assert bucket.read(File.objects.get(state=State.AVAILABLE).key) == b"no scripts"


def test_form_without_scripts_stores_several_files(plain: Page, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "<img src=x onerror=alert(1)>.png", "empty")]
    for path in paths:
        path.write_bytes(b"" if path.name == "empty" else b"x")
    send(plain, *paths)
    expect(plain.get_by_role("heading", level=1)).to_have_text("3 of 3 stored")
    assert plain.locator("img[src=x]").count() == 0
    assert sorted(File.objects.values_list("name", flat=True)) == sorted(path.name for path in paths)


def test_form_without_file_shows_error(plain: Page) -> None:
    plain.goto("/upload/")
    plain.get_by_role("button", name="Upload").click()
    expect(plain.get_by_role("alert")).to_contain_text("Choose at least one file")


def test_form_without_scripts_trashes_and_restores(plain: Page, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"x")
    send(plain, path)
    plain.get_by_role("link", name="note.txt").click()
    plain.locator("summary", has_text="File options").click()
    plain.get_by_role("button", name="Move to trash").click()
    expect(plain.get_by_text("to trash.")).to_be_visible()
    plain.get_by_role("button", name="Undo").click()
    expect(plain.get_by_role("link", name="note.txt")).to_be_visible()


def test_sign_in_and_sign_out(page: Page, transactional_db: None, alice: User, small_parts_site: str) -> None:
    page.goto(small_parts_site)
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("correct horse battery staple")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("No files yet")
    page.get_by_text("Account: alice").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_boosted_navigation_sets_title_focus_and_url(uploader: UploaderPage) -> None:
    page = uploader.page
    page.evaluate("window.samePage = true")
    page.get_by_role("link", name="Trash").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Trash")
    expect(page).to_have_title("Trash · Amalga")
    expect(page).to_have_url(f"{uploader.site}/trash/")
    expect(page.locator("#main")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Library")
    assert page.evaluate("window.samePage")  # the page was not reloaded, so an upload would have continued


def test_upload_continues_across_pages(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("on the way.txt", b"on the way"))
    blocked.wait_for(1, uploader.page)
    uploader.page.get_by_role("link", name="Trash").click()
    expect(uploader.page.get_by_role("heading", level=1)).to_have_text("Trash")
    uploader.page.go_back()
    blocked.release()
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.page.locator("#list")).to_contain_text("on the way.txt")


@pytest.mark.parametrize("way", ["back", "link"])
def test_list_that_was_requested_before_files_were_stored_is_reloaded_once(
    way: str, uploader: UploaderPage, bucket: Bucket
) -> None:
    page = uploader.page
    blocked = uploader.block_puts(lambda count: True)
    outdated: list[Route] = []
    requests: list[str] = []
    uploader.drop(uploader.file("on the way.txt"))
    blocked.wait_for(1, page)
    page.get_by_role("link", name="Trash").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Trash")
    page.on("request", lambda request: requests.append(request.url))
    page.route(f"{uploader.site}/", lambda route: outdated.append(route), times=1)
    page.go_back() if way == "back" else page.locator(".brand").click()
    while not outdated:
        page.wait_for_timeout(50)
    response = outdated[0].fetch()
    blocked.release()
    uploader.expect_receipt("1 of 1 stored, size verified")
    outdated[0].fulfill(response=response)
    expect(page.locator("#list")).to_contain_text("on the way.txt")
    page.wait_for_timeout(500)  # a further request would follow at once
    assert requests.count(f"{uploader.site}/") == 2, "the page, and its list after the upload"


def test_list_of_a_search_stays_filtered_after_an_upload(uploader: UploaderPage, alice: User) -> None:
    for name in ("plan.txt", "other.txt"):
        file_rows.create_row(alice, State.AVAILABLE, name=name)
    uploader.page.reload()
    uploader.page.get_by_role("searchbox").fill("plan")
    expect(uploader.page.locator("#list")).not_to_contain_text("other.txt")
    uploader.drop(uploader.file("plan b.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.page.locator("#list")).to_contain_text("plan b.txt")
    expect(uploader.page.locator("#list")).not_to_contain_text("other.txt")


def test_user_without_role_sees_notice(
    page: Page,
    transactional_db: None,
    charlie: User,
    sign_in: Callable[[User, str], Page],
    small_parts_site: str,
) -> None:
    sign_in(charlie, small_parts_site).goto(small_parts_site)
    expect(page.get_by_role("heading", level=1)).to_contain_text("have a role yet")
    assert page.locator("#tray").count() == 0


def test_pages_fit_narrow_screen(uploader: UploaderPage) -> None:
    uploader.page.set_viewport_size(NARROW)
    for path in ("/", "/upload/", "/trash/", "/unfinished/", "/nothing-here"):
        uploader.page.goto(uploader.site + path)
        assert uploader.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], path


def test_long_name_and_tray_fit_narrow_screen(uploader: UploaderPage) -> None:
    uploader.page.set_viewport_size(NARROW)
    uploader.drop(uploader.file("long-" * 40 + "name.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert uploader.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    uploader.rows.first.get_by_role("link").click()
    expect(uploader.page.get_by_role("link", name="Download")).to_be_visible()
    assert uploader.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_page_without_crypto_explains_and_keeps_form(uploader: UploaderPage) -> None:
    uploader.page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', {get: () => undefined})")
    uploader.page.goto(f"{uploader.site}/upload/")
    expect(uploader.page.get_by_text("plain HTTP")).to_be_visible()
    uploader.page.locator("#id_files").set_input_files(uploader.file("by form.txt"))
    uploader.page.get_by_role("button", name="Upload").click()
    expect(uploader.page.get_by_role("heading", level=1)).to_have_text("1 of 1 stored")


def test_row_actions_without_scripts_are_links(plain: Page, alice: User) -> None:
    file_rows.create_row(alice, State.AVAILABLE, name="plan.txt")
    plain.goto("/")
    plain.locator(".file-row").hover()
    assert plain.locator(".row-action:visible").count() == 2, "copying needs scripts"
    plain.get_by_role("button", name="Actions for plan.txt").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("plan.txt")


def test_click_without_a_connection_shows_a_message(uploader: UploaderPage) -> None:
    page = uploader.page
    page.wait_for_load_state("networkidle")  # htmx has taken over the links
    page.context.set_offline(True)
    page.get_by_role("link", name="Trash").click()
    expect(page.locator("#toast")).to_have_text("Can't connect. Check your connection and try again.")
    page.evaluate("document.getElementById('toast').remove()")
    page.evaluate("document.body.dispatchEvent(new CustomEvent('files-stored'))")  # no one has clicked
    page.wait_for_timeout(300)
    expect(page.locator("#toast")).to_have_count(0)
    page.context.set_offline(False)
    page.get_by_role("link", name="Trash").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Trash")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_bar_shows_that_a_slow_page_is_loading(
    motion: Literal["no-preference", "reduce"], uploader: UploaderPage
) -> None:
    page = uploader.page
    page.emulate_media(reduced_motion=motion)
    waiting: list[Route] = []
    page.wait_for_load_state("networkidle")  # htmx has taken over the links
    page.route("**/trash/", lambda route: waiting.append(route))
    style = """(() => { const { content, transform } = getComputedStyle(document.body, "::before");
        return [content, transform]; })()"""
    page.get_by_role("link", name="Trash").click()
    page.wait_for_timeout(1000)
    content, transform = page.evaluate(style)
    assert content == '""'
    assert float(transform.removeprefix("matrix(").split(",")[0]) > 0.2
    waiting[0].continue_()
    expect(page.get_by_role("heading", level=1)).to_have_text("Trash")
    assert page.evaluate(style)[0] == "none"
