"""Upload files from the page to the bucket."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import socket
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Dialog, Response, Route, expect

from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.support import file_rows
from tests.support.postgres_standby import until
from tests.support.stores import Bucket
from uploads.models import File, Folder, State
from uploads.services import folders

# Longer tasks are noticeable, even on a small machine under load.
LONGEST_TASK_MS = 350
MAX_ROWS = 40
MAX_BYTES = 75 * 1024
MAX_SCRIPTS = 12


def stored(bucket: Bucket) -> dict[str, bytes]:
    """Path and bytes of every available file, read from the bucket."""
    return {file_rows.path_of(file): bucket.read(file.key) for file in File.objects.filter(state=State.AVAILABLE)}


def test_dropped_files_and_folder_are_stored(uploader: UploaderPage, bucket: Bucket) -> None:
    small = uploader.file("one.txt", b"first")
    empty = uploader.file("nothing.txt", b"")
    large = uploader.large_file(parts=3)
    for number in range(120):  # more than a browser lists in one call
        uploader.file(f"tree/deep/{number}.txt", str(number).encode())
    uploader.drop(small, empty, large, uploader.folder / "tree")
    uploader.expect_receipt("123 of 123 stored, size verified")
    bodies = stored(bucket)
    assert bodies["one.txt"] == b"first"
    assert bodies["nothing.txt"] == b""
    assert bodies["large.bin"] == large.read_bytes()
    assert bodies["tree/deep/119.txt"] == b"119"
    assert len(bodies) == 123


def test_receipt_links_to_files_and_list_reloads(uploader: UploaderPage) -> None:
    uploader.drop(uploader.file("report.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.page.locator("#list")).to_contain_text("report.txt")
    assert uploader.page.locator("#live-region").text_content() == "1 file uploaded"
    uploader.rows.first.get_by_role("link").click()
    expect(uploader.page.get_by_role("heading", level=1)).to_have_text("report.txt")
    expect(uploader.tray).to_be_visible()  # the tray stays when the page changes


def test_size_of_the_folder_follows_an_upload(uploader: UploaderPage, alice: User) -> None:
    folder = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(folder, Folder)
    uploader.page.goto(uploader.site + folder.get_absolute_url())
    size = uploader.page.locator(".page-heading .folder-size")
    expect(size).to_have_text("0 files")
    uploader.drop(uploader.file("note.txt", b"hello"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(size).to_have_text("1 file · 5 B")


def test_receipt_groups_folders_and_collapses(uploader: UploaderPage) -> None:
    page = uploader.page
    page.clock.install()
    for number in range(3):
        uploader.file(f"campaign/{number}.txt")
    uploader.drop(uploader.folder / "campaign", uploader.file("single.txt"))
    for _step in range(100):  # timers run only when the clock is advanced
        page.clock.run_for(200)
        if uploader.title.text_content() == "4 files uploaded":
            break
        page.wait_for_timeout(50)
    uploader.expect_title("4 files uploaded")
    page.clock.run_for(200)
    expect(uploader.rows.locator(".tray-name")).to_have_text(["campaign", "single.txt"])
    expect(uploader.rows.locator(".tray-state")).to_have_text(["✓ 3 files", "✓ uploaded"])
    uploader.tray.hover()
    page.clock.run_for(12_000)
    expect(uploader.rows.first).to_be_visible()  # it stays open while the pointer is over it
    page.mouse.move(0, 0)
    page.clock.run_for(2000)
    expect(uploader.rows.first).to_be_hidden()
    uploader.click("Details")
    expect(uploader.rows.first).to_be_visible()


def test_receipt_with_a_failure_stays_open(uploader: UploaderPage) -> None:
    uploader.page.clock.install()
    uploader.page.route("**/uploads/", lambda route: route.fulfill(status=413, json={"error": {"code": "too_large"}}))
    uploader.drop(uploader.file("a.txt"))
    for _step in range(100):
        uploader.page.clock.run_for(200)
        if uploader.title.text_content() == "0 of 1 uploaded. 1 failed":
            break
        uploader.page.wait_for_timeout(50)
    uploader.page.clock.run_for(30_000)
    expect(uploader.tray.locator(".receipt-failures")).to_contain_text("a.txt")


def test_single_upload_has_one_bar_and_one_button_to_pause(uploader: UploaderPage) -> None:
    blocked = uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("a.txt"))
    blocked.wait_for(1, uploader.page)
    uploader.expect_state("0 %")
    expect(uploader.tray.get_by_role("button", name="Pause")).to_have_count(1)
    expect(uploader.tray.get_by_role("progressbar")).to_have_count(1)
    uploader.drop(uploader.file("b.txt"))
    expect(uploader.tray.get_by_role("button", name="Pause")).to_have_count(3)
    blocked.release()
    uploader.expect_title("2 files uploaded")


def test_storage_that_checks_checksums_verifies_at_once(
    uploader: UploaderPage, small_parts_digest_site: str, digest_store: object
) -> None:
    uploader.page.goto(small_parts_digest_site)
    uploader.drop(uploader.large_file(parts=3), uploader.file("small.txt"))
    uploader.expect_receipt("2 of 2 stored and verified")


def test_chosen_files_are_stored_with_visibility(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.page.goto(f"{uploader.site}/upload/")
    uploader.page.get_by_label("Private").check()
    uploader.page.locator("#id_files").set_input_files([uploader.file("a.txt"), uploader.file("b.txt")])
    uploader.expect_receipt("2 of 2 stored, size verified")
    assert set(stored(bucket)) == {"a.txt", "b.txt"}
    assert set(File.objects.values_list("visibility", flat=True)) == {"private"}


def test_chosen_folder_keeps_paths(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.file("brand/logos/dark.svg")
    uploader.page.goto(f"{uploader.site}/upload/")
    uploader.page.get_by_label("Choose a folder").set_input_files(uploader.folder / "brand")
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert set(stored(bucket)) == {"brand/logos/dark.svg"}


def test_skipped_system_files_and_empty_folders_are_listed(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.file("tree/a.txt")
    for name in ("tree/.DS_Store", "tree/sub/._a.txt", "tree/sub/desktop.ini", "tree/sub/b.txt"):
        uploader.file(name)
    (uploader.folder / "tree/nothing here").mkdir()
    uploader.drop(uploader.folder / "tree")
    uploader.expect_receipt("2 of 2 stored, size verified")
    expect(uploader.tray.locator("[data-ref=skipped]")).to_have_text(
        re.compile("Skipped 3 system files: (\\S+, ){2}\\S+\\. Skipped 1 empty folder: tree/nothing here\\.")
    )
    assert set(stored(bucket)) == {"tree/a.txt", "tree/sub/b.txt"}


def test_drop_of_only_empty_folder_shows_notice(uploader: UploaderPage, bucket: Bucket) -> None:
    (uploader.folder / "bare").mkdir()
    uploader.drop(uploader.folder / "bare")
    uploader.expect_title("No files to upload")
    expect(uploader.tray).to_contain_text("Skipped 1 empty folder: bare.")


def test_system_files_of_chosen_folder_are_skipped(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.file("brand/logos/dark.svg")
    uploader.file("brand/logos/Thumbs.db")
    uploader.page.goto(f"{uploader.site}/upload/")
    uploader.page.get_by_label("Choose a folder").set_input_files(uploader.folder / "brand")
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.tray).to_contain_text("Skipped 1 system file: Thumbs.db.")


def test_socket_in_drop_fails_at_once(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.file("tree/a.txt", b"first")
    uploader.file("tree/empty.txt", b"")
    with contextlib.chdir(uploader.folder / "tree"), socket.socket(socket.AF_UNIX) as special:
        special.bind("control")  # a relative path, because a socket's path has at most 108 bytes
        uploader.drop(uploader.folder / "tree")
        uploader.expect_receipt("2 of 3 stored, size verified. 1 failed")
    expect(uploader.tray).to_contain_text("not a regular file")
    assert set(stored(bucket)) == {"tree/a.txt", "tree/empty.txt"}
    until(lambda: not File.objects.filter(state=State.UPLOADING).exists())


@pytest.mark.faults
def test_pipe_in_drop_fails_within_a_minute(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.file("tree/a.txt", b"first")
    os.mkfifo(uploader.folder / "tree" / "pipe")
    uploader.drop(uploader.folder / "tree")
    uploader.expect_receipt("1 of 2 stored, size verified. 1 failed", timeout=60_000)
    assert set(stored(bucket)) == {"tree/a.txt"}


def test_empty_file_is_stored_after_network_error(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: count <= 2)
    uploader.drop(uploader.file("nothing.txt", b""))
    blocked.wait_for(1, uploader.page)
    blocked.fail()
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert stored(bucket) == {"nothing.txt": b""}


def test_pasted_image_gets_unique_name(uploader: UploaderPage) -> None:
    uploader.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], "image.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
        }"""
    )
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert File.objects.get().name.startswith("pasted 20")


