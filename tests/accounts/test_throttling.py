"""Throttling of password attempts: limits, waiting times and exceptions."""

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

from tests.accounts.conftest import PASSWORD
from uploads.accounts import throttling
from uploads.errors import TooManyAttempts
from uploads.models import Action, Event, TokenBucket

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
WRONG = "something else"
OTHER_ADDRESS = "198.51.100.9"
WAIT = throttling.PAIR_LIMIT.refill_seconds


def sign_in(name: str = "alice", password: str = WRONG, *, path: str = LOGIN, client: Any = None, **more: Any) -> Any:
    return (client or Client()).post(path, {"username": name, "password": password}, **more)


def guess(times: int, *, name: str = "alice", **more: Any) -> Any:
    responses = [sign_in(name, **more) for _ in range(times)]
    return responses[-1]


def pass_time(seconds: int) -> None:
    """Refill the buckets as if `seconds` had passed."""
    ago = timedelta(seconds=seconds)
    TokenBucket.objects.update(full_at=F("full_at") - ago)


def retry_after(response: Any) -> int:
    assert response.status_code == 429
    return int(response.headers["Retry-After"])


@pytest.mark.parametrize("path", [LOGIN, "/admin/login/"])
def test_attempts_above_the_limit_wait_for_a_token(path: str, alice: User) -> None:
    assert guess(5, path=path).status_code == 200
    for _ in range(2):
        wait = retry_after(guess(5, path=path))
        assert WAIT - 5 <= wait <= WAIT
        pass_time(wait)
        assert sign_in(path=path).status_code == 200


def test_attempts_during_a_wait_do_not_prolong_it(alice: User) -> None:
    guess(5)
    assert retry_after(guess(20)) <= WAIT
    pass_time(WAIT)
    assert sign_in(password=PASSWORD).status_code == 302


def test_page_names_the_minutes_to_wait(alice: User) -> None:
    guess(5)
    assert b"Too many attempts. Try again in 5 minutes." in sign_in().content


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [(1, "1 second"), (90, "90 seconds"), (91, "2 minutes"), (121, "3 minutes"), (900, "15 minutes")],
)
def test_long_waits_are_in_minutes_rounded_up(seconds: int, wait: str) -> None:
    problem = TooManyAttempts(seconds)
    assert (problem.message, problem.retry_after) == (f"Too many attempts. Try again in {wait}.", seconds)


def test_throttled_sign_in_keeps_the_form_and_the_name(alice: User) -> None:
    guess(5)
    response = sign_in()
    page = response.content.decode()
    assert retry_after(response) > 0
    assert page.index("Too many attempts. Try again in") < page.index('name="username"')
    assert 'value="alice"' in page
    assert re.search(r'name="password"[^>]* autofocus', page)
    assert WRONG not in page


def test_correct_password_waits_like_a_wrong_one(alice: User) -> None:
    """Otherwise the wait would reveal the correct password."""
    guess(5)
    assert retry_after(sign_in(password=PASSWORD)) > 0


@pytest.mark.parametrize("proxies", [0, 1])
def test_forged_forwarded_address_resets_no_limit(proxies: int, alice: User, settings: Settings) -> None:
    settings.PROXY_COUNT = proxies
    real = f", {OTHER_ADDRESS}" * proxies
    responses = [sign_in(headers={"X-Forwarded-For": f"203.0.113.{n}{real}"}) for n in range(10)]
    assert [response.status_code for response in responses] == [200] * 5 + [429] * 5


def test_attempts_on_one_account_from_many_addresses_are_limited(alice: User) -> None:
    responses = [sign_in(REMOTE_ADDR=f"203.0.113.{n}") for n in range(12)]
    assert [response.status_code for response in responses] == [200] * 10 + [429] * 2


def test_attempts_from_one_address_on_many_accounts_are_limited(alice: User) -> None:
    responses = [sign_in(f"unknown{n}") for n in range(32)]
    assert [response.status_code for response in responses] == [200] * 30 + [429] * 2


def test_ipv6_addresses_of_one_network_share_a_limit(alice: User) -> None:
    responses = [sign_in(REMOTE_ADDR=f"2001:db8:1:2::{n}") for n in range(6)]
    assert responses[-1].status_code == 429


def test_owner_can_sign_in_from_another_address_during_an_attack(alice: User) -> None:
    guess(9)
    assert sign_in(password=PASSWORD, REMOTE_ADDR=OTHER_ADDRESS).status_code == 302


