"""Row actions: buttons, menu, rename, drag and drop, and selection on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import watched
from tests.browser.test_access import serious_violations
from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.support import file_rows
from uploads.models import AccessLevel, Favorite, File, Folder, State, Visibility
from uploads.services import folders

pytestmark = pytest.mark.slow

HEBREW = "תוכנית עבודה.txt"


@pytest.fixture
def brand(alice: User) -> Folder:
    folder = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(folder, Folder)
    return folder


@pytest.fixture
def listed(uploader: UploaderPage, alice: User, brand: Folder) -> Page:
    """Alice's library with a folder and four files."""
    for name in ("a.txt", "b.txt", "c.txt", HEBREW):
        file_rows.create_row(alice, State.AVAILABLE, name=name)
    uploader.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=uploader.site)
    uploader.page.goto(f"{uploader.site}/?sort=name")
    return uploader.page


def row(page: Page, name: str) -> Locator:
    return page.locator(".file-row", has_text=name)


def menu_of(page: Page) -> list[str]:
    return page.locator("#row-menu [role=menuitem]").all_inner_texts()


# --- menu -------------------------------------------------------------------------------------


def test_menu_of_a_row_opens_by_button_pointer_and_keyboard(listed: Page) -> None:
    row(listed, "a.txt").get_by_role("button", name="Actions for a.txt").click()
    assert menu_of(listed) == [
        "Open", "Download", "Copy link", "Add to favorites", "Rename", "Move", "Tags", "Share", "Make private",
        "Move to trash",
    ]  # fmt: skip
    listed.keyboard.press("Escape")
    expect(row(listed, "a.txt").get_by_role("button", name="Actions")).to_be_focused()
    row(listed, HEBREW).click(button="right")
    expect(listed.get_by_role("menuitem", name="Open")).to_be_focused()
    listed.keyboard.press("End")
    expect(listed.get_by_role("menuitem", name="Move to trash")).to_be_focused()
    listed.keyboard.press("Tab")
    expect(listed.locator("#row-menu")).to_be_hidden()
    listed.get_by_role("link", name="b.txt").focus()
    listed.keyboard.press("Shift+F10")
    listed.keyboard.press("o")
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("heading", level=1)).to_have_text("b.txt")


def test_bar_offers_what_the_user_may_do_with_the_selection(listed: Page, bob: User) -> None:
    file_rows.create_row(bob, State.AVAILABLE, name="bob.txt")
    listed.reload()
    bar = listed.locator(".bulk-bar")
    listed.get_by_label("Select bob.txt").check()
    expect(bar.get_by_role("button", name="Download as ZIP")).to_be_visible()
    for name in ("Move", "Change tags", "Move to trash"):
        expect(bar.get_by_role("button", name=name, exact=True)).to_have_count(0)
    expect(bar.locator("summary")).to_be_hidden()
    listed.get_by_label("Select a.txt").check()
    for name in ("Move", "Change tags", "Move to trash"):
        expect(bar.get_by_role("button", name=name, exact=True)).to_be_visible()
    expect(bar.locator("summary")).to_be_visible()


def test_menu_changes_its_row_and_focus_returns_there(listed: Page) -> None:
    listed.get_by_label("Select c.txt").check()
    row(listed, "a.txt").click(button="right")
    listed.get_by_role("menuitem", name="Make private").click()
    expect(listed.get_by_text("Made 1 file private.")).to_be_visible()
    assert File.objects.get(visibility=Visibility.PRIVATE).name == "a.txt"
    expect(listed.get_by_role("link", name="a.txt")).to_be_focused()
    row(listed, "a.txt").click(button="right")
    expect(listed.get_by_role("menuitem", name="Share with team")).to_be_visible()
    assert "Make private" not in menu_of(listed)


def test_menu_of_a_selected_row_applies_to_the_selection(listed: Page) -> None:
    for name in ("a.txt", "b.txt"):
        listed.get_by_label(f"Select {name}").check()
    row(listed, "b.txt").click(button="right")
    listed.get_by_role("menuitem", name="Move to trash").click()
    expect(listed.get_by_text("Moved 2 files to trash.")).to_be_visible()
    assert set(File.objects.trashed().values_list("name", flat=True)) == {"a.txt", "b.txt"}


