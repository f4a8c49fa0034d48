"""Guessing passwords: who has to wait, how long, and who does not."""

from __future__ import annotations

import re
import statistics
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client
from pytest_django import Settings

from uploads.accounts import throttling
from uploads.errors import TooManyAttempts
from uploads.models import Action, Event, TokenBucket

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
RIGHT = "correct horse battery staple"  # of everybody in conftest
WRONG = "something else"
THERE = "198.51.100.9"
WAIT = throttling.PAIR_LIMIT.refill_seconds


class Quick(PBKDF2PasswordHasher):
    """Django's own with one round: here many passwords are wrong. It leaves a hash as it is."""

    iterations = 1

    def must_update(self, encoded: str) -> bool:
        return False


@pytest.fixture(autouse=True)
def quick(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.Quick"]


def sign_in(name: str = "alice", password: str = WRONG, *, door: str = LOGIN, client: Any = None, **more: Any) -> Any:
    return (client or Client()).post(door, {"username": name, "password": password}, **more)


def guess(times: int, *, name: str = "alice", **more: Any) -> Any:
    answers = [sign_in(name, **more) for _ in range(times)]
    return answers[-1]


def pass_time(seconds: int) -> None:
    """As if so much had passed since."""
    ago = timedelta(seconds=seconds)
    TokenBucket.objects.update(full_at=F("full_at") - ago)


def waits(answer: Any) -> int:
    assert answer.status_code == 429
    return int(answer.headers["Retry-After"])


@pytest.mark.parametrize("door", [LOGIN, "/admin/login/"])
def test_each_attempt_past_the_limit_waits_for_its_token(door: str, alice: User) -> None:
    assert guess(5, door=door).status_code == 200
    for _ in range(2):
        wait = waits(guess(5, door=door))
        assert WAIT - 5 <= wait <= WAIT
        pass_time(wait)
        assert sign_in(door=door).status_code == 200


def test_attempts_during_a_wait_do_not_prolong_it(alice: User) -> None:
    guess(5)
    assert waits(guess(20)) <= WAIT
    pass_time(WAIT)
    assert sign_in(password=RIGHT).status_code == 302


def test_the_page_says_how_long_in_words(alice: User) -> None:
    guess(5)
    assert re.search(rb"Wait \d+ seconds, then try again", sign_in().content)


def test_the_right_password_waits_like_a_wrong_one(alice: User) -> None:
    """Else the wait would tell which one is right."""
    guess(5)
    assert waits(sign_in(password=RIGHT)) > 0


@pytest.mark.parametrize("proxies", [0, 1])
def test_a_made_up_forwarded_address_resets_nothing(proxies: int, alice: User, settings: Settings) -> None:
    settings.PROXY_COUNT = proxies
    real = f", {THERE}" * proxies
    answers = [sign_in(headers={"X-Forwarded-For": f"203.0.113.{n}{real}"}) for n in range(10)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 5


def test_many_addresses_wait_for_one_account(alice: User) -> None:
    answers = [sign_in(REMOTE_ADDR=f"203.0.113.{n}") for n in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429] * 2


def test_one_address_waits_over_many_accounts(alice: User) -> None:
    answers = [sign_in(f"somebody{n}") for n in range(32)]
    assert [answer.status_code for answer in answers] == [200] * 30 + [429] * 2


def test_a_customers_ipv6_addresses_are_one(alice: User) -> None:
    answers = [sign_in(REMOTE_ADDR=f"2001:db8:1:2::{n}") for n in range(6)]
    assert answers[-1].status_code == 429


def test_the_owner_gets_in_from_elsewhere_while_somebody_guesses(alice: User) -> None:
    guess(9)
    assert sign_in(password=RIGHT, REMOTE_ADDR=THERE).status_code == 302


def test_nobody_locks_the_owner_out_of_a_browser_they_use(alice: User) -> None:
    mine = Client()
    sign_in(password=RIGHT, client=mine)
    mine.post("/accounts/logout/")
    for n in range(40):
        sign_in(REMOTE_ADDR=f"203.0.113.{n}")
    assert sign_in(REMOTE_ADDR=THERE).status_code == 429
    assert sign_in(password=RIGHT, client=mine).status_code == 302


def test_longest_wait_for_an_account_is_five_minutes(alice: User) -> None:
    for n in range(40):
        sign_in(REMOTE_ADDR=f"203.0.113.{n}")
    assert 290 <= waits(sign_in(REMOTE_ADDR=THERE)) <= 300


def test_a_known_browser_has_its_own_limit(alice: User) -> None:
    """A stolen cookie gives no free guesses."""
    mine = Client()
    sign_in(password=RIGHT, client=mine)
    mine.post("/accounts/logout/")
    assert waits(guess(6, client=mine)) > 0


@pytest.mark.parametrize("cookie", ["", "x", "e30:1:x", "[1]:x:y", "\x7f"])
def test_a_made_up_cookie_of_a_known_browser_is_none(cookie: str, alice: User, settings: Settings) -> None:
    client = Client()
    client.cookies[settings.DEVICE_COOKIE_NAME] = cookie
    guess(5)
    assert sign_in(password=RIGHT, client=client).status_code == 429


def test_signing_in_forgets_what_one_mistyped(alice: User) -> None:
    guess(4)
    sign_in(password=RIGHT)
    assert guess(4).status_code == 200


def test_signing_in_to_an_account_of_ones_own_forgives_no_guesses_at_others(alice: User, bob: User) -> None:
    for n in range(29):
        sign_in(f"somebody{n}")
        if n % 10 == 0:
            sign_in("bob", RIGHT)
    assert [sign_in("somebody").status_code, sign_in("somebody").status_code] == [200, 429]


def test_old_tries_leak_away(alice: User) -> None:
    guess(4)
    pass_time(4 * WAIT)
    assert guess(5).status_code == 200


@pytest.mark.parametrize("other", ["ALICE", "ａｌｉｃｅ"])
def test_another_spelling_is_no_other_account(other: str, alice: User) -> None:
    guess(5)
    assert sign_in(other).status_code == 429


def test_who_waits_learns_nothing_of_who_is_there(alice: User) -> None:
    known = [sign_in("alice") for _ in range(8)]
    unknown = [sign_in("nobody") for _ in range(8)]
    assert [answer.status_code for answer in known] == [answer.status_code for answer in unknown]
    assert known[-1].content == unknown[-1].content or abs(waits(known[-1]) - waits(unknown[-1])) <= 1


def test_a_wait_is_one_line_of_the_log_and_tries_in_it_are_none(alice: User) -> None:
    guess(20)
    failed = Event.objects.filter(action=Action.LOGIN_FAILED, name="alice").order_by("id")
    assert [set(event.detail) for event in failed] == [set()] * 5 + [{"wait_seconds"}]


def test_no_name_stands_in_the_counters(alice: User) -> None:
    guess(3)
    keys = TokenBucket.objects.values_list("key", flat=True)
    assert keys
    assert not [key for key in keys if "alice" in key]


def test_counters_that_nobody_needs_go(alice: User) -> None:
    guess(1, name="long ago")
    pass_time(8 * 24 * 3600)
    guess(1)
    assert TokenBucket.objects.count() == 3


class Slow(PBKDF2PasswordHasher):
    iterations = 30_000  # enough to stand out, few enough to wait for


def test_unknown_names_take_as_long_as_known_ones(alice: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.Slow"]
    User.objects.update(password=Slow().encode(RIGHT, "salt"))
    client = Client()
    for _round in range(5):  # others use this machine as well
        took: dict[str, list[float]] = {"alice": [], "nobody": []}
        for _ in range(40):
            for name, times in took.items():
                TokenBucket.objects.all().delete()
                begun = time.perf_counter()
                sign_in(name, client=client)
                times.append(time.perf_counter() - begun)
        known, unknown = (statistics.median(times) for times in took.values())
        if abs(known - unknown) <= 0.1 * known:
            return
    pytest.fail(f"known {known:.4f} s, unknown {unknown:.4f} s")


def test_a_try_counts_before_it_is_known_how_it_goes(alice: User) -> None:
    """Of many at once none slips through between looking and counting."""
    under_way = [throttling.reauthentication_throttle("alice") for _ in range(5)]
    for tries in under_way:
        tries.begin()
    with pytest.raises(TooManyAttempts):
        throttling.reauthentication_throttle("alice").begin()
