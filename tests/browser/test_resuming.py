"""Pause, cancel, resume: what was sent is never sent twice, and what is given up leaves nothing."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.hands import WAIT_MS, Hands
from tests.support.stores import Bucket
from uploads.models import File, State


def is_stored(bucket: Bucket, body: bytes) -> bool:
    file = File.objects.get(state=State.AVAILABLE)
    return bucket.read(file.key) == body


def test_a_paused_file_goes_on_where_it_stopped(hands: Hands, bucket: Bucket) -> None:
    large = hands.large(parts=8)
    held = hands.hold(lambda count: count > 3)
    hands.drop(large)
    held.wait_for(4, hands.page)
    hands.press("Pause", within=hands.rows.first)
    hands.waits_until("paused at")
    before = len(hands.sent)
    held.let_go()
    hands.page.wait_for_timeout(300)
    assert len(hands.sent) == before
    hands.press("Resume", within=hands.rows.first)
    hands.sees("1 of 1 stored, size verified")
    assert sorted(set(hands.parts_sent())) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(hands.sent) == before + 5  # only what was not there
    assert is_stored(bucket, large.read_bytes())


def test_everything_pauses_and_goes_on(hands: Hands) -> None:
    held = hands.hold(lambda count: count > 2)
    for number in range(20):
        hands.file(f"some/{number}.txt")
    hands.drop(hands.folder / "some", hands.large(parts=3))
    expect(hands.title).to_contain_text("of 21", timeout=WAIT_MS)
    hands.press("Pause")
    expect(hands.title).to_contain_text("Paused at")
    held.let_go()
    hands.press("Resume")
    hands.sees("21 of 21 stored, size verified")


def test_a_cancelled_file_leaves_nothing(hands: Hands, bucket: Bucket) -> None:
    held = hands.hold(lambda count: count > 2)
    hands.drop(hands.large(parts=6))
    held.wait_for(1, hands.page)
    with hands.page.expect_response(lambda answer: answer.request.method == "DELETE") as answer:
        hands.press("Cancel", within=hands.rows.first)
    assert answer.value.status == 204
    expect(hands.tray).to_be_hidden()
    assert bucket.objects() == {}
    assert bucket.multipart_uploads() == []
    assert not File.objects.exclude(state=State.DELETING).exists()


def test_cancelling_all_asks_and_keeps_what_is_stored(hands: Hands, bucket: Bucket) -> None:
    hands.drop(hands.file("kept.txt"))
    hands.sees("1 of 1 stored, size verified")
    hands.hold(lambda count: True)
    hands.drop(hands.file("a.txt"), hands.file("b.txt"))
    expect(hands.title).to_have_text("Uploading 0 of 2", timeout=WAIT_MS)
    hands.press("Cancel")
    expect(hands.page.get_by_role("dialog")).to_contain_text("Cancel 2 uploads?")
    hands.page.get_by_role("button", name="Cancel them").click()
    expect(hands.tray).to_be_hidden()
    assert len(bucket.objects()) == 1


def test_after_a_reload_only_missing_parts_are_sent(hands: Hands, bucket: Bucket) -> None:
    large = hands.large(parts=8)
    held = hands.hold(lambda count: count > 3)
    hands.drop(large)
    held.wait_for(4, hands.page)
    hands.page.on("dialog", lambda dialog: dialog.accept())
    there = set(hands.parts_sent()) - set(held.cut())
    hands.page.goto(hands.site)
    held.reconnect()
    expect(hands.page.get_by_role("link", name="Unfinished 1")).to_be_visible()
    assert len(there) == 3
    hands.sent.clear()
    hands.drop(large)
    hands.sees("1 of 1 stored, size verified")
    assert sorted(hands.parts_sent()) == sorted(set(range(1, 9)) - there)
    assert is_stored(bucket, large.read_bytes())


def test_a_changed_file_of_the_same_name_starts_anew(hands: Hands, bucket: Bucket) -> None:
    held = hands.hold(lambda count: count > 2)
    hands.drop(hands.large(parts=4))
    held.wait_for(1, hands.page)
    hands.page.on("dialog", lambda dialog: dialog.accept())
    held.cut()
    hands.page.goto(hands.site)
    held.reconnect()
    changed = hands.large(parts=3)
    hands.drop(changed)
    hands.sees("1 of 1 stored, size verified")
    assert is_stored(bucket, changed.read_bytes())
    assert File.objects.filter(state=State.UPLOADING).count() == 1


def test_two_tabs_with_one_file_make_two_rows(hands: Hands, bucket: Bucket) -> None:
    large = hands.large(parts=4)
    held = hands.hold(lambda count: count > 1)
    hands.drop(large)
    held.wait_for(1, hands.page)
    tab = hands.page.context.new_page()
    tab.goto(hands.site)
    other = Hands(tab, hands.folder, hands.site)
    other.drop(large)
    other.sees("1 of 1 stored, size verified")
    held.let_go()
    hands.sees("1 of 1 stored, size verified")
    assert [bucket.read(file.key) for file in File.objects.filter(state=State.AVAILABLE)] == [large.read_bytes()] * 2
    tab.close()