def test_link_is_copied_from_the_row(listed: Page, uploader: UploaderPage) -> None:
    row(listed, "a.txt").hover()
    row(listed, "a.txt").get_by_role("button", name="Copy link").click()
    expect(listed.locator("#live-region")).to_have_text("Copied")
    assert listed.evaluate("navigator.clipboard.readText()") == (
        uploader.site + File.objects.get(name="a.txt").get_absolute_url()
    )


@pytest.mark.parametrize("view", ["table", "grid"])
@pytest.mark.parametrize("name", ["a.txt", "Brand"])
def test_menu_changes_favorites(name: str, view: str, listed: Page, uploader: UploaderPage, alice: User) -> None:
    listed.goto(f"{uploader.site}/?sort=name&view={view}")
    for action, confirmation, count in (
        ("Add to favorites", "Added to favorites.", 1),
        ("Remove from favorites", "Removed from favorites.", 0),
    ):
        row(listed, name).click(button="right")
        listed.get_by_role("menuitem", name=action).click()
        expect(listed.locator("#live-region")).to_have_text(confirmation)
        expect(listed.get_by_role("link", name=name).last).to_be_focused()
        expect(listed.locator(".file-row[data-favorite]")).to_have_count(count)
        assert Favorite.objects.of(alice).count() == count


def test_removed_favorite_leaves_the_favorites_and_focus_moves_on(
    listed: Page, uploader: UploaderPage, alice: User
) -> None:
    for file in File.objects.filter(name__in=("a.txt", "b.txt")):
        Favorite.objects.add(alice, file=file.permanent_id)
    listed.goto(f"{uploader.site}/?show=favorites&sort=name")
    row(listed, "a.txt").click(button="right")
    listed.get_by_role("menuitem", name="Remove from favorites").click()
    expect(listed.locator(".file-row")).to_have_count(1)
    expect(listed.get_by_role("link", name="b.txt")).to_be_focused()


