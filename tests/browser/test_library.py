"""Finding, selecting and ordering files, as hands do it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from tests.browser.hands import Hands
from tests.support import rows
from tests.support.stores import Bucket
from uploads.models import File, Folder, State
from uploads.services import folders

NAMES = [f"note {n}.txt" for n in range(6)]


@pytest.fixture
def logos(alice: User) -> Folder:
    made = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    assert isinstance(made, Folder)
    return made


@pytest.fixture
def listed(hands: Hands, alice: User) -> Page:
    """Alice before six files, the first of them on top."""
    for name in NAMES:
        rows.make_row(alice, State.AVAILABLE, name=name)
    hands.page.goto(f"{hands.site}/?sort=name")
    return hands.page


def ticked(page: Page) -> list[int]:
    picks: Any = page.locator(".row-checkbox")
    return [n for n in range(picks.count()) if picks.nth(n).is_checked()]


def count_of(page: Page) -> Any:
    return expect(page.locator(".bulk-count"))


# --- search -----------------------------------------------------------------------------------


def test_results_come_as_one_types_and_stand_in_the_address(listed: Page, hands: Hands) -> None:
    listed.locator("#q").press_sequentially("note 3", delay=30)
    expect(listed.locator(".file-row")).to_have_count(1)
    expect(listed).to_have_url(f"{hands.site}/?q=note%203&sort=name")
    expect(listed.locator("#q")).to_be_focused()
    expect(listed.locator("#live-region")).to_have_text("1 file")
    listed.reload()
    expect(listed.locator("#q")).to_have_value("note 3")
    expect(listed.locator(".file-row")).to_have_count(1)


def test_a_chosen_filter_keeps_what_was_typed_and_the_focus(listed: Page) -> None:
    listed.locator("#q").fill("note")
    expect(listed).to_have_url(re.compile(r"q=note"))
    listed.get_by_label("Size").focus()
    listed.get_by_label("Size").select_option("over-1gb")
    expect(listed.get_by_role("heading", name="Nothing found")).to_be_visible()
    expect(listed).to_have_url(re.compile(r"q=note.*size=over-1gb"))
    expect(listed.get_by_label("Size")).to_be_focused()
    listed.get_by_role("link", name="Clear search and filters").click()
    expect(listed.locator(".file-row")).to_have_count(6)
    expect(listed.locator("#q")).to_have_value("")


# --- selecting --------------------------------------------------------------------------------


def test_shift_selects_a_range(listed: Page) -> None:
    expect(listed.locator(".bulk-bar")).to_be_hidden()
    listed.locator(".row-checkbox").nth(1).click()
    listed.locator(".row-checkbox").nth(4).click(modifiers=["Shift"])
    assert ticked(listed) == [1, 2, 3, 4]
    count_of(listed).to_have_text("4 selected")
    listed.get_by_label("Select all on this page").click()
    assert ticked(listed) == [0, 1, 2, 3, 4, 5]
    listed.keyboard.press("Escape")
    assert ticked(listed) == []


def test_keys_go_through_the_list_select_and_open(listed: Page) -> None:
    for key in ("ArrowDown", "ArrowDown", "Space", "ArrowDown", "ArrowDown", "Shift+Space"):
        listed.keyboard.press(key)
    assert ticked(listed) == [1, 2, 3]
    listed.keyboard.press("ArrowUp")
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("heading", level=1)).to_have_text(NAMES[2])


def test_delete_moves_to_the_trash_and_undo_brings_back(listed: Page) -> None:
    listed.keyboard.press("ArrowDown")
    listed.keyboard.press("Delete")
    expect(listed.get_by_text("1 file is in the trash.")).to_be_visible()
    assert File.objects.get(state=State.TRASHED).name == NAMES[0]
    listed.get_by_role("button", name="Undo").click()
    expect(listed.locator(".file-row")).to_have_count(6)
    assert not File.objects.trashed().exists()


def test_slash_searches_and_a_question_mark_shows_the_keys(listed: Page) -> None:
    listed.keyboard.press("/")
    expect(listed.locator("#q")).to_be_focused()
    expect(listed.locator("#q")).to_have_value("")
    listed.keyboard.press("Escape")
    listed.keyboard.press("?")
    expect(listed.get_by_role("dialog", name="Keyboard")).to_be_visible()
    listed.keyboard.press("Escape")
    expect(listed.get_by_role("dialog", name="Keyboard")).to_be_hidden()


def test_files_are_moved_together(listed: Page, logos: Folder) -> None:
    for n in (0, 5):
        listed.locator(".row-checkbox").nth(n).click()
    listed.get_by_role("button", name="Move", exact=True).click()
    expect(listed.get_by_role("heading", level=1)).to_have_text("Move 2 files to …")
    listed.get_by_label("Find a folder").fill("logo")
    listed.get_by_role("button", name="Find").click()
    listed.get_by_label("Brand › Logos").check()
    listed.get_by_role("button", name="Move here").click()
    expect(listed.get_by_text("2 files are in “Logos” now.")).to_be_visible()
    assert sorted(logos.files.values_list("name", flat=True)) == [NAMES[0], NAMES[5]]


# --- folders and versions ---------------------------------------------------------------------


def test_a_drop_goes_into_the_folder_that_is_open(hands: Hands, logos: Folder, bucket: Bucket) -> None:
    hands.page.goto(hands.site + logos.get_absolute_url())
    hands.drop(hands.file("dark.png", b"dark"), hands.file("old/light.png", b"light").parent)
    hands.sees("2 of 2 stored, size verified")
    expect(hands.page.locator("#list")).to_contain_text("dark.png")
    stored = {rows.path_of(file): bucket.read(file.key) for file in File.objects.available()}
    assert stored == {"Brand/Logos/dark.png": b"dark", "Brand/Logos/old/light.png": b"light"}


def test_the_page_says_where_a_drop_goes(hands: Hands, logos: Folder) -> None:
    hands.page.goto(hands.site + logos.get_absolute_url())
    session = hands.page.context.new_cdp_session(hands.page)
    data = {"items": [], "files": [str(hands.file("a.txt"))], "dragOperationsMask": 1}
    session.send("Input.dispatchDragEvent", {"type": "dragEnter", "x": 200, "y": 200, "data": data})
    expect(hands.page.locator("#drop-overlay")).to_have_text("Drop to upload into Brand › Logos")
    session.send("Input.dispatchDragEvent", {"type": "dragCancel", "x": 200, "y": 200, "data": data})


def test_a_half_sent_file_goes_on_in_its_folder(hands: Hands, logos: Folder) -> None:
    hands.page.goto(hands.site + logos.get_absolute_url())
    held = hands.hold(lambda count: count > 2)
    large = hands.large()
    hands.drop(large)
    held.wait_for(1, hands.page)
    held.cut()
    hands.page.on("dialog", lambda dialog: dialog.accept())
    hands.page.goto(hands.site + logos.get_absolute_url())
    held.reconnect()
    hands.drop(large)
    hands.sees("1 of 1 stored, size verified")
    assert File.objects.count() == 1


def test_a_drop_on_a_file_becomes_its_new_version(hands: Hands, alice: User, bucket: Bucket) -> None:
    file = rows.make_row(alice, State.AVAILABLE, name="logo.png")
    hands.page.goto(hands.site + file.get_absolute_url())
    hands.drop(hands.file("logo final.png", b"newer"))
    hands.sees("1 of 1 stored, size verified")
    found = File.objects.by_link(file.pk).get()
    assert (found.name, found.pk == file.pk, bucket.read(found.key)) == ("logo.png", False, b"newer")


def test_two_files_do_not_replace_one(hands: Hands, alice: User) -> None:
    file = rows.make_row(alice, State.AVAILABLE, name="logo.png")
    hands.page.goto(hands.site + file.get_absolute_url())
    hands.drop(hands.file("a.png"), hands.file("b.png"))
    hands.sees("1 of 2 stored, size verified. 1 failed")
    expect(hands.tray).to_contain_text("One file at a time can take the place of another")
    assert File.objects.versions_of(File.objects.by_link(file.pk).get()).count() == 2


def test_a_file_is_renamed_tagged_and_its_link_copied(hands: Hands, alice: User) -> None:
    file = rows.make_row(alice, State.AVAILABLE, name="plan.txt")
    page = hands.page
    page.goto(hands.site + file.get_absolute_url())
    page.get_by_label("Name", exact=True).fill("plan B.txt")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("plan B.txt")
    page.get_by_label("New tags, with commas between").fill("spring, logo")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Take off logo").click()
    expect(page.locator(".tag")).to_have_count(1)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert (File.objects.get().name, File.objects.get().taggings.get().tag.name) == ("plan B.txt", "spring")


def test_spanish_is_a_click_away(page: Page, sign_in: Callable[[User, str], Page], alice: User,
                                 transactional_db: None, small_parts_site: str, tmp_path: Path) -> None:  # fmt: skip
    sign_in(alice, small_parts_site).goto(small_parts_site)
    page.get_by_text("Account: alice").click()
    page.get_by_role("button", name="Español").click()
    expect(page.locator("html")).to_have_attribute("lang", "es")