def test_attack_does_not_lock_the_owner_out_of_a_known_device(alice: User) -> None:
    known_device = Client()
    sign_in(password=PASSWORD, client=known_device)
    known_device.post("/accounts/logout/")
    for n in range(40):
        sign_in(REMOTE_ADDR=f"203.0.113.{n}")
    assert sign_in(REMOTE_ADDR=OTHER_ADDRESS).status_code == 429
    assert sign_in(password=PASSWORD, client=known_device).status_code == 302


def test_longest_wait_for_an_account_is_four_minutes(alice: User) -> None:
    for n in range(40):
        sign_in(REMOTE_ADDR=f"203.0.113.{n}")
    assert 230 <= retry_after(sign_in(REMOTE_ADDR=OTHER_ADDRESS)) <= 240


def test_known_device_has_its_own_limit(alice: User) -> None:
    """A stolen cookie gives no free guesses."""
    known_device = Client()
    sign_in(password=PASSWORD, client=known_device)
    known_device.post("/accounts/logout/")
    assert retry_after(guess(6, client=known_device)) > 0


@pytest.mark.parametrize("cookie", ["", "x", "e30:1:x", "[1]:x:y", "\x7f"])
def test_forged_device_cookie_is_ignored(cookie: str, alice: User, settings: Settings) -> None:
    client = Client()
    client.cookies[settings.DEVICE_COOKIE_NAME] = cookie
    guess(5)
    assert sign_in(password=PASSWORD, client=client).status_code == 429


def test_signing_in_resets_the_limit(alice: User) -> None:
    guess(4)
    sign_in(password=PASSWORD)
    assert guess(4).status_code == 200


def test_signing_in_does_not_reset_the_limit_of_the_address(alice: User, bob: User) -> None:
    for n in range(29):
        sign_in(f"unknown{n}")
        if n % 10 == 0:
            sign_in("bob", PASSWORD)
    assert [sign_in("unknown").status_code, sign_in("unknown").status_code] == [200, 429]


def test_tokens_are_refilled(alice: User) -> None:
    guess(4)
    pass_time(4 * WAIT)
    assert guess(5).status_code == 200


@pytest.mark.parametrize("other", ["ALICE", "ａｌｉｃｅ"])
def test_other_spellings_of_a_name_share_its_limit(other: str, alice: User) -> None:
    guess(5)
    assert sign_in(other).status_code == 429


def test_throttled_response_does_not_reveal_whether_a_name_exists(alice: User) -> None:
    known = [sign_in("alice") for _ in range(8)]
    unknown = [sign_in("unknown") for _ in range(8)]
    assert [response.status_code for response in known] == [response.status_code for response in unknown]
    assert known[-1].content == unknown[-1].content or abs(retry_after(known[-1]) - retry_after(unknown[-1])) <= 1


def test_wait_is_recorded_once_and_attempts_during_it_are_not(alice: User) -> None:
    guess(20)
    failed = Event.objects.filter(action=Action.LOGIN_FAILED, name="alice").order_by("id")
    assert [set(event.detail) for event in failed] == [set()] * 5 + [{"wait_seconds"}]


def test_keys_of_buckets_contain_no_name(alice: User) -> None:
    guess(3)
    keys = TokenBucket.objects.values_list("key", flat=True)
    assert keys
    assert not [key for key in keys if "alice" in key]


def test_full_buckets_are_deleted(alice: User) -> None:
    guess(1, name="long ago")
    pass_time(8 * 24 * 3600)
    guess(1)
    assert TokenBucket.objects.count() == 3


class SlowHasher(PBKDF2PasswordHasher):
    iterations = 30_000  # slow enough to measure, fast enough for a test


def test_unknown_names_take_as_long_as_existing_ones(alice: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.SlowHasher"]
    User.objects.update(password=SlowHasher().encode(PASSWORD, "salt"))
    client = Client()
    for _round in range(5):  # other processes can disturb a measurement
        durations: dict[str, list[float]] = {"alice": [], "unknown": []}
        for _ in range(40):
            for name, times in durations.items():
                TokenBucket.objects.all().delete()
                started = time.perf_counter()
                sign_in(name, client=client)
                times.append(time.perf_counter() - started)
        known, unknown = (statistics.median(times) for times in durations.values())
        if abs(known - unknown) <= 0.1 * known:
            return
    pytest.fail(f"known {known:.4f} s, unknown {unknown:.4f} s")


def test_attempt_counts_before_its_outcome_is_known(alice: User) -> None:
    """Concurrent attempts cannot slip through between check and count."""
    throttles = [throttling.reauthentication_throttle("alice") for _ in range(5)]
    for throttle in throttles:
        throttle.begin()
    with pytest.raises(TooManyAttempts):
        throttling.reauthentication_throttle("alice").begin()
