"""Upload errors: after each of them, the stored file is intact."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from tests.browser.uploader_page import WAIT_MS, UploaderPage, part_number
from tests.support.stores import Address, Bucket
from uploads.models import File, State

pytestmark = pytest.mark.slow

ERROR = '<?xml version="1.0"?><Error><Code>{}</Code></Error>'
OPEN = {"Access-Control-Allow-Origin": "*"}


def refuse_first_put(uploader: UploaderPage, status: int, code: str) -> list[int]:
    """Respond to the first PUT with this error. Return the numbers of the refused parts."""
    refused: list[int] = []

    def refuse(route: Route) -> None:
        if refused:
            return route.continue_()
        refused.append(part_number(route.request.url))
        return route.fulfill(status=status, body=ERROR.format(code), headers=OPEN)

    uploader.route_puts(refuse)
    return refused


def assert_stored(uploader: UploaderPage, bucket: Bucket, body: bytes) -> None:
    uploader.expect_receipt("1 of 1 stored, size verified")
    assert bucket.read(File.objects.get(state=State.AVAILABLE).key) == body


def test_expired_url_of_part_is_replaced(uploader: UploaderPage, bucket: Bucket) -> None:
    refused = refuse_first_put(uploader, 403, "AccessDenied")
    large = uploader.large_file(parts=3)
    uploader.drop(large)
    assert_stored(uploader, bucket, large.read_bytes())
    assert uploader.sent_parts().count(refused[0]) == 2


def test_expired_url_of_small_file_is_replaced(uploader: UploaderPage, bucket: Bucket) -> None:
    assert refuse_first_put(uploader, 403, "AccessDenied") == []
    uploader.drop(uploader.file("small.txt", b"small"))
    assert_stored(uploader, bucket, b"small")


def test_part_is_retried_after_503(uploader: UploaderPage, bucket: Bucket) -> None:
    refuse_first_put(uploader, 503, "SlowDown")
    large = uploader.large_file(parts=3)
    uploader.drop(large)
    assert_stored(uploader, bucket, large.read_bytes())


def test_upload_survives_refused_connections(uploader: UploaderPage, bucket: Bucket) -> None:
    attempts: list[int] = []

    def refuse(route: Route) -> None:
        attempts.append(part_number(route.request.url))
        if len(attempts) <= 6:
            return route.abort("connectionrefused")
        return route.continue_()

    uploader.route_puts(refuse)
    large = uploader.large_file(parts=3)
    uploader.drop(large)
    expect(uploader.tray).to_contain_text("Storage isn't responding. Your upload resumes", timeout=WAIT_MS)
    assert_stored(uploader, bucket, large.read_bytes())


def test_try_now_ends_the_wait_after_an_outage(uploader: UploaderPage, bucket: Bucket) -> None:
    uploader.page.evaluate("Math.random = () => 1")  # the longest backoff
    blocked = uploader.block_puts(lambda count: True)
    blocked.disconnect()
    uploader.drop(uploader.file("small.txt", b"small"))
    expect(uploader.tray.get_by_role("button", name="Try now")).to_be_visible(timeout=WAIT_MS)
    while blocked.count < 5:
        uploader.page.wait_for_timeout(50)
    blocked.reconnect()
    blocked.release()
    uploader.page.wait_for_timeout(500)
    assert blocked.count == 5
    uploader.click("Try now")  # 12 s before the next attempt
    expect(uploader.title).to_have_text("1 file uploaded")
    assert bucket.read(File.objects.get(state=State.AVAILABLE).key) == b"small"
    expect(uploader.tray.get_by_role("button", name="Try now")).to_be_hidden()


def test_lost_multipart_upload_is_sent_again(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: count > 2)
    large = uploader.large_file(parts=5)
    uploader.drop(large)
    blocked.wait_for(1, uploader.page)
    bucket.empty()  # also aborts multipart uploads
    blocked.release()
    assert_stored(uploader, bucket, large.read_bytes())


def test_finish_is_repeated_after_lost_response(uploader: UploaderPage, bucket: Bucket) -> None:
    statuses_of_finish: list[int] = []

    def lose(route: Route) -> None:
        statuses_of_finish.append(route.fetch().status)  # the server has processed it
        if len(statuses_of_finish) == 1:
            return route.abort("connectionreset")
        return route.continue_()

    uploader.page.route("**/uploads/finish/", lose)
    uploader.drop(uploader.file("once.txt", b"once"))
    assert_stored(uploader, bucket, b"once")
    assert len(statuses_of_finish) == 2
    assert File.objects.count() == 1


def test_offline_upload_waits_and_resumes(uploader: UploaderPage, bucket: Bucket) -> None:
    blocked = uploader.block_puts(lambda count: count > 2)
    large = uploader.large_file(parts=6)
    uploader.drop(large)
    blocked.wait_for(1, uploader.page)
    uploader.page.context.set_offline(True)
    blocked.fail()
    uploader.expect_state("waiting for the network…")
    expect(uploader.tray).to_contain_text("resumes when you're back online")
    uploader.page.context.set_offline(False)
    assert_stored(uploader, bucket, large.read_bytes())


def test_file_that_is_chosen_offline_is_listed_at_once_and_uploaded_later(
    uploader: UploaderPage, bucket: Bucket
) -> None:
    uploader.page.context.set_offline(True)
    with uploader.page.expect_file_chooser() as chooser:
        uploader.page.get_by_role("link", name="Upload", exact=True).click()
    chooser.value.set_files(uploader.file("notes.txt", b"offline"))
    expect(uploader.tray.locator("[data-ref=name]")).to_have_text("notes.txt", timeout=2000)
    expect(uploader.tray).to_contain_text("resumes when you're back online")
    uploader.page.context.set_offline(False)
    assert_stored(uploader, bucket, b"offline")


def test_part_with_flipped_bit_is_refused_and_sent_again(
    uploader: UploaderPage, small_parts_digest_site: str, digest_store: Address
) -> None:
    """The storage rejects a body that was corrupted after it left the page."""
    large = uploader.large_file(parts=3)
    uploader.page.goto(small_parts_digest_site)
    statuses: list[int] = []

    def corrupt(route: Route) -> None:
        if statuses or part_number(route.request.url) != 2:
            return route.continue_()
        body = bytearray(large.read_bytes()[5 * 1024**2 : 10 * 1024**2])
        body[12345] ^= 1
        response = route.fetch(post_data=bytes(body))
        statuses.append(response.status)
        return route.fulfill(response=response, headers={**response.headers, **OPEN})

    uploader.route_puts(corrupt)
    uploader.drop(large)
    uploader.expect_receipt("1 of 1 stored and verified")
    assert statuses == [400]
    assert Bucket(digest_store).read(File.objects.get(state=State.AVAILABLE).key) == large.read_bytes()


def test_permanent_error_lists_the_file_as_failed(uploader: UploaderPage) -> None:
    assert refuse_first_put(uploader, 405, "MethodNotAllowed") == []
    uploader.drop(uploader.file("refused.txt"))
    uploader.expect_receipt("0 of 1 stored. 1 failed")
    expect(uploader.tray.locator(".receipt-failures")).to_contain_text("refused.txt")
    uploader.click("Retry", within=uploader.tray.locator(".receipt-failures"))
    uploader.expect_receipt("1 of 1 stored, size verified")


def test_signed_out_upload_waits_for_sign_in(uploader: UploaderPage, bucket: Bucket) -> None:
    jar = uploader.page.context.cookies()
    uploader.page.context.clear_cookies()
    uploader.drop(uploader.file("later.txt", b"later"))
    expect(uploader.tray.get_by_role("alert")).to_contain_text("signed out", timeout=WAIT_MS)
    for cookie in jar:
        uploader.page.context.add_cookies(
            [{"name": cookie["name"], "value": cookie["value"], "url": uploader.site}]
        )  # as after a sign-in in another tab
    uploader.click("Continue")
    assert_stored(uploader, bucket, b"later")


def test_error_of_batch_is_shown_for_each_file(uploader: UploaderPage) -> None:
    body = '{"error": {"code": "over_quota", "message": "Your files fill your share already."}}'
    uploader.page.route(
        "**/uploads/",
        lambda route: (
            route.fulfill(status=413, body=body, content_type="application/json")
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    uploader.drop(uploader.file("a.txt"), uploader.file("b.txt"))
    uploader.expect_receipt("0 of 2 stored. 2 failed")
    expect(uploader.tray.locator(".receipt-failures li").first).to_contain_text("Your files fill your share already.")
