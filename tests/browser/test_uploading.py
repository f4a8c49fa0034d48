"""Files go from the page into the bucket."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Response, Route, expect

from tests.browser.hands import WAIT_MS, Hands
from tests.support import rows
from tests.support.clusters import until
from tests.support.stores import Bucket
from uploads.models import File, State

# Frames of a page that is worked on by hand are shorter than this, even on a small machine under load.
LONGEST_TASK_MS = 350
MAX_ROWS = 40
MAX_BYTES = 60 * 1024


def stored(bucket: Bucket) -> dict[str, bytes]:
    """Path and bytes of every available file, read from the bucket."""
    return {rows.path_of(file): bucket.read(file.key) for file in File.objects.filter(state=State.AVAILABLE)}


def test_dropped_files_and_a_folder_are_stored(hands: Hands, bucket: Bucket) -> None:
    one = hands.file("one.txt", b"first")
    empty = hands.file("nothing.txt", b"")
    large = hands.large(parts=3)
    for number in range(120):  # more than a browser lists of a folder at once
        hands.file(f"tree/deep/{number}.txt", str(number).encode())
    hands.drop(one, empty, large, hands.folder / "tree")
    hands.sees("123 of 123 stored, size verified")
    found = stored(bucket)
    assert found["one.txt"] == b"first"
    assert found["nothing.txt"] == b""
    assert found["large.bin"] == large.read_bytes()
    assert found["tree/deep/119.txt"] == b"119"
    assert len(found) == 123


def test_the_receipt_links_to_the_files_and_the_library_shows_them(hands: Hands) -> None:
    hands.drop(hands.file("report.txt"))
    hands.sees("1 of 1 stored, size verified")
    expect(hands.page.locator("#list")).to_contain_text("report.txt")
    assert hands.page.locator("#live-region").text_content() == "1 of 1 stored, size verified"
    hands.rows.first.get_by_role("link").click()
    expect(hands.page.get_by_role("heading", level=1)).to_have_text("report.txt")
    expect(hands.tray).to_be_visible()  # it stays while people move between pages


def test_a_store_that_checks_digests_verifies_at_once(
    hands: Hands, small_parts_digest_site: str, digest_store: object
) -> None:
    hands.page.goto(small_parts_digest_site)
    hands.drop(hands.large(parts=3), hands.file("small.txt"))
    hands.sees("2 of 2 stored and verified")


def test_chosen_files_go_the_same_way(hands: Hands, bucket: Bucket) -> None:
    hands.page.goto(f"{hands.site}/upload/")
    hands.page.get_by_label("Private").check()
    hands.page.locator("#id_files").set_input_files([hands.file("a.txt"), hands.file("b.txt")])
    hands.press("Upload", within=hands.page.locator("#main"))
    hands.sees("2 of 2 stored, size verified")
    assert set(stored(bucket)) == {"a.txt", "b.txt"}
    assert set(File.objects.values_list("visibility", flat=True)) == {"private"}


def test_a_chosen_folder_keeps_its_paths(hands: Hands, bucket: Bucket) -> None:
    hands.file("brand/logos/dark.svg")
    hands.page.goto(f"{hands.site}/upload/")
    hands.page.get_by_label("Choose a folder").set_input_files(hands.folder / "brand")
    hands.sees("1 of 1 stored, size verified")
    assert set(stored(bucket)) == {"brand/logos/dark.svg"}


def test_system_files_and_empty_folders_in_drop_are_left_out_and_named(hands: Hands, bucket: Bucket) -> None:
    hands.file("tree/a.txt")
    for name in ("tree/.DS_Store", "tree/sub/._a.txt", "tree/sub/desktop.ini", "tree/sub/b.txt"):
        hands.file(name)
    (hands.folder / "tree/nothing here").mkdir()
    hands.drop(hands.folder / "tree")
    hands.sees("2 of 2 stored, size verified")
    expect(hands.tray.locator("[data-ref=skipped]")).to_have_text(
        re.compile(r"Left out 3 system files: (\S+, ){2}\S+\. Left out 1 empty folder: tree/nothing here\.")
    )
    assert set(stored(bucket)) == {"tree/a.txt", "tree/sub/b.txt"}


def test_drop_of_an_empty_folder_alone_says_so(hands: Hands, bucket: Bucket) -> None:
    (hands.folder / "bare").mkdir()
    hands.drop(hands.folder / "bare")
    hands.sees("No files to upload")
    expect(hands.tray).to_contain_text("Left out 1 empty folder: bare.")


def test_system_files_of_chosen_folder_are_left_out(hands: Hands, bucket: Bucket) -> None:
    hands.file("brand/logos/dark.svg")
    hands.file("brand/logos/Thumbs.db")
    hands.page.goto(f"{hands.site}/upload/")
    hands.page.get_by_label("Choose a folder").set_input_files(hands.folder / "brand")
    hands.sees("1 of 1 stored, size verified")
    expect(hands.tray).to_contain_text("Left out 1 system file: Thumbs.db.")


def test_socket_in_drop_fails_at_once_and_leaves_nothing(hands: Hands, bucket: Bucket) -> None:
    hands.file("tree/a.txt", b"first")
    hands.file("tree/empty.txt", b"")
    with contextlib.chdir(hands.folder / "tree"), socket.socket(socket.AF_UNIX) as special:
        special.bind("control")  # by a short path: that of a socket has room for 108 bytes
        hands.drop(hands.folder / "tree")
        hands.sees("2 of 3 stored, size verified. 1 failed")
    expect(hands.tray).to_contain_text("Not a regular file")
    assert set(stored(bucket)) == {"tree/a.txt", "tree/empty.txt"}
    until(lambda: not File.objects.filter(state=State.UPLOADING).exists())


@pytest.mark.faults
def test_pipe_in_drop_ends_as_failed_within_a_minute(hands: Hands, bucket: Bucket) -> None:
    hands.file("tree/a.txt", b"first")
    os.mkfifo(hands.folder / "tree" / "pipe")
    hands.drop(hands.folder / "tree")
    expect(hands.title).to_have_text("1 of 2 stored, size verified. 1 failed", timeout=60_000)
    assert set(stored(bucket)) == {"tree/a.txt"}


def test_empty_file_gets_through_after_a_network_failure(hands: Hands, bucket: Bucket) -> None:
    held = hands.hold(lambda count: count <= 2)
    hands.drop(hands.file("nothing.txt", b""))
    held.wait_for(1, hands.page)
    held.lose()
    hands.sees("1 of 1 stored, size verified")
    assert stored(bucket) == {"nothing.txt": b""}


def test_a_pasted_picture_gets_a_name_of_its_own(hands: Hands) -> None:
    hands.page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], "image.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
        }"""
    )
    hands.sees("1 of 1 stored, size verified")
    assert File.objects.get().name.startswith("pasted 20")


