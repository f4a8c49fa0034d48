"""Pause, resume and cancel: no part is sent twice, and a canceled upload leaves nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.uploader_page import WAIT_MS, UploaderPage
from tests.support.stores import Bucket
from uploads.models import File, State

pytestmark = pytest.mark.slow


def is_stored(bucket: Bucket, body: bytes) -> bool:
    file = File.objects.get(state=State.AVAILABLE)
    return bucket.read(file.key) == body


def test_paused_upload_resumes_with_missing_parts(uploader: UploaderPage, bucket: Bucket) -> None:
    large = uploader.large_file(parts=8)
    blocked = uploader.block_puts(lambda count: count > 3)
    uploader.drop(large)
    blocked.wait_for(4, uploader.page)
    uploader.click("Pause")
    uploader.expect_state("paused at")
    before = len(uploader.puts)
    blocked.release()
    uploader.page.wait_for_timeout(300)
    assert len(uploader.puts) == before < 8
    uploader.click("Resume")
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert sorted(uploader.sent_parts()) == [1, 2, 3, 4, 5, 6, 7, 8]  # each part once, including the blocked ones
    assert is_stored(bucket, large.read_bytes())


def test_blocked_parts_are_sent_again_after_a_pause(uploader: UploaderPage, bucket: Bucket) -> None:
    large = uploader.large_file(parts=3)
    blocked = uploader.block_puts(lambda count: count == 1)
    uploader.drop(large)
    blocked.wait_for(1, uploader.page)
    # the pause can also end the call that signs the next parts
    with uploader.page.expect_event(
        "requestfailed", lambda request: request.method == "PUT", timeout=WAIT_MS
    ) as failed:
        uploader.click("Pause")
        uploader.expect_state("paused at")
        uploader.click("Resume")  # waits for the part
    assert failed.value.method == "PUT"
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert sorted(set(uploader.sent_parts())) == [1, 2, 3]
    assert is_stored(bucket, large.read_bytes())


def test_pause_on_a_slow_connection_keeps_what_was_sent(uploader: UploaderPage) -> None:
    session = uploader.page.context.new_cdp_session(uploader.page)
    speed = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_300_000}
    session.send("Network.emulateNetworkConditions", speed)
    failed: list[str] = []
    uploader.page.on("requestfailed", lambda request: failed.append(request.url))
    uploader.drop(uploader.large_file(parts=12))
    expect(uploader.tray).to_contain_text("MB/s", timeout=WAIT_MS)  # the speed is known
    uploader.click("Pause")
    uploader.expect_state("pausing")
    expect(uploader.tray.locator(".tray-state")).to_contain_text("paused at", timeout=40_000)
    assert failed == []
    session.send("Network.emulateNetworkConditions", {**speed, "uploadThroughput": -1})
    uploader.click("Resume")
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert sorted(uploader.sent_parts()) == list(range(1, 13))  # each part once


def test_all_uploads_pause_and_resume(uploader: UploaderPage) -> None:
    blocked = uploader.block_puts(lambda count: count > 2)
    for number in range(20):
        uploader.file(f"some/{number}.txt")
    uploader.drop(uploader.folder / "some", uploader.large_file(parts=3))
    expect(uploader.title).to_contain_text("of 21", timeout=WAIT_MS)
    uploader.click("Pause")
    expect(uploader.title).to_contain_text("Paused at")
    blocked.release()
    uploader.click("Resume")
    uploader.expect_receipt("21 of 21 stored, size verified")


def test_canceled_upload_leaves_nothing(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: count > 2)
    uploader.drop(uploader.large_file(parts=6))
    blocked.wait_for(1, uploader.page)
    with uploader.page.expect_response(lambda response: response.request.method == "DELETE") as response:
        uploader.click("Cancel")
    assert response.value.status == 204
    uploader.expect_title("1 upload canceled")
    uploader.expect_state("canceled")
    expect(uploader.page.locator("#live-region")).to_have_text("Canceled \u2068large.bin\u2069.")
    expect(uploader.tray.get_by_role("list", name="Uploads")).to_be_focused()
    expect(uploader.rows.get_by_role("button")).to_have_count(0)
    uploader.click("Close")
    expect(uploader.tray).to_be_hidden()
    assert bucket.objects() == {}
    assert bucket.multipart_uploads() == []
    assert not File.objects.exclude(state=State.DELETING).exists()


def test_cancel_all_is_confirmed_and_keeps_stored_files(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.drop(uploader.file("kept.txt"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("a.txt"), uploader.file("b.txt"))
    expect(uploader.title).to_have_text("Uploading 0 of 2", timeout=WAIT_MS)
    uploader.click("Cancel")
    expect(uploader.page.get_by_role("dialog")).to_contain_text("Cancel 2 uploads?")
    uploader.page.get_by_role("button", name="Cancel uploads").click()
    uploader.expect_title("2 uploads canceled")
    expect(uploader.page.locator("#live-region")).to_have_text("2 uploads canceled")
    expect(uploader.tray.locator(":focus")).to_have_count(1)
    assert len(bucket.objects()) == 1


def test_one_canceled_upload_of_several_stays_in_the_list(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: True)
    uploader.drop(uploader.file("a.txt"), uploader.file("b.txt"))
    blocked.wait_for(2, uploader.page)
    uploader.click("Cancel", within=uploader.rows.nth(0))
    uploader.expect_state("canceled")
    expect(uploader.page.locator("#live-region")).to_have_text("Canceled \u2068a.txt\u2069.")
    uploader.expect_title("Uploading \u2068b.txt\u2069")
    blocked.release()
    uploader.expect_receipt("1 of 1 stored, size verified")
    expect(uploader.rows.locator(".tray-state")).to_have_text(["canceled", "✓ uploaded"])
    assert len(bucket.objects()) == 1


def test_only_missing_parts_are_sent_after_reload(uploader: UploaderPage, bucket: Bucket) -> None:
    large = uploader.large_file(parts=8)
    blocked = uploader.block_puts(lambda count: count > 3)
    uploader.drop(large)
    blocked.wait_for(4, uploader.page)
    uploader.page.on("dialog", lambda dialog: dialog.accept())
    stored_parts = set(uploader.sent_parts()) - set(blocked.disconnect())
    uploader.page.goto(uploader.site)
    blocked.reconnect()
    expect(uploader.page.get_by_role("link", name="Unfinished 1")).to_be_visible()
    assert len(stored_parts) == 3
    uploader.puts.clear()
    uploader.drop(large)
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert sorted(uploader.sent_parts()) == sorted(set(range(1, 9)) - stored_parts)
    assert is_stored(bucket, large.read_bytes())


def test_changed_file_of_same_name_starts_new_upload(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: count > 2)
    uploader.drop(uploader.large_file(parts=4))
    blocked.wait_for(1, uploader.page)
    uploader.page.on("dialog", lambda dialog: dialog.accept())
    blocked.disconnect()
    uploader.page.goto(uploader.site)
    blocked.reconnect()
    changed = uploader.large_file(parts=3)
    uploader.drop(changed)
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert is_stored(bucket, changed.read_bytes())
    assert File.objects.filter(state=State.UPLOADING).count() == 1


def test_two_tabs_with_same_file_create_two_uploads(uploader: UploaderPage, bucket: Bucket) -> None:
    large = uploader.large_file(parts=4)
    blocked = uploader.block_puts(lambda count: count > 1)
    uploader.drop(large)
    blocked.wait_for(1, uploader.page)
    tab = uploader.page.context.new_page()
    tab.goto(uploader.site)
    other = UploaderPage(tab, uploader.folder, uploader.site)
    other.drop(large)
    other.expect_receipt("1 of 1 stored, size verified")
    blocked.release()
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert [bucket.read(file.key) for file in File.objects.filter(state=State.AVAILABLE)] == [large.read_bytes()] * 2
    tab.close()
