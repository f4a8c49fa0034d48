"""Where the store checks no digests, the receipt says no more than what is known, and says it all in the end."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.hands import Hands
from tests.support.stores import Bucket
from uploads import services
from uploads.models import File


def test_the_receipt_says_verified_once_the_bytes_were_read(hands: Hands) -> None:
    hands.drop(hands.file("a.txt"), hands.file("b.txt"))
    hands.sees("2 of 2 stored, size verified")
    for file in File.objects.all():
        services.verify(file)
    hands.sees("2 of 2 stored and verified")
    expect(hands.rows.first).to_contain_text("✓ stored and verified")


def test_damage_found_by_reading_is_told_and_can_be_sent_again(hands: Hands, bucket: Bucket) -> None:
    hands.drop(hands.file("a.txt", b"right"))
    hands.sees("1 of 1 stored, size verified")
    file = File.objects.get()
    bucket.write(file.key, b"wrong")
    services.verify(file)
    hands.sees("0 of 1 stored. 1 failed")
    expect(hands.tray).to_contain_text("The stored bytes are not the ones that were sent.")
    hands.press("Retry", within=hands.tray)
    hands.sees("1 of 1 stored, size verified")
    assert {bucket.read(each.key) for each in File.objects.all()} == {b"wrong", b"right"}