def test_100_small_files_take_three_api_calls(uploader: UploaderPage) -> None:
    calls: list[str] = []
    uploader.page.on("request", lambda request: calls.append(request.url) if request.method == "POST" else None)
    for number in range(100):
        uploader.file(f"many/{number}.txt", str(number).encode())
    uploader.drop(uploader.folder / "many")
    uploader.expect_receipt("100 of 100 stored, size verified")
    assert calls == [f"{uploader.site}/uploads/{call}" for call in ("conflicts/", "", "finish/")]


def existing(owner: User, *names: str) -> list[File]:
    return [file_rows.create_row(owner, State.AVAILABLE, name=name) for name in names]


def already_exists(name: str) -> str:
    return f"“\u2068{name}\u2069” already exists"


def test_same_name_becomes_a_new_version_by_default(uploader: UploaderPage, alice: User, bucket: Bucket) -> None:
    (first,) = existing(alice, "export.csv")
    uploader.drop(uploader.file("export.csv", b"new"), uploader.file("other.csv", b"other"))
    expect(uploader.page.get_by_role("dialog", name=already_exists("export.csv"))).to_be_visible()
    uploader.page.keyboard.press("Enter")
    uploader.expect_receipt("2 of 2 stored, size verified")
    current = File.objects.listed().get(name="export.csv")
    assert (current.permanent_id, bucket.read(current.key)) == (first.pk, b"new")
    assert set(File.objects.listed().values_list("name", flat=True)) == {"export.csv", "other.csv"}


