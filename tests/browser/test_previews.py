"""Previews in a browser, with the content security policy, storage and worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.conftest import signed_in
from tests.support.pictures import as_file, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import services
from uploads.models import File

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SignIn = Callable[[User, str], Page]


def shown(owner: User, body: bytes, name: str) -> File:
    file = UploadClient(signed_in(owner)).send(body, name=name)
    services.make_previews(file)
    return file


def test_image_preview_is_shown_and_cached(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = shown(alice, as_file(two_halves()), "photo.png")
    page = sign_in(alice, site)
    preview_urls: list[str] = []
    page.on("requestfinished", lambda request: preview_urls.append(request.url) if "/p/" in request.url else None)
    for _time in range(2):
        page.goto(site + file.get_absolute_url(), wait_until="networkidle")
        picture = page.locator("img[src$='/preview']")
        assert picture.evaluate("image => image.naturalWidth") == 640
    assert len(set(preview_urls)) == 1


def test_text_preview_is_shown_without_running_scripts(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = shown(alice, b"<html><script>top.document.title = 'taken'</script>words</html>", "page.html")
    page = sign_in(alice, site)
    page.goto(site + file.get_absolute_url())
    expect(page.frame_locator("iframe").locator("body")).to_contain_text("<script>top.document.title")
    assert page.title() != "taken"


def swipe_left(page: Page) -> None:
    page.mouse.move(800, 400)
    page.mouse.down()
    page.mouse.move(600, 410, steps=4)
    page.mouse.up()


def test_lightbox_moves_through_the_list_and_closes_at_the_shown_file(
    alice: User, bucket: Bucket, site: str, sign_in: SignIn
) -> None:
    first, second = (shown(alice, as_file(two_halves(900, size)), f"{size}.png") for size in (500, 600))
    page = sign_in(alice, site)
    page.goto(f"{site}{first.get_absolute_url()}?from=/%3Fsort%3Dname")
    page.locator("#preview img").click()
    dialog, image = page.locator("#lightbox"), page.locator("#lightbox img")
    expect(dialog.locator("strong")).to_have_text("500.png")
    expect(dialog.get_by_text("1 of 2", exact=True)).to_be_visible()
    assert Axe().run(page).response["violations"] == []
    page.wait_for_function("document.querySelector('#lightbox img').naturalHeight === 500")
    width = image.evaluate("image => image.clientWidth")
    dialog.get_by_label("Zoom in").click()
    assert image.evaluate("image => image.clientWidth") > width
    dialog.get_by_label("Next file").click()
    expect(dialog.locator("strong")).to_have_text("600.png")
    expect(dialog.get_by_text("2 of 2", exact=True)).to_be_visible()
    expect(dialog.get_by_label("Next file")).to_be_disabled()
    page.keyboard.press("ArrowLeft")  # the disabled button has lost the focus
    expect(dialog.locator("strong")).to_have_text("500.png")
    swipe_left(page)
    expect(dialog.locator("strong")).to_have_text("600.png")
    page.wait_for_function("document.querySelector('#lightbox img').naturalHeight === 600")
    page.keyboard.press("Escape")
    page.wait_for_url(f"**{second.get_absolute_url()}**")
    expect(page.locator("#lightbox")).to_be_hidden()


def test_closed_lightbox_returns_the_focus(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = shown(alice, as_file(two_halves()), "photo.png")
    page = sign_in(alice, site)
    page.goto(site + file.get_absolute_url())
    page.get_by_role("button", name="Enlarge").press("Enter")
    expect(page.locator("#lightbox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Enlarge")).to_be_focused()
    assert Axe().run(page).response["violations"] == []


def test_lightbox_downloads_files_and_shows_the_icon_of_those_without_a_preview(
    alice: User, bucket: Bucket, site: str, sign_in: SignIn
) -> None:
    photo = shown(alice, as_file(two_halves()), "a photo.png")
    shown(alice, b"PK\x05\x06" + bytes(18), "an archive.zip")
    page = sign_in(alice, site)
    page.goto(f"{site}{photo.get_absolute_url()}?from=/%3Fsort%3Dname")
    page.get_by_role("button", name="Enlarge").click()
    download = page.locator("#lightbox").get_by_role("link", name="Download")
    expect(download).to_have_attribute("href", f"{photo.get_absolute_url()}download")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#lightbox strong")).to_have_text("an archive.zip")
    expect(page.locator("#lightbox .file-icon")).to_be_visible()
    expect(page.locator("#lightbox")).to_contain_text("No preview available")
    assert Axe().run(page).response["violations"] == []
    with page.expect_download() as downloaded:
        download.click()
    assert downloaded.value.suggested_filename == "an archive.zip"
