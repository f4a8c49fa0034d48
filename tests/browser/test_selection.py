"""Selection in a list: clicks, keys, ranges, rectangles, and all pages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import NAMES
from tests.browser.uploader_page import UploaderPage
from tests.support import file_rows
from uploads.models import State

pytestmark = pytest.mark.slow


@pytest.fixture
def two_pages(listed: Page, uploader: UploaderPage, alice: User) -> Page:
    """The same list with so many files that they need a second page."""
    for number in range(50):
        file_rows.create_row(alice, State.AVAILABLE, name=f"plan {number}.txt")
    listed.goto(f"{uploader.site}/?sort=name")
    return listed


def selected(page: Page) -> list[int]:
    picks: Any = page.locator(".row-checkbox")
    return [n for n in range(picks.count()) if picks.nth(n).is_checked()]


def count_of(page: Page) -> Any:
    return expect(page.locator(".bulk-count"))


def test_shift_click_selects_range(listed: Page) -> None:
    expect(listed.locator(".bulk-bar")).to_be_hidden()
    listed.locator(".row-checkbox").nth(1).click()
    listed.locator(".row-checkbox").nth(4).click(modifiers=["Shift"])
    assert selected(listed) == [1, 2, 3, 4]
    count_of(listed).to_have_text("4 selected")
    listed.get_by_label("Select all on this page").click()
    assert selected(listed) == [0, 1, 2, 3, 4, 5]
    listed.keyboard.press("Escape")
    assert selected(listed) == []


def test_arrow_space_and_enter_move_select_and_open(listed: Page) -> None:
    for key in ("ArrowDown", "ArrowDown", "Space", "ArrowDown", "ArrowDown", "Shift+Space"):
        listed.keyboard.press(key)
    assert selected(listed) == [1, 2, 3]
    listed.keyboard.press("ArrowUp")
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("heading", level=1)).to_have_text(NAMES[2])


def test_click_in_a_row_selects_it(listed: Page) -> None:
    listed.locator(".file-row").nth(0).locator("time").click()
    listed.locator(".file-row").nth(1).locator("time").click()
    assert selected(listed) == [1]
    listed.locator(".file-row").nth(2).locator("time").click(modifiers=["ControlOrMeta"])
    assert selected(listed) == [1, 2]
    listed.locator(".file-row").nth(3).locator("time").click(modifiers=["Shift"])
    assert selected(listed) == [1, 2, 3]
    listed.locator(".file-row").nth(3).locator("time").click()
    assert selected(listed) == [3]
    listed.locator(".file-row").nth(3).locator("time").click()
    assert selected(listed) == []


def test_rectangle_drawn_beside_the_files_selects_them(listed: Page, uploader: UploaderPage) -> None:
    listed.goto(f"{uploader.site}/?sort=name&view=grid")
    cards = [card.bounding_box() for card in listed.locator(".card:not([data-folder])").all()]
    first, second = cards[0], cards[1]
    assert first
    assert second
    count, mouse = listed.locator(".bulk-count"), listed.mouse
    mouse.move(first["x"] - 6, first["y"] + first["height"] - 10)  # between two cards
    mouse.down()
    mouse.move(second["x"] + 8, first["y"] + 20, steps=5)
    expect(listed.locator(".selection-rectangle")).to_be_visible()
    mouse.up()
    expect(count).to_have_text("2 selected")
    expect(listed.locator(".selection-rectangle")).to_have_count(0)
    mouse.move(second["x"] + 400, second["y"] + 400)
    expect(count).to_have_text("2 selected")
    assert listed.evaluate("getSelection().toString()") == ""
    mouse.click(first["x"] - 6, first["y"] + 20)
    expect(listed.locator(".bulk-bar")).to_be_hidden()


def test_unticked_row_ends_the_selection_of_all_pages(two_pages: Page) -> None:
    two_pages.get_by_label("Select all on this page").check()
    every_page = two_pages.get_by_label("Select all, on every page")
    every_page.check()
    two_pages.get_by_label("Select note 0.txt").uncheck()
    expect(every_page).not_to_be_checked()
    expect(two_pages.locator(".bulk-count")).to_have_text("49 selected")


def test_shift_and_arrows_extend_and_shrink_the_selection(listed: Page) -> None:
    listed.locator(".row-checkbox").nth(1).click()
    for key, expected in (("Down", [1, 2]), ("Down", [1, 2, 3]), ("Up", [1, 2]), ("Up", [1]), ("Up", [0, 1])):
        listed.keyboard.press(f"Shift+Arrow{key}")
        assert selected(listed) == expected
    count_of(listed).to_have_text("2 selected")


def test_ctrl_a_selects_the_page_and_marked_text_does_not_block_clicks(listed: Page) -> None:
    listed.locator(".file-row").nth(1).locator("time").click()
    listed.keyboard.press("ControlOrMeta+a")
    count_of(listed).to_have_text("6 selected")
    assert listed.evaluate("getSelection().toString()") == ""
    listed.evaluate("getSelection().selectAllChildren(document.body)")
    listed.locator(".file-row").nth(2).locator("time").click()
    assert selected(listed) == [2]
    search = listed.get_by_role("searchbox")
    search.fill("note")
    expect(listed).to_have_url(re.compile("q=note"))
    search.press("ControlOrMeta+a")
    expect(listed.locator(".bulk-bar")).to_be_hidden()
    search.press_sequentially("plan")
    expect(search).to_have_value("plan")


def test_rectangle_that_is_held_at_the_edge_scrolls(two_pages: Page) -> None:
    first = two_pages.locator(".file-row").first.bounding_box()
    assert first
    two_pages.mouse.move(first["x"] - 8, first["y"] + 4)
    two_pages.mouse.down()
    bottom = two_pages.evaluate("innerHeight") - 4
    two_pages.mouse.move(first["x"] + 40, bottom, steps=3)
    before = len(selected(two_pages))
    expect(two_pages.locator(".row-checkbox").nth(before + 10)).to_be_checked()
    two_pages.mouse.up()
    top = two_pages.evaluate("scrollY")
    two_pages.wait_for_timeout(200)
    assert two_pages.evaluate("scrollY") == top > 0
    listed_count = len(selected(two_pages))
    two_pages.keyboard.press("Shift+ArrowDown")
    assert len(selected(two_pages)) == listed_count + 1


def test_count_of_all_pages_that_arrives_late_is_not_shown(two_pages: Page) -> None:
    waiting: list[Route] = []
    two_pages.route("**/files/selected", lambda route: waiting.append(route))
    two_pages.get_by_label("Select all on this page").check()
    with two_pages.expect_request("**/files/selected"):
        two_pages.get_by_label("Select all, on every page").check()
    two_pages.locator(".row-checkbox").nth(3).uncheck()
    count_of(two_pages).to_have_text("49 selected")
    for route in waiting:
        route.continue_()
    two_pages.wait_for_timeout(300)
    count_of(two_pages).to_have_text("49 selected")


def test_second_page_stays_after_an_action_while_it_has_rows(two_pages: Page, alice: User) -> None:
    file_rows.create_row(alice, State.AVAILABLE, name="plan 50.txt")
    two_pages.get_by_role("link", name="Next").click()
    expect(two_pages.locator(".file-row")).to_have_count(7)
    two_pages.locator(".row-checkbox").first.check()
    two_pages.keyboard.press("Delete")
    expect(two_pages.locator(".file-row")).to_have_count(6)
    two_pages.get_by_label("Select all on this page").check()
    two_pages.keyboard.press("Delete")
    expect(two_pages.get_by_text("Moved 6 files to trash.")).to_be_visible()
    expect(two_pages.locator(".file-row")).to_have_count(50)


def test_selection_does_not_pass_to_other_files_after_a_full_load(
    listed: Page, uploader: UploaderPage, alice: User
) -> None:
    for name in NAMES[:2]:
        listed.get_by_label(f"Select {name}").check()
    listed.goto(f"{uploader.site}/accounts/security/")
    file_rows.create_row(alice, State.AVAILABLE, name="a new file.txt")
    listed.go_back()
    expect(listed.locator(".file-row")).to_have_count(7)
    assert selected(listed) == []