def test_keep_both_adds_numbers_to_the_names(uploader: UploaderPage, alice: User) -> None:
    existing(alice, "a.txt", "a (2).txt", "b.txt")
    uploader.drop(uploader.file("a.txt"), uploader.file("b.txt"))
    dialog = uploader.page.get_by_role("dialog", name="2 files already exist")
    expect(dialog).to_contain_text(re.compile("a.txt.*b.txt"))
    uploader.click("Keep both", within=dialog)
    uploader.expect_receipt("2 of 2 stored, size verified")
    names = ["a (2).txt", "a (3).txt", "a.txt", "b (2).txt", "b.txt"]
    assert sorted(File.objects.listed().values_list("name", flat=True)) == names


def test_same_names_in_a_dropped_folder_are_skipped_with_escape(uploader: UploaderPage, alice: User) -> None:
    logos = file_rows.ensure_folder("brand/logos", alice)
    file_rows.create_row(alice, State.AVAILABLE, name="a.svg", folder=logos)
    uploader.file("brand/logos/a.svg")
    uploader.file("brand/a.svg")
    uploader.drop(uploader.folder / "brand")
    dialog = uploader.page.get_by_role("dialog", name=already_exists("brand/logos/a.svg"))
    expect(dialog).to_be_visible()
    uploader.page.keyboard.press("Escape")
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.tray).to_contain_text("Skipped 1 file that already exists: brand/logos/a.svg.")
    assert File.objects.count() == 2