def test_download_of_a_folder_leaves_no_selection_and_no_open_menu(
    listed: Page, uploader: UploaderPage, brand: Folder
) -> None:
    listed.goto(uploader.site + brand.get_absolute_url())
    uploader.drop(uploader.file("d.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    listed.goto(uploader.site)
    row(listed, "Brand").click(button="right")
    with listed.expect_download():
        listed.get_by_role("menuitem", name="Download as ZIP").click()
    expect(listed.locator(".bulk-bar")).to_be_hidden()
    row(listed, "Brand").get_by_role("link", name="Brand").click()
    options = listed.locator("details", has=listed.get_by_text("Folder options"))
    options.locator("summary").click()
    with listed.expect_download():
        options.get_by_role("button", name="Download as ZIP").click()
    expect(options.get_by_role("button", name="Download as ZIP")).to_be_hidden()


def test_folder_menu_opens_the_trash_dialog(listed: Page) -> None:
    row(listed, "Brand").click(button="right")
    assert menu_of(listed) == [
        "Open", "Download as ZIP", "Copy link", "Add to favorites", "Rename", "Move", "Share", "Move to trash",
    ]  # fmt: skip
    listed.get_by_role("menuitem", name="Move to trash").click()
    expect(listed.get_by_role("dialog", name="Move “Brand” to trash?")).to_be_visible()


@pytest.mark.parametrize("view", ["table", "grid"])
def test_viewer_sees_only_permitted_menu_items(
    view: str, listed: Page, viewer: User, uploader: UploaderPage, sign_in: Callable[[User, str], Page]
) -> None:
    page = sign_in(viewer, uploader.site)
    page.goto(f"{uploader.site}/?view={view}")
    row(page, "a.txt").get_by_role("button", name="Actions for a.txt").click()
    assert menu_of(page) == ["Open", "Download", "Copy link", "Add to favorites"]


def test_manager_sees_menu_items_that_change_team_files(
    listed: Page, bob: User, uploader: UploaderPage, sign_in: Callable[[User, str], Page]
) -> None:
    bob.groups.set([Group.objects.get(name="managers")])
    page = sign_in(bob, uploader.site)
    page.goto(f"{uploader.site}/?view=grid")
    row(page, "a.txt").click(button="right")
    assert menu_of(page) == [
        "Open", "Download", "Copy link", "Add to favorites", "Rename", "Move", "Tags", "Share", "Move to trash"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_open_menu_has_no_serious_axe_violations(scheme: Literal["light", "dark"], listed: Page) -> None:
    listed.emulate_media(color_scheme=scheme)
    for width in (1280, 360):
        listed.set_viewport_size({"width": width, "height": 700})
        for name in (HEBREW, "Brand"):
            row(listed, name).get_by_role("button", name="Actions").click()
            assert serious_violations(listed) == []
            assert listed.evaluate("document.documentElement.scrollWidth") <= width
            box = listed.locator("#row-menu").bounding_box()
            assert box
            assert 0 <= box["x"] <= width - box["width"]
            listed.keyboard.press("Escape")


# --- rename -----------------------------------------------------------------------------------


def test_file_is_renamed_in_its_row(listed: Page) -> None:
    listed.get_by_role("link", name="b.txt").focus()
    listed.keyboard.press("F2")
    listed.keyboard.type("zz/")  # replaces the name but not its extension
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("alert")).to_contain_text("can't contain a slash")
    field = listed.get_by_label("Name", exact=True)
    expect(field).to_have_value("zz/.txt")
    expect(field).to_be_focused()
    field.fill("zz.md")
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("link", name="zz.md")).to_be_focused()
    expect(listed.get_by_text("The extension changed from “.txt” to “.md”.")).to_be_visible()
    assert File.objects.filter(name="zz.md").exists()


def test_escape_cancels_a_rename(listed: Page) -> None:
    row(listed, "a.txt").click(button="right")
    listed.get_by_role("menuitem", name="Rename").click()
    listed.keyboard.type("other")
    listed.keyboard.press("Escape")
    expect(listed.get_by_role("link", name="a.txt")).to_be_focused()


def test_folder_is_renamed_in_its_row(listed: Page, alice: User) -> None:
    folders.ensure(["Press"], by=alice)
    listed.get_by_role("link", name="Brand").focus()
    listed.keyboard.press("F2")
    listed.keyboard.type("Press")
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("alert")).to_contain_text("already")
    listed.get_by_label("Name", exact=True).fill("Brands")
    listed.keyboard.press("Enter")
    expect(listed.get_by_role("link", name="Brands")).to_be_focused()
    expect(listed).to_have_url(re.compile(r"/\?sort=name$"))


# --- drag to move -----------------------------------------------------------------------------


def test_selection_is_dragged_into_a_folder_and_back_to_the_top(listed: Page, brand: Folder) -> None:
    for name in ("a.txt", "b.txt"):
        listed.get_by_label(f"Select {name}").check()
    listed.get_by_role("link", name="b.txt").drag_to(row(listed, "Brand"))
    expect(listed.get_by_text("Moved 2 files to “Brand”.")).to_be_visible()
    assert set(brand.files.values_list("name", flat=True)) == {"a.txt", "b.txt"}
    expect(listed.locator("#drop-overlay")).to_be_hidden()
    listed.get_by_role("link", name="Brand", exact=True).first.click()
    row(listed, "a.txt").locator("time").drag_to(listed.locator(".breadcrumb").get_by_role("link", name="Library"))
    expect(listed.get_by_text("Moved 1 file to “Library”.")).to_be_visible()
    assert set(brand.files.values_list("name", flat=True)) == {"b.txt"}


def test_read_only_folder_is_not_a_drop_target(
    listed: Page, brand: Folder, uploader: UploaderPage, alice: User, manager: User
) -> None:
    group = Group.objects.create(name="readers")
    alice.groups.add(group)
    managers = Group.objects.get(name="managers")
    folders.set_access(brand, {managers: AccessLevel.MANAGE, group: AccessLevel.VIEW}, by=manager)
    listed.reload()
    source, target = row(listed, "a.txt").locator("time"), row(listed, "Brand")
    source.hover()
    listed.mouse.down()
    target.hover()
    target.hover()
    expect(listed.locator(".drop-here")).to_have_count(0)
    listed.mouse.up()
    assert not brand.files.exists()


