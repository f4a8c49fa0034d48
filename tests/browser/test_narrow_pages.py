"""Pages on a phone, 360 pixels wide: nothing is cut off or covered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Locator, expect

from tests.browser.uploader_page import UploaderPage
from tests.support import factories
from uploads.models import Folder, State
from uploads.services import folders

pytestmark = pytest.mark.slow

NARROW: Any = {"width": 360, "height": 740}


def box(locator: Locator) -> dict[str, float]:
    place: Any = locator.bounding_box()
    left, top = place["x"], place["y"]
    return {"left": left, "top": top, "right": left + place["width"], "bottom": top + place["height"]}


@pytest.fixture
def narrow(uploader: UploaderPage, alice: User) -> UploaderPage:
    for number in range(3):
        factories.create_file(alice, name=f"report {number}.txt")
    uploader.page.set_viewport_size(NARROW)
    uploader.page.goto(uploader.site)
    return uploader


def test_bulk_bar_shows_every_action(narrow: UploaderPage) -> None:
    narrow.page.locator(".row-checkbox").first.check()
    bar = narrow.page.locator(".bulk-bar")
    for element in bar.locator("> :visible").all():
        place = box(element)
        assert place["left"] >= 0, element.text_content()
        assert place["right"] <= NARROW["width"], element.text_content()
    for button in bar.locator("> [name=do], > [data-do], summary").all():
        icon = button.evaluate("element => getComputedStyle(element, '::before').maskImage")
        assert icon.startswith("url("), button.text_content()
    bar.get_by_text("Visibility").click()
    menu = box(bar.locator(".menu[open] .menu-list"))
    assert menu["left"] >= 0
    assert menu["right"] <= NARROW["width"]
    assert menu["bottom"] <= box(bar)["top"] + 1


def test_message_of_an_outage_does_not_cover_undo(narrow: UploaderPage) -> None:
    page = narrow.page
    page.emulate_media(reduced_motion="reduce")  # messages stay
    page.locator(".file-row [data-icon=more]").first.click()
    page.get_by_role("menuitem", name="Move to trash").click()
    undo, toast = page.locator(".messages").get_by_role("button", name="Undo"), page.locator("#toast")
    expect(undo).to_be_visible()
    page.context.set_offline(True)
    undo.click()
    expect(toast).to_be_visible()
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 740})
        undo.click(trial=True)
    page.locator(".row-checkbox").first.check()
    undo.click(trial=True)
    page.context.set_offline(False)
    undo.click()
    expect(page.get_by_text("Restored 1 file.")).to_be_visible()


def test_message_does_not_cover_the_bulk_bar(narrow: UploaderPage) -> None:
    page = narrow.page
    page.locator(".file-row [data-icon=more]").first.click()
    page.get_by_role("menuitem", name="Move to trash").click()
    toast = page.locator(".messages")
    expect(toast).to_be_visible()
    page.locator(".row-checkbox").first.check()
    assert box(toast)["bottom"] < box(page.locator(".bulk-bar"))["top"]


def test_header_keeps_one_line_above_the_search(narrow: UploaderPage, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(username="alice.with-a-long-name@example.com")
    for _number in range(12):
        factories.create_file(alice, state=State.UPLOADING)
    page = narrow.page
    page.reload()
    tops = {box(page.locator(place))["top"] for place in (".brand", ".site-nav nav > .button", ".site-nav > .menu")}
    assert max(tops) - min(tops) < 8
    assert box(page.locator(".site-nav > .menu"))["right"] <= NARROW["width"]
    expect(page.get_by_role("link", name="Unfinished 12")).to_be_visible()


@pytest.mark.parametrize("place", ["top level", "folder"])
def test_include_subfolders_is_a_switch_that_shows_its_state(place: str, narrow: UploaderPage, alice: User) -> None:
    page = narrow.page
    logos = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    factories.create_file(alice, name="logo.txt", folder=logos)
    page.goto(narrow.site + ("/" if place == "top level" else Folder.objects.get(name="Brand").get_absolute_url()))
    switch = page.get_by_role("switch", name="Include subfolders")
    expect(switch).not_to_be_checked()
    expect(page.locator("#list")).not_to_contain_text("logo.txt")
    switch.press(" ")
    expect(page.locator("#list")).to_contain_text("logo.txt")
    expect(switch).to_be_checked()
    layout = page.get_by_role("group", name="Layout")
    assert abs(box(layout)["top"] - box(switch)["top"]) < 8  # in one line
    switch.click()
    expect(page.locator("#list")).not_to_contain_text("logo.txt")


def test_account_menu_separates_administration_from_personal_pages(narrow: UploaderPage, alice: User) -> None:
    page = narrow.page
    menu = page.locator(".site-nav .menu-list")
    page.get_by_text("Account: alice").click()
    expect(menu.get_by_role("group", name="Administration")).to_have_count(0)
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    page.reload()
    page.get_by_text("Account: alice").click()
    group = menu.get_by_role("group", name="Administration")
    expect(group.get_by_role("link")).to_have_text(["People", "Quarantine", "Admin"])
    expect(menu.locator(".menu-group").last).to_have_text("Sign out")


def test_chips_and_buttons_of_filters_use_the_whole_width(narrow: UploaderPage, alice: User) -> None:
    page = narrow.page
    page.goto(f"{narrow.site}/?type=text&owner=alice&size=small&q=report")
    button = box(page.locator("#filter-menu"))
    items = [box(item) for item in page.locator(".chips li, .filters > :is(.menu, .button)").all()]
    below = [item["left"] for item in items if item["top"] >= button["bottom"]]
    assert min(below) < button["right"]
    assert box(page.locator(".filters-end"))["right"] <= NARROW["width"]
    page.locator("#filter-menu summary").click()
    menu = page.locator("#filter-menu .menu-list")
    assert box(menu)["right"] <= NARROW["width"]


def test_wrapped_names_of_the_folder_picker_do_not_overlap(narrow: UploaderPage, alice: User) -> None:
    long = "a name of many words that needs several lines on a phone"
    folders.ensure([f"{number} {long}/inside" for number in range(9)], by=alice)
    page = narrow.page
    page.goto(f"{narrow.site}{Folder.objects.get(name__startswith='8').get_absolute_url()}move")
    labels = [box(label) for label in page.locator(".folder-choice label").all()]
    assert len(labels) == 8
    assert all(above["bottom"] <= below["top"] for above, below in itertools.pairwise(labels))
    assert len({label["left"] for label in labels}) == 1


def test_long_username_and_spanish_buttons_fit_the_page_of_a_person(narrow: UploaderPage, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    name = "maximiliane.von-und-zu-hohenstein@a-long-company-name.example.com"
    person = User.objects.create_user(name, email=name)
    page = narrow.page
    page.set_extra_http_headers({"Accept-Language": "es"})
    page.goto(f"{narrow.site}/people/{person.pk}/")
    expect(page.locator("html")).to_have_attribute("lang", "es")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_name_has_a_line_above_the_buttons_of_the_lightbox(narrow: UploaderPage, alice: User) -> None:
    page = narrow.page
    page.locator(".file-row").get_by_role("link", name="report 0.txt").click()
    page.locator("#lightbox").evaluate("dialog => dialog.showModal()")
    page.locator("#lightbox [data-ref=name]").evaluate(
        "name => (name.textContent = 'A name of a file that is long.pdf')"
    )
    name, close = (
        page.locator("#lightbox [data-ref=name]"),
        page.locator("#lightbox").get_by_role("button", name="Close"),
    )
    assert box(name)["bottom"] <= box(close)["top"]
    assert box(close)["right"] <= NARROW["width"]
