"""The pages of a PDF on the page of the file, in the lightbox and on the page of a share link."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from playwright.sync_api import Locator, Page, expect

from tests.conftest import signed_in
from tests.support.pictures import as_file, document, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from tests.support.waiting import wait_until
from uploads import services
from uploads.models import File
from uploads.services import share_links
from uploads.services.share_links import ShareOptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SignIn = Callable[[User, str], Page]


def send(owner: User, count: int, name: str = "report.pdf") -> File:
    file = UploadClient(signed_in(owner)).send(document(count), name=name)
    services.make_previews(file)
    return file


def send_with_pages(owner: User, count: int, name: str = "report.pdf") -> File:
    file = send(owner, count, name)
    services.make_pages(file)
    return file


def loaded(pages: Locator) -> list[int]:
    """Return the numbers of the pages whose images are loaded."""
    widths: list[int] = pages.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    return [number for number, width in enumerate(widths, start=1) if width]


def test_pages_of_a_document_scroll_and_load_when_they_come_into_view(
    alice: User, bucket: Bucket, site: str, sign_in: SignIn
) -> None:
    file = send_with_pages(alice, 25)
    page = sign_in(alice, site)
    page.goto(site + file.get_absolute_url(), wait_until="networkidle")
    pages = page.get_by_role("region", name="Pages of report.pdf")
    expect(pages.locator("figcaption")).to_have_count(20)
    expect(pages.locator("figcaption").last).to_have_text("Page 20 of 25")
    expect(page.locator("#preview")).to_contain_text("The preview shows pages 1 to 20 of 25.")
    assert 1 in loaded(pages)
    assert 20 not in loaded(pages)
    assert Axe().run(page).response["violations"] == []
    height = pages.evaluate("pages => pages.scrollHeight")
    pages.focus()
    page.keyboard.press("End")
    wait_until(lambda: 20 in loaded(pages))
    assert pages.evaluate("pages => pages.scrollTop") > height / 2
    assert pages.evaluate("pages => pages.scrollHeight") == height  # nothing has shifted


def test_lightbox_scrolls_through_a_document(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = send_with_pages(alice, 5)
    photo = UploadClient(signed_in(alice)).send(as_file(two_halves()), name="zebra.png")
    services.make_previews(photo)
    page = sign_in(alice, site)
    page.goto(f"{site}{file.get_absolute_url()}?from=/%3Fsort%3Dname")
    page.locator("#preview .document img").nth(1).click()
    stage = page.locator("#lightbox [data-ref=stage]")
    expect(stage.locator("figcaption")).to_have_count(5)
    assert stage.locator("figure").nth(1).bounding_box()["y"] < 120  # type: ignore[index]
    assert Axe().run(page).response["violations"] == []
    top = stage.evaluate("stage => stage.scrollTop")
    page.keyboard.press("PageDown")
    wait_until(lambda: stage.evaluate("stage => stage.scrollTop") > top + 200)
    page.keyboard.press("Home")
    wait_until(lambda: stage.evaluate("stage => stage.scrollTop") == 0)
    width = stage.locator("img").first.evaluate("image => image.clientWidth")
    page.keyboard.press("+")
    assert stage.locator("img").first.evaluate("image => image.clientWidth") > width
    page.keyboard.press("-")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#lightbox strong")).to_have_text("zebra.png")
    expect(stage.locator("figure")).to_have_count(0)
    assert "scrolls" not in (stage.get_attribute("class") or "")
    page.keyboard.press("ArrowLeft")
    expect(stage.locator("figcaption").first).to_have_text("Page 1 of 5")
    page.keyboard.press("Escape")
    expect(page.locator("#lightbox")).to_be_hidden()


def test_enlarged_document_begins_at_the_page_that_is_read_and_keeps_it_while_zooming(
    alice: User, bucket: Bucket, site: str, sign_in: SignIn
) -> None:
    file = send_with_pages(alice, 6)
    page = sign_in(alice, site)
    page.goto(site + file.get_absolute_url())
    page.locator("#preview .document figure").nth(3).scroll_into_view_if_needed()
    page.locator("#preview .document").evaluate(
        "pages => pages.scrollTop = pages.children[3].offsetTop - pages.offsetTop"
    )
    page.get_by_role("button", name="Enlarge").click()
    fourth = page.locator("#lightbox figure").nth(3)
    expect(fourth).to_be_in_viewport()
    page.mouse.move(600, 400)
    page.mouse.wheel(0, 200)
    page.wait_for_timeout(200)
    page.mouse.click(640, 400)  # on the page: it zooms there
    assert "zoomed" in (page.locator("#lightbox [data-ref=stage]").get_attribute("class") or "")
    expect(fourth).to_be_in_viewport()
    before = fourth.bounding_box()
    page.mouse.down()
    page.mouse.move(640, 300, steps=3)
    page.mouse.up()
    after = fourth.bounding_box()
    assert before is not None
    assert after is not None
    assert after["y"] < before["y"] - 80


def test_page_polls_until_the_pages_are_made(alice: User, bucket: Bucket, site: str, sign_in: SignIn) -> None:
    file = send(alice, 3)
    page = sign_in(alice, site)
    page.goto(site + file.get_absolute_url())
    expect(page.locator("#preview")).to_contain_text("Page 1 of 3. Creating previews of the other pages.")
    enlarge = page.get_by_role("button", name="Enlarge")
    enlarge.focus()
    with page.expect_response("**?pages=waiting") as polled:
        pass
    assert polled.value.status == 204
    expect(enlarge).to_be_focused()
    services.make_pages(file)
    expect(page.locator("#preview figcaption")).to_have_text(
        ["Page 1 of 3", "Page 2 of 3", "Page 3 of 3"], timeout=10_000
    )
    expect(page.get_by_role("button", name="Enlarge")).to_be_focused()


def test_shared_document_shows_its_pages(alice: User, bucket: Bucket, site: str, page: Page) -> None:
    file = send_with_pages(alice, 3)
    _link, token = share_links.share_file(file, ShareOptions(days=7, view_only=True), by=alice)
    page.goto(f"{site}/s/{token}/", wait_until="networkidle")
    pages = page.get_by_role("region", name="Pages of report.pdf")
    pages.focus()
    page.keyboard.press("End")
    wait_until(lambda: loaded(pages) == [1, 2, 3])
    assert Axe().run(page).response["violations"] == []
