"""Limits on the slow requests of one person: zips and forms."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.test import Client
from gunicorn.http.body import Body, LengthReader  # type: ignore[import-untyped]
from gunicorn.http.unreader import SocketUnreader  # type: ignore[import-untyped]

from tests.support import factories
from tests.support.stores import Bucket
from tests.zips.test_downloads import close_response, create_file, request_zip
from uploads.services import zips
from uploads.services.slow_clients import (
    FORMS,
    MAX_PER_PERSON,
    ZIPS,
    LowestRate,
    SenderWatch,
    Slot,
    Slots,
    TooManyAtOnce,
)
from uploads.views.form_upload import CountingReader

pytestmark = pytest.mark.django_db


def acquire_all(user: User, slots: Slots = ZIPS) -> list[Slot]:
    return [slots.acquire(user) for _ in range(MAX_PER_PERSON)]


@pytest.fixture(autouse=True)
def slots_are_free_afterwards(alice: User, bob: User) -> Iterator[None]:
    """Check that all slots are free after a test."""
    yield
    for slots in (ZIPS, FORMS):
        for user in (alice, bob):
            for slot in acquire_all(user, slots):
                slot.release()


def test_person_with_all_slots_taken_is_throttled_and_others_are_not(alice: User, bob: User) -> None:
    slots_in_use = acquire_all(alice)
    with pytest.raises(TooManyAtOnce, match="2 ZIP downloads"):
        ZIPS.acquire(alice)
    for slot in [*slots_in_use, ZIPS.acquire(bob), FORMS.acquire(alice)]:
        slot.release()


def test_released_slot_is_free_again(alice: User) -> None:
    first, second = acquire_all(alice)
    first.release()
    first.release()
    with ZIPS.acquire(alice), pytest.raises(TooManyAtOnce):
        ZIPS.acquire(alice)
    second.release()


def test_concurrent_requests_get_no_more_slots_than_there_are(alice: User) -> None:
    def attempt(_number: int) -> Slot | None:
        with contextlib.suppress(TooManyAtOnce):
            return ZIPS.acquire(alice)
        return None

    with ThreadPoolExecutor(8) as pool:
        slots_in_use = [slot for slot in pool.map(attempt, range(16)) if slot]
    assert len(slots_in_use) == MAX_PER_PERSON
    for slot in slots_in_use:
        slot.release()


# --- zips -------------------------------------------------------------------------------------


def test_third_zip_of_a_person_is_throttled_while_two_run(
    alice: User, as_alice: Client, as_bob: Client, bucket: Bucket
) -> None:
    file = create_file(alice, bucket, b"x" * 100)
    running = [request_zip(as_alice, file) for _ in range(2)]
    refused = request_zip(as_alice, file)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    other_response = request_zip(as_bob, file)
    assert other_response.status_code == 200
    for response in [*running, other_response]:
        close_response(response)
    again = request_zip(as_alice, file)
    assert again.status_code == 200
    close_response(again)


def test_failed_zip_releases_its_slot(alice: User, as_alice: Client, bucket: Bucket) -> None:
    broken = factories.create_file(alice)  # a row without its object
    for _ in range(MAX_PER_PERSON + 1):
        assert request_zip(as_alice, broken).status_code == 503


def test_reader_below_the_minimum_rate_is_cut_off(
    alice: User, as_alice: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_seconds = time.monotonic()  # the thread that reads ahead may still wait for a time of the real clock

    def clock() -> float:
        nonlocal clock_seconds
        clock_seconds += 12
        return clock_seconds

    response = request_zip(as_alice, create_file(alice, bucket, b"x" * 300_000))
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(LowestRate, "MIN_BYTES_PER_SECOND", 10**9)
    with pytest.raises(zips.DownloadAborted, match="timeout"):
        list(response.streaming_content)
    close_response(response)


@pytest.mark.parametrize(
    ("pieces", "fast_enough"),
    [
        ([(20_000, 12)] * 5, False),  # 1.7 kB/s
        ([(65_536, 12)] * 6, True),  # 5.5 kB/s
        ([(65_536, 0.1)] * 1000, True),
        ([(100, 59)], True),  # too short to be a rate
    ],
)
def test_rate_is_averaged_over_a_minute(pieces: list[tuple[int, float]], fast_enough: bool) -> None:
    rate = LowestRate()
    assert all(rate.is_fast_enough(size=size, seconds=seconds) for size, seconds in pieces) is fast_enough


# --- forms ------------------------------------------------------------------------------------


def test_third_form_of_a_person_is_throttled_before_its_body_is_read(
    alice: User, as_alice: Client, bucket: Bucket
) -> None:
    slots_in_use = acquire_all(alice, FORMS)
    response = as_alice.post("/upload/", b"never read", content_type="multipart/form-data; boundary=x")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "30")
    for slot in slots_in_use:
        slot.release()
    assert as_alice.post("/upload/", b"--x--", content_type="multipart/form-data; boundary=x").status_code == 400


@pytest.fixture
def upload_client() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def post_slowly(alice: Client, upload_client: tuple[socket.socket, socket.socket], body: bytes) -> tuple[int, str]:
    """Post a form whose body gunicorn reads from a socket, and which stops before its end."""
    ours, theirs = upload_client
    theirs.sendall(body)
    length = 100_000
    stream = Body(LengthReader(SocketUnreader(ours), length))
    response = alice.generic(
        "POST", "/upload/", CONTENT_TYPE="multipart/form-data; boundary=x",
        **{"wsgi.input": stream, "gunicorn.socket": ours, "CONTENT_LENGTH": str(length)},
    )  # fmt: skip
    return response.status_code, response.content.decode()


FIRST_BYTES = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n' + b"a" * 5_000


def test_form_below_the_minimum_rate_is_stopped_and_stores_nothing(
    as_alice: Client,
    upload_client: tuple[socket.socket, socket.socket],
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SenderWatch, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(LowestRate, "WINDOW_SECONDS", 0.3)
    monkeypatch.setattr(LowestRate, "MIN_BYTES_PER_SECOND", 10**6)
    code, text = post_slowly(as_alice, upload_client, FIRST_BYTES)
    assert code == 408
    assert "The upload was too slow and was stopped. Try again on a faster connection." in text
    assert bucket.objects() == {}


def test_storage_time_does_not_count_against_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SenderWatch, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(LowestRate, "WINDOW_SECONDS", 0.2)
    ours, theirs = socket.socketpair()
    with ours, theirs, SenderWatch(ours) as watch:
        body = CountingReader(ours.makefile("rb"), watch)
        theirs.sendall(b"aa")
        body.read(1)
        time.sleep(0.5)  # the storage is slow
        body.read(1)
        assert not watch.is_too_slow


def test_sender_that_is_fast_enough_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SenderWatch, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(LowestRate, "WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(LowestRate, "MIN_BYTES_PER_SECOND", 10)
    ours, theirs = socket.socketpair()
    with ours, theirs, SenderWatch(ours) as watch:
        body = CountingReader(ours.makefile("rb"), watch)
        for _ in range(10):
            theirs.sendall(b"aaaa")
            time.sleep(0.05)
            body.read(4)
        assert body.count == 40
