"""What goes wrong on the way, and that the file arrives all the same."""

from __future__ import annotations

from playwright.sync_api import Route, expect

from tests.browser.hands import WAIT_MS, Hands, part_number
from tests.support.stores import Address, Bucket
from uploads.models import File, State

ERROR = '<?xml version="1.0"?><Error><Code>{}</Code></Error>'
OPEN = {"Access-Control-Allow-Origin": "*"}


def first_time(hands: Hands, status: int, code: str) -> list[int]:
    """The store answers the first PUT so; what comes later passes. Gives the numbers refused."""
    refused: list[int] = []

    def refuse(route: Route) -> None:
        if refused:
            return route.continue_()
        refused.append(part_number(route.request.url))
        return route.fulfill(status=status, body=ERROR.format(code), headers=OPEN)

    hands.on_put(refuse)
    return refused


def is_whole(hands: Hands, bucket: Bucket, body: bytes) -> None:
    hands.sees("1 of 1 stored, size verified")
    assert bucket.read(File.objects.get(state=State.AVAILABLE).key) == body


def test_an_expired_url_is_replaced(hands: Hands, bucket: Bucket) -> None:
    refused = first_time(hands, 403, "AccessDenied")
    large = hands.large(parts=3)
    hands.drop(large)
    is_whole(hands, bucket, large.read_bytes())
    assert hands.parts_sent().count(refused[0]) == 2


def test_an_expired_url_of_a_small_file_is_replaced(hands: Hands, bucket: Bucket) -> None:
    assert first_time(hands, 403, "AccessDenied") == []
    hands.drop(hands.file("small.txt", b"small"))
    is_whole(hands, bucket, b"small")


def test_a_fault_of_the_store_is_tried_again(hands: Hands, bucket: Bucket) -> None:
    first_time(hands, 503, "SlowDown")
    large = hands.large(parts=3)
    hands.drop(large)
    is_whole(hands, bucket, large.read_bytes())


def test_a_store_that_is_away_for_a_while_loses_nothing(hands: Hands, bucket: Bucket) -> None:
    tries: list[int] = []

    def refuse(route: Route) -> None:
        tries.append(part_number(route.request.url))
        if len(tries) <= 6:
            return route.abort("connectionrefused")
        return route.continue_()

    hands.on_put(refuse)
    large = hands.large(parts=3)
    hands.drop(large)
    expect(hands.tray).to_contain_text("The store did not answer. Nothing is lost", timeout=WAIT_MS)
    is_whole(hands, bucket, large.read_bytes())


def test_a_lost_multipart_upload_is_begun_again(hands: Hands, bucket: Bucket) -> None:
    held = hands.hold(lambda count: count > 2)
    large = hands.large(parts=5)
    hands.drop(large)
    held.wait_for(1, hands.page)
    bucket.empty()  # also aborts what is unfinished
    held.let_go()
    is_whole(hands, bucket, large.read_bytes())


def test_a_lost_answer_of_finish_is_asked_for_again(hands: Hands, bucket: Bucket) -> None:
    answered: list[int] = []

    def lose(route: Route) -> None:
        answered.append(route.fetch().status)  # the server has done it
        if len(answered) == 1:
            return route.abort("connectionreset")
        return route.continue_()

    hands.page.route("**/uploads/finish/", lose)
    hands.drop(hands.file("once.txt", b"once"))
    is_whole(hands, bucket, b"once")
    assert len(answered) == 2
    assert File.objects.count() == 1


def test_offline_it_waits_and_then_goes_on(hands: Hands, bucket: Bucket) -> None:
    held = hands.hold(lambda count: count > 2)
    large = hands.large(parts=6)
    hands.drop(large)
    held.wait_for(1, hands.page)
    hands.page.context.set_offline(True)
    held.lose()
    hands.waits_until("waiting for the network…")
    expect(hands.tray).to_contain_text("goes on when the network is back")
    hands.page.context.set_offline(False)
    is_whole(hands, bucket, large.read_bytes())


def test_one_flipped_bit_is_refused_and_sent_again(
    hands: Hands, small_parts_digest_site: str, digest_store: Address
) -> None:
    """The body is damaged on the way, past the page: the store that checks digests refuses it."""
    large = hands.large(parts=3)
    hands.page.goto(small_parts_digest_site)
    statuses: list[int] = []

    def damage(route: Route) -> None:
        if statuses or part_number(route.request.url) != 2:
            return route.continue_()
        body = bytearray(large.read_bytes()[5 * 1024**2 : 10 * 1024**2])
        body[12345] ^= 1
        answer = route.fetch(post_data=bytes(body))
        statuses.append(answer.status)
        return route.fulfill(response=answer, headers={**answer.headers, **OPEN})

    hands.on_put(damage)
    hands.drop(large)
    hands.sees("1 of 1 stored and verified")
    assert statuses == [400]
    assert Bucket(digest_store).read(File.objects.get(state=State.AVAILABLE).key) == large.read_bytes()


def test_a_store_that_refuses_for_good_fails_that_file_by_name(hands: Hands) -> None:
    assert first_time(hands, 405, "MethodNotAllowed") == []
    hands.drop(hands.file("refused.txt"))
    hands.sees("0 of 1 stored. 1 failed")
    expect(hands.tray.locator(".receipt-failures")).to_contain_text("refused.txt")
    hands.press("Retry", within=hands.tray.locator(".receipt-failures"))
    hands.sees("1 of 1 stored, size verified")


def test_signed_out_it_holds_until_somebody_signs_in(hands: Hands, bucket: Bucket) -> None:
    jar = hands.page.context.cookies()
    hands.page.context.clear_cookies()
    hands.drop(hands.file("later.txt", b"later"))
    expect(hands.tray.get_by_role("alert")).to_contain_text("signed out", timeout=WAIT_MS)
    for cookie in jar:
        hands.page.context.add_cookies(
            [{"name": cookie["name"], "value": cookie["value"], "url": hands.site}]
        )  # as signing in in another tab does
    hands.press("Go on")
    is_whole(hands, bucket, b"later")


def test_the_trouble_of_a_whole_batch_is_told_per_file(hands: Hands) -> None:
    body = '{"error": {"code": "over_quota", "message": "Your files fill your share already."}}'
    hands.page.route(
        "**/uploads/",
        lambda route: (
            route.fulfill(status=413, body=body, content_type="application/json")
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    hands.drop(hands.file("a.txt"), hands.file("b.txt"))
    hands.sees("0 of 2 stored. 2 failed")
    expect(hands.tray.locator(".receipt-failures li").first).to_contain_text("Your files fill your share already.")