# --- selection --------------------------------------------------------------------------------


def selected(page: Page) -> int:
    return page.locator(".row-checkbox:checked").count()


def test_long_name_keeps_one_line_and_its_extension(listed: Page, uploader: UploaderPage, alice: User) -> None:
    name = f"{'press kit of the spring edition ' * 5}final.pdf"
    file_rows.create_row(alice, State.AVAILABLE, name=name)
    link = listed.get_by_role("link", name=name, exact=True)
    for width, max_height in ((1280, 40), (360, 90)):
        listed.set_viewport_size({"width": width, "height": 700})
        listed.reload()
        box, tail = listed.locator(".file-row", has=link).bounding_box(), link.locator("span").last.bounding_box()
        assert box
        assert tail
        assert 36 <= box["height"] <= max_height
        assert tail["x"] + tail["width"] <= width
        expect(link.locator("span").last).to_have_text("inal.pdf")
        assert listed.evaluate("document.documentElement.scrollWidth") <= width
    link.click()
    expect(listed.get_by_role("heading", level=1)).to_have_text(name)


@pytest.fixture
def phone(listed: Page, uploader: UploaderPage, browser: Browser) -> Iterator[Page]:
    """The same list on a phone."""
    options = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}
    with watched(browser.new_context(**options)) as context:  # type: ignore[arg-type]
        context.add_cookies(listed.context.cookies())  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{uploader.site}/?sort=name")
        yield page


def test_phone_does_not_suggest_dropping_files(phone: Page, uploader: UploaderPage) -> None:
    phone.goto(f"{uploader.site}/upload/")
    expect(phone.get_by_label("Files", exact=True)).to_be_visible()
    expect(phone.get_by_text("Drop or paste")).to_be_hidden()


def long_press(page: Page, target: Locator) -> None:
    box = target.bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    page.wait_for_timeout(700)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def test_long_press_on_a_phone_selects(phone: Page) -> None:
    expect(phone.locator(".row-checkbox").first).to_be_hidden()
    expect(phone.get_by_role("button", name="Actions for a.txt")).to_be_visible()
    long_press(phone, phone.get_by_role("link", name="a.txt"))
    expect(phone.get_by_label("Select a.txt")).to_be_checked()
    phone.get_by_role("link", name="b.txt").tap()
    expect(phone.locator(".bulk-count")).to_have_text("2 selected")
    assert serious_violations(phone) == []
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    expect(phone.get_by_role("button", name="Done")).to_be_in_viewport(ratio=1)
    phone.get_by_role("button", name="Done").tap()
    expect(phone.locator(".bulk-bar")).to_be_hidden()
    assert selected(phone) == 0
    phone.get_by_role("button", name="Actions for b.txt").tap()
    phone.get_by_role("menuitem", name="Select").tap()
    phone.get_by_role("button", name="Move to trash").tap()
    expect(phone.get_by_text("Moved 1 file to trash.")).to_be_visible()
    expect(phone.locator(".row-checkbox").first).to_be_hidden()
    phone.get_by_role("link", name="a.txt").tap()
    expect(phone.get_by_role("heading", level=1)).to_have_text("a.txt")


def test_dialog_on_a_phone_opens_without_the_keyboard(phone: Page) -> None:
    phone.get_by_role("button", name="Actions for a.txt").tap()
    phone.get_by_role("menuitem", name="Move", exact=True).tap()
    expect(phone.get_by_label("Find a folder")).to_be_visible()
    expect(phone.locator("#dialog")).to_be_focused()


def test_plus_button_of_a_phone_uploads(phone: Page, uploader: UploaderPage) -> None:
    plus, tray = phone.locator(".add-button"), UploaderPage(phone, uploader.folder, uploader.site)

    def upload(name: str) -> None:
        with phone.expect_file_chooser() as chooser:
            plus.tap()
        chooser.value.set_files(uploader.file(name, name.encode()))
        expect(row(phone, name)).to_be_visible(timeout=WAIT_MS)

    upload("photo.txt")
    tray.expect_receipt("1 of 1 stored, size verified")
    expect(plus).to_be_hidden()  # the open tray covers it
    tray.click("Details")
    upload("plan.txt")
    tray.expect_title("1 file uploaded")
    expect(plus).to_be_in_viewport(ratio=1)
    assert top_of(plus) + 56 <= top_of(tray.tray)
    long_press(phone, phone.get_by_role("link", name="a.txt"))
    expect(plus).to_be_hidden()
    assert top_of(phone.get_by_role("button", name="Done")) + 32 <= top_of(tray.tray)
    assert File.objects.filter(name__in=["photo.txt", "plan.txt"]).count() == 2


