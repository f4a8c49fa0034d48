"""A share for each person of what keeps a thread for long: zips."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client

from tests import shelf
from tests.stores import Bucket
from tests.test_zip import asked, file_in, hang_up
from uploads.services import slots
from uploads.services.slots import MAX_PER_PERSON, LowestRate, Slot, TooManyAtOnce
from uploads.services.zips import download

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_slots() -> None:
    cache.clear()


def full(user: User) -> list[Slot]:
    return [Slot.acquire(user) for _ in range(MAX_PER_PERSON)]


def test_person_with_all_slots_taken_is_throttled_and_others_are_not(alice: User, bob: User) -> None:
    full(alice)
    with pytest.raises(TooManyAtOnce):
        Slot.acquire(alice)
    Slot.acquire(bob)


def test_released_slot_is_free_again(alice: User) -> None:
    first, _second = full(alice)
    first.release()
    first.release()
    again = Slot.acquire(alice)
    with pytest.raises(TooManyAtOnce):
        Slot.acquire(alice)
    again.release()
    Slot.acquire(alice)


def test_slot_of_a_killed_process_expires(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "EXPIRY_SECONDS", 0)  # at once
    full(alice)
    monkeypatch.undo()
    full(alice)


def test_renewed_slot_does_not_expire(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "EXPIRY_SECONDS", 1)
    held = full(alice)
    monkeypatch.undo()
    monkeypatch.setattr(slots, "RENEW_SECONDS", 0)
    for slot in held:
        slot.renew()
    keys = [f"slot:zip:{alice.pk}:{number}" for number in range(MAX_PER_PERSON)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM uploads_cache WHERE expires > now() + interval '60 s'")
        (kept,) = cursor.fetchone()
    assert kept == len([key for key in keys if cache.get(key)]) == MAX_PER_PERSON


@pytest.mark.parametrize("error", [OperationalError("unavailable"), ConnectionError("unavailable")])
def test_unavailable_cache_refuses_nobody(error: Exception, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> bool:
        raise error

    for method in ("add", "touch", "delete"):
        monkeypatch.setattr(cache, method, fail, raising=False)
    for _ in range(MAX_PER_PERSON + 1):
        slot = Slot.acquire(alice)
        slot.renew()
        slot.release()


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_as_many_get_a_slot_as_there_are(alice: User) -> None:
    def attempt(_number: int) -> bool:
        try:
            Slot.acquire(alice)
        except TooManyAtOnce:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == MAX_PER_PERSON


# --- zips -------------------------------------------------------------------------------------


def test_third_zip_of_a_person_is_throttled_while_two_run(
    alice: User, as_alice: Client, as_bob: Client, bucket: Bucket
) -> None:
    file = file_in(alice, bucket, b"x" * 100)
    running = [asked(as_alice, file) for _ in range(2)]
    refused = asked(as_alice, file)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    others = asked(as_bob, file)
    assert others.status_code == 200
    for answer in [*running, others]:
        hang_up(answer)
    again = asked(as_alice, file)
    assert again.status_code == 200
    hang_up(again)


def test_zip_that_cannot_begin_gives_its_slot_back(alice: User, as_alice: Client, bucket: Bucket) -> None:
    broken = shelf.add_file(alice)  # a row without its object
    for _ in range(MAX_PER_PERSON + 1):
        assert asked(as_alice, broken).status_code != 429


def test_reader_slower_than_the_lowest_rate_is_cut_off(
    alice: User, as_alice: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0.0

    def clock() -> float:
        nonlocal at
        at += 12
        return at

    answer = asked(as_alice, file_in(alice, bucket, b"x" * 300_000))
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(LowestRate, "MIN_BYTES_PER_SECOND", 10**9)
    with pytest.raises(download.BrokenOff, match="timeout"):
        list(answer.streaming_content)
    hang_up(answer)
    full(alice)


@pytest.mark.parametrize(
    ("pieces", "kept"),
    [
        ([(20_000, 12)] * 5, False),  # 1.7 kB/s
        ([(65_536, 12)] * 6, True),  # 5.5 kB/s
        ([(65_536, 0.1)] * 1000, True),
        ([(100, 59)], True),  # a pause is no rate
    ],
)
def test_lowest_rate_is_that_of_a_minute(pieces: list[tuple[int, float]], kept: bool) -> None:
    rate = LowestRate()
    assert all(rate.is_kept(size=size, seconds=seconds) for size, seconds in pieces) is kept