def test_new_version_is_not_offered_for_another_persons_file(uploader: UploaderPage, bob: User) -> None:
    existing(bob, "plan.txt")
    uploader.drop(uploader.file("plan.txt"))
    dialog = uploader.page.get_by_role("dialog", name=already_exists("plan.txt"))
    expect(dialog).to_contain_text("You don't have permission to replace this file.")
    expect(dialog.get_by_role("button")).to_have_text(["Skip", "Keep both"])
    uploader.page.keyboard.press("Enter")
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert set(File.objects.values_list("name", "owner__username")) == {("plan.txt", "bob"), ("plan (2).txt", "alice")}


def test_upload_beside_an_existing_file_resumes_without_a_question(uploader: UploaderPage, alice: User) -> None:
    existing(alice, "large.bin")
    large = uploader.large_file()
    blocked = uploader.block_puts(lambda count: count > 1)
    uploader.drop(large)
    uploader.click("Keep both", within=uploader.page.get_by_role("dialog"))
    blocked.wait_for(3, uploader.page)
    uploader.page.on("dialog", lambda dialog: dialog.accept())
    uploader.page.goto(uploader.site)
    blocked.release()
    uploader.drop(large)
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert sorted(File.objects.values_list("name", flat=True)) == ["large (2).bin", "large.bin"]


def test_second_drop_of_a_file_that_is_being_uploaded_is_skipped(uploader: UploaderPage) -> None:
    blocked = uploader.block_puts(lambda count: True)
    paths = [uploader.file("a.txt"), uploader.file("b.txt")]
    uploader.drop(paths[0])
    blocked.wait_for(1, uploader.page)
    uploader.drop(*paths)
    expect(uploader.tray).to_contain_text("Skipped 1 file that is already being uploaded: a.txt.")
    blocked.release()
    uploader.expect_receipt("2 of 2 stored, size verified")
    assert File.objects.count() == 2


