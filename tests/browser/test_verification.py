"""The receipt where the storage does not check checksums: "size verified" first, "verified" after verification."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.uploader_page import UploaderPage
from tests.support.stores import Bucket
from tests.support.verification import verify_file
from uploads.models import File


def test_receipt_says_verified_after_verification(uploader: UploaderPage) -> None:
    uploader.drop(uploader.file("a.txt"), uploader.file("b.txt"))
    uploader.expect_receipt("2 of 2 stored, size verified")
    for file in File.objects.all():
        verify_file(file)
    uploader.expect_receipt("2 of 2 stored and verified")
    expect(uploader.rows.first).to_contain_text("✓ verified")


def test_corrupted_file_is_shown_and_can_be_retried(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.drop(uploader.file("a.txt", b"right"))
    uploader.expect_receipt("1 of 1 stored, size verified")
    file = File.objects.get()
    bucket.write(file.key, b"wrong")
    verify_file(file)
    uploader.expect_receipt("0 of 1 stored. 1 failed")
    expect(uploader.tray).to_contain_text("The stored file doesn't match the file you sent.")
    uploader.click("Retry", within=uploader.tray)
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert {bucket.read(each.key) for each in File.objects.all()} == {b"wrong", b"right"}
