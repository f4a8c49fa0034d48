"""Search, select and change files in the library."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import NAMES
from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.support import factories, file_rows
from tests.support.stores import Bucket
from uploads import actions
from uploads.models import AccessLevel, File, Folder, Preview, PreviewKind, PreviewState, State
from uploads.services import folders

pytestmark = pytest.mark.slow

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def logos(alice: User) -> Folder:
    folder = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    assert isinstance(folder, Folder)
    return folder


# --- layout -----------------------------------------------------------------------------------


MAX_SHIFT = 0.02
OBSERVE_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    window.shifts.push([value, ...sources.map(({ node }) => node?.outerHTML?.slice(0, 100))]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("path", ["", "?view=grid", "folders/{folder}/", "upload/"])
def test_scripts_that_load_late_do_not_shift_the_layout(
    path: str, width: int, listed: Page, uploader: UploaderPage, logos: Folder
) -> None:
    delayed: list[Route] = []
    listed.set_viewport_size({"width": width, "height": 800})
    listed.add_init_script(OBSERVE_SHIFTS)
    listed.route("**/*.js", lambda route: delayed.append(route))
    listed.goto(f"{uploader.site}/{path.format(folder=logos.pk)}", wait_until="commit")
    while not listed.evaluate("performance.getEntriesByName('first-contentful-paint').length"):
        listed.wait_for_timeout(50)
    for route in delayed:
        route.continue_()
    listed.wait_for_load_state("networkidle")
    shifts: list[list[Any]] = listed.evaluate("window.shifts")
    assert sum(value for value, *sources in shifts) < MAX_SHIFT, shifts


# --- search -----------------------------------------------------------------------------------


def test_search_as_you_type_updates_list_and_url(listed: Page, uploader: UploaderPage) -> None:
    listed.locator("#q").press_sequentially("note 3", delay=30)
    expect(listed.locator(".file-row")).to_have_count(1)
    expect(listed).to_have_url(f"{uploader.site}/?q=note%203&sort=name")
    expect(listed.locator("#q")).to_be_focused()
    expect(listed.locator("#live-region")).to_have_text("1 file")
    listed.reload()
    expect(listed.locator("#q")).to_have_value("note 3")
    expect(listed.locator(".file-row")).to_have_count(1)


def test_filter_keeps_search_text_and_focus(listed: Page) -> None:
    listed.locator("#q").fill("note")
    expect(listed).to_have_url(re.compile(r"q=note"))
    listed.get_by_text("Filter", exact=True).click()
    listed.get_by_label("Size").focus()
    listed.get_by_label("Size").select_option("over-1gb")
    expect(listed.get_by_role("heading", name="No results")).to_be_visible()
    expect(listed).to_have_url(re.compile(r"q=note.*size=over-1gb"))
    expect(listed.get_by_label("Size")).to_be_focused()
    expect(listed.get_by_role("link", name="Remove filter: Size: Over 1 GB")).to_be_visible()
    listed.keyboard.press("Escape")
    listed.get_by_role("link", name="Clear search and filters").click()
    expect(listed.locator(".file-row")).to_have_count(6)
    expect(listed.locator("#q")).to_have_value("")


def test_escape_empties_search_and_list(listed: Page) -> None:
    listed.locator("#q").fill("note 3")
    expect(listed.locator(".file-row")).to_have_count(1)
    listed.locator("#q").press("Escape")
    expect(listed.locator(".file-row")).to_have_count(6)
    expect(listed.locator("#q")).to_be_focused()
    listed.locator("#q").press("Escape")
    expect(listed.locator("#q")).not_to_be_focused()


def test_back_returns_to_the_place_in_the_list(listed: Page, uploader: UploaderPage, alice: User) -> None:
    for number in range(40):
        file_rows.create_row(alice, State.AVAILABLE, name=f"other {number:02}.txt")
    listed.goto(f"{uploader.site}/?sort=name")
    listed.get_by_role("link", name="other 39.txt").scroll_into_view_if_needed()
    place = listed.evaluate("scrollY")
    assert place > 500
    listed.get_by_role("link", name="other 38.txt").click()
    expect(listed.get_by_role("heading", level=1)).to_have_text("other 38.txt")
    listed.go_back()
    expect(listed.locator(".file-row")).to_have_count(46)
    listed.wait_for_function("place => Math.abs(scrollY - place) < 5", arg=place)


def test_back_returns_to_the_search_and_the_navigation_of_the_page(
    logos: Folder, listed: Page, uploader: UploaderPage
) -> None:
    search, trash = listed.get_by_role("searchbox"), listed.get_by_role("link", name="Trash")
    listed.get_by_role("link", name="Brand", exact=True).click()
    expect(search).to_have_attribute("placeholder", "Search in Brand")
    listed.go_back()
    expect(search).to_have_attribute("placeholder", "Search files and folders")
    listed.go_forward()
    expect(search).to_have_attribute("placeholder", "Search in Brand")
    listed.go_back()
    expect(search).to_have_attribute("placeholder", "Search files and folders")
    trash.click()
    expect(trash).to_have_attribute("aria-current", "page")
    listed.go_back()
    expect(trash).not_to_have_attribute("aria-current", "page")
    search.fill("note 3")
    expect(listed.locator(".file-row")).to_have_count(1)
    listed.get_by_role("link", name="note 3.txt").click()
    expect(listed.get_by_role("heading", level=1)).to_have_text("note 3.txt")
    listed.go_back()
    expect(search).to_have_value("note 3")
    search.fill("note 4")
    expect(listed.get_by_role("link", name="note 4.txt")).to_be_visible()
    expect(listed).to_have_url(re.compile("q=note%204"))


# --- actions ----------------------------------------------------------------------------------


def test_delete_key_moves_to_trash_and_undo_restores(listed: Page) -> None:
    listed.keyboard.press("ArrowDown")
    listed.keyboard.press("Delete")
    expect(listed.get_by_text("Moved 1 file to trash.")).to_be_visible()
    expect(listed.get_by_role("link", name=NAMES[1])).to_be_focused()  # the row that took its place
    assert File.objects.get(state=State.TRASHED).name == NAMES[0]
    listed.get_by_role("button", name="Undo").click()
    expect(listed.locator(".file-row")).to_have_count(6)
    assert not File.objects.trashed().exists()


def test_slash_focuses_search_and_question_mark_opens_shortcuts(listed: Page) -> None:
    listed.keyboard.press("/")
    expect(listed.locator("#q")).to_be_focused()
    expect(listed.locator("#q")).to_have_value("")
    listed.keyboard.press("Escape")
    listed.keyboard.press("?")
    expect(listed.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    listed.keyboard.press("Escape")
    expect(listed.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()


def test_selected_files_are_moved(listed: Page, logos: Folder) -> None:
    for n in (0, 5):
        listed.locator(".row-checkbox").nth(n).click()
    listed.get_by_role("button", name="Move", exact=True).click()
    dialog = listed.get_by_role("dialog", name="Move 2 files to …")
    dialog.get_by_label("Find a folder").press_sequentially("logo", delay=20)
    dialog.get_by_label("Brand › Logos").check()
    assert Axe().run(listed, options=WCAG).response["violations"] == []
    dialog.get_by_role("button", name="Move to Brand › Logos").click()
    expect(listed.get_by_text("Moved 2 files to “Logos”.")).to_be_visible()
    expect(dialog).to_be_hidden()
    assert sorted(logos.files.values_list("name", flat=True)) == [NAMES[0], NAMES[5]]
    listed.get_by_role("button", name="Undo").click()
    expect(listed.get_by_text("Moved 2 files back.")).to_be_visible()
    assert not logos.files.exists()


def test_dialog_opens_folders_creates_one_shows_errors_and_returns_focus(listed: Page, logos: Folder) -> None:
    listed.reload()  # to show the new folder
    listed.locator("[name=folders]").first.check()
    move = listed.get_by_role("button", name="Move", exact=True)
    move.click()
    dialog = listed.get_by_role("dialog", name="Move “Brand” to …")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_label("Brand", exact=True)).to_have_count(0)
    listed.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(move).to_be_focused()
    listed.locator("[name=folders]").first.uncheck()
    listed.locator("[name=file]").first.check()
    move.click()
    dialog = listed.get_by_role("dialog", name="Move 1 file to …")
    dialog.get_by_role("button", name="Show subfolders of Brand").click()
    dialog.get_by_label("Logos").check()
    dialog.get_by_text("New folder here").click()
    dialog.get_by_label("Folder name").fill("a/b")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("can't contain a slash")
    dialog.get_by_label("Folder name").fill("Dark")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_label("Dark")).to_be_checked()
    dialog.get_by_role("button", name="Move", exact=False).click()
    expect(listed.get_by_text("Moved 1 file to “Dark”.")).to_be_visible()
    assert Folder.objects.get(name="Dark").parent == logos


def test_tags_are_added_and_removed_in_the_dialog(listed: Page, alice: User) -> None:
    file = File.objects.get(name=NAMES[0])
    actions.tag_files([file.permanent_id], add=["old", "kept"], by=alice)
    listed.locator(".row-checkbox").first.check()
    listed.get_by_role("button", name="Change tags").click()
    dialog = listed.get_by_role("dialog", name="Change tags of 1 file")
    dialog.get_by_label("Add tags").press_sequentially("new,")
    dialog.get_by_label("Add tags").fill("typed")
    dialog.get_by_label("old").check()
    assert Axe().run(listed, options=WCAG).response["violations"] == []
    dialog.get_by_role("button", name="Change tags").click()
    expect(listed.get_by_text("Changed tags of 1 file.")).to_be_visible()
    assert set(file.taggings.values_list("tag__name", flat=True)) == {"kept", "new", "typed"}


def test_trash_by_keyboard_and_undo_keep_the_scroll_position(listed: Page, uploader: UploaderPage, alice: User) -> None:
    for number in range(40):
        file_rows.create_row(alice, State.AVAILABLE, name=f"other {number:02}.txt")
    listed.goto(f"{uploader.site}/?sort=name")
    listed.get_by_role("link", name="other 10.txt").focus()
    listed.evaluate("scrollTo(0, 250)")
    listed.keyboard.press("Delete")
    expect(listed.get_by_role("link", name="other 11.txt")).to_be_focused()
    assert listed.evaluate("scrollY") == 250
    listed.get_by_role("button", name="Undo").click()
    expect(listed.get_by_role("link", name="other 10.txt")).to_be_visible()
    assert listed.evaluate("scrollY") == 250


def test_folder_is_trashed_after_confirmation_and_scroll_position_stays(
    listed: Page, uploader: UploaderPage, logos: Folder, alice: User
) -> None:
    for number in range(30):
        file_rows.create_row(alice, State.AVAILABLE, name=f"other {number}.txt")
    file_rows.create_row(alice, State.AVAILABLE, name="dark.png", folder=logos)
    zoo = folders.create("Zoo", parent=None, by=alice)
    listed.goto(f"{uploader.site}/?sort=name")
    listed.set_viewport_size({"width": 1280, "height": 300})
    listed.get_by_label("Select Brand").check()
    listed.evaluate("scrollTo(0, 150)")
    place = listed.evaluate("scrollY")
    listed.get_by_role("button", name="Move to trash").click()
    dialog = listed.get_by_role("dialog", name="Move “Brand” and its 1 file to trash?")
    dialog.get_by_role("button", name="Move to trash").click()
    expect(listed.get_by_text("Moved “Brand” and 1 file to trash.")).to_be_visible()
    expect(listed.get_by_role("link", name=zoo.name)).to_be_focused()
    assert abs(listed.evaluate("scrollY") - place) < 80
    listed.get_by_role("button", name="Undo").click()
    expect(listed.get_by_role("link", name="Brand")).to_be_focused()
    assert File.objects.filter(folder=logos, state=State.AVAILABLE).exists()


# --- folders and versions ---------------------------------------------------------------------


def test_drop_uploads_into_open_folder(uploader: UploaderPage, logos: Folder, bucket: Bucket) -> None:
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    uploader.drop(uploader.file("dark.png", b"dark"), uploader.file("old/light.png", b"light").parent)
    uploader.expect_receipt("2 of 2 stored, size verified")
    expect(uploader.page.locator("#list")).to_contain_text("dark.png")
    stored = {file_rows.path_of(file): bucket.read(file.key) for file in File.objects.available()}
    assert stored == {"Brand/Logos/dark.png": b"dark", "Brand/Logos/old/light.png": b"light"}


def test_overlay_names_the_folder(uploader: UploaderPage, logos: Folder) -> None:
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    session = uploader.page.context.new_cdp_session(uploader.page)
    data = {"items": [], "files": [str(uploader.file("a.txt"))], "dragOperationsMask": 1}
    session.send("Input.dispatchDragEvent", {"type": "dragEnter", "x": 200, "y": 200, "data": data})
    expect(uploader.page.locator("#drop-overlay")).to_have_text("Drop to upload to Brand › Logos")
    session.send("Input.dispatchDragEvent", {"type": "dragCancel", "x": 200, "y": 200, "data": data})


def test_partial_upload_resumes_in_its_folder(uploader: UploaderPage, logos: Folder) -> None:
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    blocked = uploader.block_puts(lambda count: count > 2)
    large = uploader.large_file()
    uploader.drop(large)
    blocked.wait_for(1, uploader.page)
    blocked.disconnect()
    uploader.page.on("dialog", lambda dialog: dialog.accept())
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    blocked.reconnect()
    uploader.drop(large)
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert File.objects.count() == 1


def test_upload_button_opens_the_file_dialog(uploader: UploaderPage, logos: Folder, bucket: Bucket) -> None:
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    with uploader.page.expect_file_chooser() as chooser:
        uploader.page.get_by_role("link", name="Upload", exact=True).click()
    chooser.value.set_files(uploader.file("logo.svg", b"<svg/>"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    file = File.objects.get()
    assert (file.name, file.folder, bucket.read(file.key)) == ("logo.svg", logos, b"<svg/>")


def test_first_upload_into_a_folder_shows_filter_and_views(uploader: UploaderPage, logos: Folder) -> None:
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    expect(uploader.page.get_by_role("group", name="Layout")).to_have_count(0)
    uploader.drop(uploader.file("logo.svg"))
    expect(uploader.page.get_by_role("group", name="Layout")).to_be_visible()
    expect(uploader.page.get_by_role("switch", name="Include subfolders")).to_be_visible()
    expect(uploader.page.get_by_text("Filter", exact=True)).to_be_visible()


def test_filter_of_recent_files_changes_the_heading(uploader: UploaderPage, alice: User) -> None:
    file_rows.create_row(alice, State.AVAILABLE, name="logo.png")
    uploader.page.goto(uploader.site)
    uploader.page.get_by_text("Filter", exact=True).click()
    uploader.page.get_by_label("Show").select_option("Favorites")
    expect(uploader.page.get_by_role("heading", level=1)).to_have_text("Favorites")


def test_unfinished_list_follows_a_cancel(uploader: UploaderPage) -> None:
    blocked = uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("half.txt"))
    blocked.wait_for(1, uploader.page)
    expect(uploader.page).to_have_title(re.compile(r"^\(0 %\) "))
    uploader.page.evaluate("htmx.ajax('GET', '/unfinished/', {target: '#main', select: '#main', swap: 'outerHTML'})")
    expect(uploader.page.locator(".result")).to_have_count(1)
    uploader.click("Cancel")
    expect(uploader.page.locator(".result")).to_have_count(0)
    expect(uploader.page).not_to_have_title(re.compile("%"))


def test_unfinished_list_follows_an_upload_that_finishes_before_others(uploader: UploaderPage) -> None:
    blocked = uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("first.txt"), uploader.file("second.txt"))
    blocked.wait_for(2, uploader.page)
    uploader.page.evaluate("htmx.ajax('GET', '/unfinished/', {target: '#main', select: '#main', swap: 'outerHTML'})")
    expect(uploader.page.locator(".result")).to_have_count(2)
    blocked.routes[0].continue_()
    expect(uploader.page.locator(".result")).to_have_count(1, timeout=WAIT_MS)
    expect(uploader.page.get_by_role("link", name="Unfinished 1")).to_be_visible()
    expect(uploader.title).to_have_text("Uploading 1 of 2")


def test_viewer_cannot_drop_files(page: Page, sign_in: Callable[[User, str], Page], viewer: User, small_parts_site: str,
                                  transactional_db: None, tmp_path: Path) -> None:  # fmt: skip
    sign_in(viewer, small_parts_site).goto(small_parts_site)
    (tmp_path / "plan.txt").write_text("plan")
    for _attempt in range(2):
        UploaderPage(page, tmp_path, small_parts_site).drop(tmp_path / "plan.txt")
    expect(page.locator("#toast")).to_have_text("You don't have permission to upload here.")
    assert page.url == f"{small_parts_site}/"


def test_drop_on_a_folder_without_upload_permission_starts_nothing(
    uploader: UploaderPage, logos: Folder, alice: User
) -> None:
    looking, keeping = Group.objects.create(name="looking"), Group.objects.create(name="keeping")
    alice.groups.add(looking)
    levels = {looking: AccessLevel.VIEW, keeping: AccessLevel.MANAGE}
    folders.set_access(logos, levels, by=factories.create_user("manager", "managers"))
    uploader.page.goto(uploader.site + logos.get_absolute_url())
    calls: list[str] = []
    uploader.page.on("request", lambda request: calls.append(request.url) if request.method == "POST" else None)
    uploader.drop(uploader.file("logo.svg"))
    expect(uploader.page.locator("#toast")).to_have_text("You don't have permission to upload to this folder.")
    uploader.page.get_by_role("link", name="Upload", exact=True).click()
    uploader.page.wait_for_timeout(300)
    expect(uploader.tray).to_be_hidden()
    assert calls == []


def test_drop_on_file_page_adds_version(uploader: UploaderPage, alice: User, bucket: Bucket) -> None:
    file = file_rows.create_row(alice, State.AVAILABLE, name="logo.png")
    uploader.page.goto(uploader.site + file.get_absolute_url())
    uploader.drop(uploader.file("logo final.png", b"newer"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    version = File.objects.by_permanent_id(file.pk).get()
    assert (version.name, version.pk == file.pk, bucket.read(version.key)) == ("logo.png", False, b"newer")
    expect(uploader.page.get_by_role("heading", name="Versions")).to_be_visible()  # without a reload


def test_drop_on_the_preview_of_a_file_adds_a_version(uploader: UploaderPage, alice: User, bucket: Bucket) -> None:
    file = factories.create_file(alice, name="prices.csv", body=b"a,b\n1,2\n", bucket=bucket)
    Preview.objects.create(file=file, kind=PreviewKind.EXCERPT, state=PreviewState.READY, size=3, lease_until=Now())
    uploader.page.goto(f"{uploader.site}{file.get_absolute_url()}")
    box = uploader.page.locator("iframe").bounding_box()
    assert box
    uploader.drop(uploader.file("prices.csv", b"a,b\n3,4\n"), at=(box["x"] + 40, box["y"] + 40))
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert bucket.read(File.objects.by_permanent_id(file.pk).get().key) == b"a,b\n3,4\n"


def test_replacing_a_file_with_another_type_is_confirmed(uploader: UploaderPage, alice: User) -> None:
    file = file_rows.create_row(alice, State.AVAILABLE, name="logo.png")
    uploader.page.goto(uploader.site + file.get_absolute_url())
    question = uploader.page.locator("#replace-dialog")
    other = uploader.file("final.svg", b"newer")
    uploader.drop(other)
    expect(question).to_contain_text("final.svg")
    question.get_by_role("button", name="Cancel").click()
    expect(question).to_be_hidden()
    assert File.objects.count() == 1
    uploader.drop(other)
    question.get_by_role("button", name="Replace").click()
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert File.objects.versions_of(File.objects.by_permanent_id(file.pk).get()).count() == 2


def test_second_file_dropped_on_file_page_fails(uploader: UploaderPage, alice: User) -> None:
    file = file_rows.create_row(alice, State.AVAILABLE, name="logo.png")
    uploader.page.goto(uploader.site + file.get_absolute_url())
    uploader.drop(uploader.file("a.png"), uploader.file("b.png"))
    uploader.expect_receipt("1 of 2 stored, size verified. 1 failed")
    expect(uploader.tray).to_contain_text("You can replace only one file at a time")
    assert File.objects.versions_of(File.objects.by_permanent_id(file.pk).get()).count() == 2


def test_file_is_renamed_tagged_and_its_link_copied(uploader: UploaderPage, alice: User) -> None:
    file = file_rows.create_row(alice, State.AVAILABLE, name="plan.txt")
    page = uploader.page
    page.goto(uploader.site + file.get_absolute_url())
    page.locator("summary", has_text="File options").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("plan B")  # replaces the name but not its extension
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("plan B.txt")
    page.get_by_label("New tags (comma-separated)").fill("spring, logo")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Remove tag logo").click()
    expect(page.locator(".tag")).to_have_count(1)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert (File.objects.get().name, File.objects.get().taggings.get().tag.name) == ("plan B.txt", "spring")


def test_language_menu_switches_to_spanish(page: Page, sign_in: Callable[[User, str], Page], alice: User,
                                 transactional_db: None, small_parts_site: str, tmp_path: Path) -> None:  # fmt: skip
    sign_in(alice, small_parts_site).goto(small_parts_site)
    page.get_by_text("Account: alice").click()
    page.get_by_role("button", name="Español").click()
    expect(page.locator("html")).to_have_attribute("lang", "es")