def test_files_are_uploaded_when_the_names_cannot_be_looked_up(uploader: UploaderPage, alice: User) -> None:
    existing(alice, "a.txt")
    uploader.page.route("**/uploads/conflicts/", lambda route: route.fulfill(status=400, json={}))
    uploader.drop(uploader.file("a.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert File.objects.count() == 2


def test_files_are_listed_in_the_order_of_the_drop(uploader: UploaderPage, alice: User) -> None:
    existing(alice, "z.txt")
    blocked = uploader.block_puts(lambda count: True)
    for name in ("tree/10.txt", "tree/9.txt"):
        uploader.file(name)
    uploader.drop(uploader.file("z.txt"), uploader.folder / "tree", uploader.file("b.txt"), uploader.file("a.txt"))
    uploader.click("New version", within=uploader.page.get_by_role("dialog"))
    expect(uploader.rows.locator(".tray-name")).to_have_text(["z.txt", "tree/9.txt", "tree/10.txt", "b.txt", "a.txt"])
    blocked.release()
    uploader.expect_receipt("5 of 5 stored, size verified")


@pytest.mark.faults
def test_drop_of_2000_files_has_no_long_tasks(uploader: UploaderPage) -> None:
    uploader.page.evaluate(
        """() => {
            window.longTasks = []; window.maxRows = 0;
            new PerformanceObserver((list) => {
                for (const task of list.getEntries()) window.longTasks.push(task.duration);
            }).observe({type: "longtask", buffered: true});
            setInterval(() => {
                window.maxRows = Math.max(window.maxRows, document.querySelectorAll(".tray-row").length);
            }, 50);
        }"""
    )
    for number in range(2000):
        uploader.file(f"many/{number:04}.txt", b"x")
    uploader.drop(uploader.folder / "many")
    expect(uploader.title).to_contain_text("of 2,000", timeout=WAIT_MS)
    uploader.expect_receipt("2,000 of 2,000 stored, size verified", timeout=60_000)
    assert File.objects.filter(state=State.AVAILABLE).count() == 2000
    assert uploader.page.evaluate("window.maxRows") < MAX_ROWS
    *others, longest = sorted([0, 0, *uploader.page.evaluate("window.longTasks")])
    assert others[-1] < LONGEST_TASK_MS
    assert longest < 2 * LONGEST_TASK_MS  # one longer task is tolerated on a busy machine


def test_hostile_name_is_escaped(uploader: UploaderPage) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    dialogs: list[str] = []
    uploader.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    uploader.page.evaluate(
        """(name) => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], name));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        }""",
        name,
    )
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.page.locator("#list")).to_contain_text(name)
    uploader.rows.first.get_by_role("link").click()
    expect(uploader.page.get_by_role("heading", level=1)).to_have_text(name)
    assert dialogs == []
    assert uploader.page.locator("img[src=x]").count() == 0


def test_unreadable_file_does_not_stop_others(uploader: UploaderPage) -> None:
    gone = uploader.file("gone.txt")
    uploader.page.goto(f"{uploader.site}/upload/")

    def vanish(route: Route) -> None:
        gone.unlink(missing_ok=True)
        route.continue_()

    uploader.page.route("**/uploads/", vanish)
    uploader.page.locator("#id_files").set_input_files([gone, uploader.file("there.txt")])
    uploader.expect_receipt("1 of 2 stored, size verified. 1 failed")
    failure = uploader.tray.locator(".receipt-failures")
    expect(failure).to_contain_text("gone.txt")
    expect(failure).to_contain_text("Choose it again")
    expect(failure.get_by_role("button", name="Retry")).to_be_visible()


def test_pages_have_no_presigned_urls(uploader: UploaderPage) -> None:
    uploader.drop(uploader.file("a.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    addresses = [uploader.site, uploader.site + File.objects.get().get_absolute_url(), f"{uploader.site}/upload/"]
    pages = [uploader.page.request.get(address).text() for address in addresses]
    assert all("</html>" in page for page in pages)
    assert "a.txt" in pages[0]
    assert "X-Amz-Signature" not in "".join(pages)


def test_links_of_stored_files_are_copied(uploader: UploaderPage) -> None:
    uploader.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=uploader.site)
    uploader.drop(uploader.file("a.txt"), uploader.file("b.txt"))
    uploader.expect_receipt("2 of 2 stored, size verified")
    uploader.click("Copy links")
    expect(uploader.tray.get_by_role("button", name="Copied")).to_be_visible()
    copied = uploader.page.evaluate("navigator.clipboard.readText()").split("\n")
    assert sorted(copied) == sorted(uploader.site + file.get_absolute_url() for file in File.objects.all())


def weight(response: Response) -> int:
    """Return the bytes on the wire; the proxy compresses the page itself."""
    if response.headers.get("content-encoding") in {"br", "gzip"}:
        return int(response.headers["content-length"])
    return len(gzip.compress(response.body()))


def test_page_with_scripts_and_styles_is_small_and_needs_few_requests(uploader: UploaderPage) -> None:
    page = uploader.page.context.new_page()
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    responses: list[Response] = []
    page.on("response", lambda response: responses.append(response))
    page.goto(uploader.site, wait_until="networkidle")
    weights = {response.url.rpartition("/")[2]: weight(response) for response in responses}
    page.close()
    scripts = [name for name in weights if name.endswith(".js")]
    assert any(name.startswith("main.") for name in scripts), "the scripts were not loaded"
    assert len(scripts) <= MAX_SCRIPTS, scripts
    assert sum(weights.values()) < MAX_BYTES, weights


def test_leaving_during_upload_is_confirmed(uploader: UploaderPage, tmp_path: Path) -> None:
    dialogs: list[str] = []

    def accept(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    uploader.page.on("dialog", accept)
    blocked = uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("slow.txt"))
    uploader.expect_state("0 %")
    uploader.page.mouse.click(200, 200)  # browsers confirm only on pages with a user gesture
    uploader.page.close(run_before_unload=True)
    uploader.page.wait_for_event("close")
    assert dialogs == ["beforeunload"]
    assert len(blocked.routes) == 1