def top_of(target: Locator) -> float:
    box = target.bounding_box()
    assert box
    return box["y"]


def test_chosen_view_is_shown_and_remembered(listed: Page, uploader: UploaderPage, alice: User, brand: Folder) -> None:
    file_rows.create_row(alice, State.AVAILABLE, name="d.txt", folder=brand)
    view = listed.get_by_role("group", name="Layout")
    expect(view.get_by_role("link", name="Table")).to_have_attribute("aria-current", "true")
    view.get_by_role("link", name="Grid").click()
    expect(listed.locator(".card")).to_have_count(5)
    listed.goto(f"{uploader.site}{brand.get_absolute_url()}")
    expect(view.get_by_role("link", name="Grid")).to_have_attribute("aria-current", "true")


def test_sort_order_is_remembered_and_offered_on_a_phone(phone: Page) -> None:
    names = phone.locator(".file-row[data-folder] ~ .file-row .file-text > :first-child")
    expect(names.first).to_have_text("a.txt")
    phone.locator(".table-sort").get_by_role("link", name="Name").tap()
    expect(names.last).to_have_text("a.txt")
    phone.goto(phone.url.partition("?")[0])
    expect(names.last).to_have_text("a.txt")
    expect(phone.locator(".sort-links [aria-current]")).to_have_attribute("data-order", "descending")


def test_links_of_a_selection_are_copied_with_their_names(listed: Page, uploader: UploaderPage) -> None:
    for name in ("a.txt", "b.txt"):
        row(listed, name).get_by_role("checkbox").check()
    row(listed, "b.txt").get_by_role("button", name="Actions").click()
    listed.get_by_role("menuitem", name="Copy links").click()
    expect(listed.get_by_role("menuitem", name="Copied")).to_be_visible()
    urls = [f"{uploader.site}{File.objects.get(name=name).get_absolute_url()}" for name in ("a.txt", "b.txt")]
    assert listed.evaluate("navigator.clipboard.readText()").splitlines() == urls
    html = listed.evaluate(
        "navigator.clipboard.read().then(([item]) => item.getType('text/html')).then((blob) => blob.text())"
    )
    assert f'href="{urls[0]}"' in html
    assert ">b.txt</a>" in html


def test_keys_rename_a_file_on_its_page_and_lead_back_to_the_list(listed: Page) -> None:
    row(listed, "a.txt").get_by_role("link", name="a.txt").click()
    expect(listed.get_by_role("heading", level=1)).to_have_text("a.txt")
    listed.keyboard.press("F2")
    expect(listed.get_by_label("Name", exact=True)).to_be_focused()
    listed.keyboard.type("b")
    listed.keyboard.press("Escape")
    listed.keyboard.press("F2")
    expect(listed.get_by_label("Name", exact=True)).to_have_value("a.txt")
    listed.keyboard.press("Escape")
    expect(listed.get_by_label("Name", exact=True)).to_be_hidden()
    listed.keyboard.press("Escape")
    expect(row(listed, "b.txt")).to_be_visible()


def test_trash_is_restored_from_its_rows_on_a_phone(phone: Page, uploader: UploaderPage, alice: User) -> None:
    file_rows.create_row(alice, State.TRASHED, name="gone.txt")
    phone.goto(f"{uploader.site}/trash/")
    phone.get_by_role("button", name="Restore gone.txt").tap()
    expect(phone.get_by_text("Restored “gone.txt”.")).to_be_visible()
    expect(phone.get_by_text("The trash is empty")).to_be_visible()
    assert File.objects.get(name="gone.txt").state == State.AVAILABLE