def test_a_hundred_small_files_cost_two_calls(hands: Hands) -> None:
    calls: list[str] = []
    hands.page.on("request", lambda request: calls.append(request.url) if request.method == "POST" else None)
    for number in range(100):
        hands.file(f"many/{number}.txt", str(number).encode())
    hands.drop(hands.folder / "many")
    hands.sees("100 of 100 stored, size verified")
    assert calls == [f"{hands.site}/uploads/", f"{hands.site}/uploads/finish/"]


@pytest.mark.faults
def test_two_thousand_files_in_one_drop_stay_smooth(hands: Hands) -> None:
    hands.page.evaluate(
        """() => {
            window.longTasks = []; window.mostRows = 0;
            new PerformanceObserver((list) => {
                for (const task of list.getEntries()) window.longTasks.push(task.duration);
            }).observe({type: "longtask", buffered: true});
            setInterval(() => {
                window.mostRows = Math.max(window.mostRows, document.querySelectorAll(".tray-row").length);
            }, 50);
        }"""
    )
    for number in range(2000):
        hands.file(f"crowd/{number:04}.txt", b"x")
    hands.drop(hands.folder / "crowd")
    expect(hands.title).to_contain_text("of 2,000", timeout=WAIT_MS)
    expect(hands.title).to_have_text("2,000 of 2,000 stored, size verified", timeout=60_000)
    assert File.objects.filter(state=State.AVAILABLE).count() == 2000
    assert hands.page.evaluate("window.mostRows") < MAX_ROWS
    *others, longest = sorted([0, 0, *hands.page.evaluate("window.longTasks")])
    assert others[-1] < LONGEST_TASK_MS
    assert longest < 2 * LONGEST_TASK_MS  # once, the machine may have been busy with another test


