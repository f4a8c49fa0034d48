"""The parts of a large file: hashed ahead, signed in batches, sent as soon as possible."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from tests.browser.uploader_page import MIB, UploaderPage
from tests.support.stores import Bucket
from uploads.models import File, State
from uploads.parts import checksum_of, digest_of

pytestmark = pytest.mark.slow

# Hash only the first `allowed` parts until `allowed` is raised.
HOLD_HASHES = """(count) => {
    const digest = SubtleCrypto.prototype.digest;
    window.hashes = 0;
    window.allowed = count;
    SubtleCrypto.prototype.digest = async function (...parameters) {
        window.hashes += 1;
        const number = window.hashes;
        while (number > window.allowed) await new Promise((resolve) => setTimeout(resolve, 20));
        return digest.apply(this, parameters);
    };
}"""

# The page says another part size than the server uses.
EXPECT_OTHER_PARTS = """new MutationObserver(() => {
    const tray = document.getElementById("tray");
    if (tray) tray.dataset.partBytes = EXPECTED;
}).observe(document, {childList: true, subtree: true});"""


def checksum_of_parts(body: bytes, part_size: int) -> str:
    return checksum_of([digest_of(body[start : start + part_size]) for start in range(0, len(body), part_size)])


def test_first_part_is_hashed_while_the_upload_is_created(uploader: UploaderPage, bucket: Bucket) -> None:
    page = uploader.page
    page.evaluate(HOLD_HASHES, 100)
    creates: list[Route] = []
    page.route("**/uploads/", lambda route: creates.append(route))
    large = uploader.large_file(parts=3)
    uploader.drop(large)
    while not creates or page.evaluate("window.hashes") < 1:
        page.wait_for_timeout(50)
    creates[0].continue_()
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert page.evaluate("window.hashes") == 3  # no part was hashed twice
    assert File.objects.get().checksum == checksum_of_parts(large.read_bytes(), 5 * MIB)


def test_first_part_is_sent_before_the_others_are_hashed(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.page.evaluate(HOLD_HASHES, 1)
    large = uploader.large_file(parts=4)
    with uploader.page.expect_response(lambda response: response.request.method == "PUT" and response.ok):
        uploader.drop(large)
    assert uploader.sent_parts() == [1]
    uploader.page.evaluate("window.allowed = 100")
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert bucket.read(File.objects.get(state=State.AVAILABLE).key) == large.read_bytes()


def test_parts_that_are_hashed_while_others_are_sent_are_signed_in_one_call(uploader: UploaderPage) -> None:
    calls: list[int] = []

    def count_parts(route: Route) -> None:
        calls.append(len((route.request.post_data_json or {})["parts"]))
        route.continue_()

    uploader.page.route("**/parts/", count_parts)
    blocked = uploader.block_puts(lambda count: count <= 4)
    uploader.drop(uploader.large_file(parts=16))
    blocked.wait_for(4, uploader.page)
    uploader.page.wait_for_timeout(1000)
    blocked.release()
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert sum(calls) == 16
    assert max(calls) >= 4


def test_part_is_hashed_again_if_the_server_decides_another_size(uploader: UploaderPage) -> None:
    page = uploader.page
    page.add_init_script(f"const EXPECTED = {12 * MIB};" + EXPECT_OTHER_PARTS)
    page.reload()
    expect(page.locator(f"#tray[data-part-bytes='{12 * MIB}']")).to_be_attached()
    large = uploader.large_file(parts=4)
    uploader.drop(large)
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert File.objects.get().checksum == checksum_of_parts(large.read_bytes(), 5 * MIB)
