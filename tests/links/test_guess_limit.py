"""Guesses of link tokens are limited for each address and in total, without database queries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from amalga.log import LINK_PATHS
from tests.links.conftest import Shared
from uploads.models import File, ShareLink
from uploads.models.links import is_signed, new_token, token_digest
from uploads.models.throttle import client_network
from uploads.services import guess_limit
from uploads.services.guess_limit import LINK_GUESSES, GuessLimit
from uploads.urls import urlpatterns

ADDRESS, OTHER = "203.0.113.9", "203.0.113.10"
TOKEN = "t" * 32


@pytest.fixture
def new_limit() -> Callable[..., GuessLimit]:
    def build(capacity: int, refill_seconds: float, **total: Any) -> GuessLimit:
        return GuessLimit(capacity, refill_seconds, **{"total_capacity": 100, "total_refill_seconds": 60, **total})

    return build


def test_address_must_wait_after_too_many_misses(new_limit: Callable[..., GuessLimit]) -> None:
    limit = new_limit(3, 60)
    for _each in range(3):
        assert limit.seconds_to_wait(ADDRESS, TOKEN) == 0
        limit.count_miss(ADDRESS, TOKEN)
    assert 55 <= limit.seconds_to_wait(ADDRESS, TOKEN) <= 60
    assert limit.seconds_to_wait(OTHER, TOKEN) == 0


def test_misses_expire_one_by_one(new_limit: Callable[..., GuessLimit]) -> None:
    limit = new_limit(2, 0.05)
    for _each in range(2):
        limit.count_miss(ADDRESS, TOKEN)
    assert limit.seconds_to_wait(ADDRESS, TOKEN) == 1
    time.sleep(0.06)
    assert limit.seconds_to_wait(ADDRESS, TOKEN) == 0


def test_total_limit_applies_to_all_addresses_except_visitors(
    new_limit: Callable[..., GuessLimit],
) -> None:
    limit = new_limit(20, 60, total_capacity=5)
    limit.count_visit(OTHER, "o" * 32)
    for number in range(5):
        limit.count_miss(f"198.51.100.{number}", TOKEN)
    assert limit.seconds_to_wait(ADDRESS, TOKEN) > 0
    assert limit.seconds_to_wait(OTHER, TOKEN) == 0


def test_memory_is_bounded(new_limit: Callable[..., GuessLimit], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess_limit, "MAX_NETWORKS", 2)
    limit = new_limit(1, 60, total_capacity=3)
    for number in range(3):
        limit.count_miss(f"203.0.113.{number}", TOKEN)
        limit.count_visit(f"198.51.100.{number}", f"{number:032}")
    limit.count_visit("203.0.113.0", "v" * 32)
    assert limit.seconds_to_wait("203.0.113.0", TOKEN) == 0  # forgotten
    assert limit.seconds_to_wait("198.51.100.1", TOKEN) > 0  # its visit was forgotten as well


def test_opened_link_stays_open_to_throttled_addresses_until_it_is_deleted(
    new_limit: Callable[..., GuessLimit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guess_limit, "MAX_LINKS", 2)
    limit = new_limit(1, 60)
    limit.count_visit(OTHER, TOKEN)
    limit.count_miss(ADDRESS, "x" * 32)
    assert (limit.seconds_to_wait(ADDRESS, TOKEN), limit.seconds_to_wait(ADDRESS, "x" * 32)) == (0, 60)
    limit.count_miss(OTHER, TOKEN)
    assert limit.seconds_to_wait(ADDRESS, TOKEN) > 0
    for number in range(3):
        limit.count_visit(OTHER, f"{number:032}")
    assert [limit.seconds_to_wait(ADDRESS, f"{number:032}") > 0 for number in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.9", "203.0.113.9"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), (None, "nowhere")],
)
def test_ipv6_addresses_are_grouped_by_network(address: str | None, network: str) -> None:
    assert client_network(address) == network


def test_limit_covers_all_pages_with_a_token() -> None:
    routes = [f"/{pattern.pattern}" for pattern in urlpatterns if "token>" in str(pattern.pattern)]
    assert routes
    assert all(route.startswith(LINK_PATHS) for route in routes)


@pytest.mark.django_db
def test_throttled_guess_gets_a_translated_page_without_session_and_query(
    guest: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        assert guest.get(f"/s/{'x' * 30}{number:02}/").status_code == 404
    with django_assert_num_queries(0):
        response = guest.get(f"/s/{'y' * 32}/", headers={"Accept-Language": "es"})
        call = guest.post(f"/r/{'y' * 32}/uploads/", {}, content_type="application/json")
    assert response.status_code == call.status_code == 429
    assert "Demasiados intentos" in response.content.decode()
    assert 0 < int(response["Retry-After"]) <= guess_limit.REFILL_SECONDS
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert int(response["Content-Length"]) == len(response.content)
    assert not response.cookies
    assert call.json()["error"]["code"] == "too_many_attempts"


@pytest.mark.django_db
def test_holders_of_links_open_them_while_others_guess(guest: Client, file: File, shared: Shared) -> None:
    (_link, url), (_other, other_url) = shared(file), shared(file)
    assert guest.get(url).status_code == 200
    for number in range(200):
        LINK_GUESSES.count_miss(f"198.51.100.{number}", f"{number:032}")
    newcomer = Client(REMOTE_ADDR=ADDRESS)
    assert [newcomer.get(each).status_code for each in (url, other_url)] == [200, 200]
    assert Client(REMOTE_ADDR=OTHER).get(f"/s/{'y' * 32}/").status_code == 429


def test_tokens_are_signed_with_the_secret_key_or_a_former_one(settings: Settings) -> None:
    token = new_token()
    assert (len(token), is_signed(token), is_signed("x" + token[1:]), is_signed(token[::-1])) == (
        32,
        True,
        False,
        False,
    )
    assert not any(is_signed(text) for text in ("", "x" * 32, token + "x", token[:-1], "é" * 32, token[24:]))
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another key"
    assert is_signed(token)
    settings.SECRET_KEY_FALLBACKS = []
    assert not is_signed(token)


def test_limit_of_an_address_applies_to_signed_tokens(new_limit: Callable[..., GuessLimit]) -> None:
    limit = new_limit(1, 60, total_capacity=2)
    limit.count_miss(OTHER, TOKEN)
    assert (limit.seconds_to_wait(OTHER, new_token()), limit.seconds_to_wait(ADDRESS, new_token())) == (60, 0)


@pytest.mark.django_db
def test_link_that_no_one_has_opened_works_while_others_guess(file: File, shared: Shared) -> None:
    link, url = shared(file)
    for number in range(200):
        LINK_GUESSES.count_miss(f"198.51.100.{number}", f"{number:032}")
    assert Client(REMOTE_ADDR=ADDRESS).get(f"/s/{'y' * 32}/").status_code == 429
    assert Client(REMOTE_ADDR=ADDRESS).get(url).status_code == 200
    ShareLink.objects.filter(pk=link.pk).update(token_digest=token_digest("z" * 32))  # signed with a forgotten key
    assert Client(REMOTE_ADDR=OTHER).get(f"/s/{'z' * 32}/").status_code == 429
    LINK_GUESSES.reset()
    assert Client(REMOTE_ADDR=OTHER).get(f"/s/{'z' * 32}/").status_code == 200


@pytest.mark.django_db
def test_guesses_of_a_neighbor_do_not_stop_an_opened_link(guest: Client, file: File, shared: Shared) -> None:
    _link, url = shared(file)
    assert Client(REMOTE_ADDR=OTHER).get(url).status_code == 200
    for number in range(20):
        assert guest.get(f"/s/{'x' * 30}{number:02}/").status_code == 404
    assert (guest.get(f"/s/{'y' * 32}/").status_code, guest.get(f"{url}?sort=name").status_code) == (429, 200)
