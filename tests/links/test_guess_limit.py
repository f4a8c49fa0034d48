"""Guesses of link tokens are limited for each address, and cost the database nothing."""

from __future__ import annotations

import time

import pytest

from uploads.errors import TooManyAttempts
from uploads.models.throttle import client_network
from uploads.services import guess_limit
from uploads.services.guess_limit import GuessLimit


def test_address_without_misses_left_waits() -> None:
    limit = GuessLimit(capacity=3, refill_seconds=60)
    for _each in range(3):
        limit.require("203.0.113.9")
        limit.count("203.0.113.9")
    with pytest.raises(TooManyAttempts) as refused:
        limit.require("203.0.113.9")
    assert 55 <= refused.value.retry_after <= 60
    limit.require("203.0.113.10")


def test_misses_are_forgotten_one_by_one() -> None:
    limit = GuessLimit(capacity=2, refill_seconds=0.05)
    for _each in range(2):
        limit.count("203.0.113.9")
    with pytest.raises(TooManyAttempts):
        limit.require("203.0.113.9")
    time.sleep(0.06)
    limit.require("203.0.113.9")


def test_memory_of_misses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess_limit, "MAX_NETWORKS", 2)
    limit = GuessLimit(capacity=1, refill_seconds=60)
    for number in range(3):
        limit.count(f"203.0.113.{number}")
    limit.require("203.0.113.0")
    with pytest.raises(TooManyAttempts):
        limit.require("203.0.113.2")


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.9", "203.0.113.9"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), (None, "nowhere")],
)
def test_customer_of_a_provider_counts_as_one_client(address: str | None, network: str) -> None:
    assert client_network(address) == network