def test_a_hostile_name_is_only_text(hands: Hands) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    dialogs: list[str] = []
    hands.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    hands.page.evaluate(
        """(name) => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], name));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));
        }""",
        name,
    )
    hands.sees("1 of 1 stored, size verified")
    expect(hands.page.locator("#list")).to_contain_text(name)
    hands.rows.first.get_by_role("link").click()
    expect(hands.page.get_by_role("heading", level=1)).to_have_text(name)
    assert dialogs == []
    assert hands.page.locator("img[src=x]").count() == 0


def test_one_bad_file_stops_no_other(hands: Hands) -> None:
    gone = hands.file("gone.txt")
    hands.page.goto(f"{hands.site}/upload/")

    def vanish(route: Route) -> None:
        gone.unlink(missing_ok=True)
        route.continue_()

    hands.page.route("**/uploads/", vanish)
    hands.page.locator("#id_files").set_input_files([gone, hands.file("there.txt")])
    hands.press("Upload", within=hands.page.locator("#main"))
    hands.sees("1 of 2 stored, size verified. 1 failed")
    failure = hands.tray.locator(".receipt-failures")
    expect(failure).to_contain_text("gone.txt")
    expect(failure).to_contain_text("Choose it again")
    expect(failure.get_by_role("button", name="Retry")).to_be_visible()


def test_no_page_of_ours_holds_a_signature(hands: Hands) -> None:
    hands.drop(hands.file("a.txt"))
    hands.sees("1 of 1 stored, size verified")
    addresses = [hands.site, hands.site + File.objects.get().get_absolute_url(), f"{hands.site}/upload/"]
    pages = [hands.page.request.get(address).text() for address in addresses]
    assert all("</html>" in page for page in pages)
    assert "a.txt" in pages[0]
    assert "X-Amz-Signature" not in "".join(pages)


def test_links_of_all_stored_files_are_copied(hands: Hands) -> None:
    hands.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=hands.site)
    hands.drop(hands.file("a.txt"), hands.file("b.txt"))
    hands.sees("2 of 2 stored, size verified")
    hands.press("Copy links")
    expect(hands.tray.get_by_role("button", name="Copied")).to_be_visible()
    copied = hands.page.evaluate("navigator.clipboard.readText()").split("\n")
    assert sorted(copied) == sorted(hands.site + file.get_absolute_url() for file in File.objects.all())


def weight(answer: Response) -> int:
    """Bytes on the wire; the page itself is compressed by whatever stands in front of us."""
    if answer.headers.get("content-encoding") in {"br", "gzip"}:
        return int(answer.headers["content-length"])
    return len(gzip.compress(answer.body()))


def test_the_page_with_scripts_and_styles_weighs_little(hands: Hands) -> None:
    page = hands.page.context.new_page()
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(hands.site, wait_until="networkidle")
    weights = {answer.url.rpartition("/")[2]: weight(answer) for answer in answers}
    page.close()
    assert len(weights) > 20, "the modules were not loaded"
    assert sum(weights.values()) < MAX_BYTES, weights


def test_leaving_while_bytes_move_asks_first(hands: Hands, tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    hands.page.on("dialog", answer)
    held = hands.hold(lambda count: True)
    hands.drop(hands.file("slow.txt"))
    hands.waits_until("0 %")
    hands.page.mouse.click(200, 200)  # a browser asks only on pages that somebody touched
    hands.page.close(run_before_unload=True)
    hands.page.wait_for_event("close")
    assert asked == ["beforeunload"]
    assert len(held.routes) == 1
