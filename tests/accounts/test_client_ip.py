"""The client address in the audit log: the one that the outermost own proxy saw, never a forged one."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from uploads.models import Event

pytestmark = pytest.mark.django_db

FORGED = "6.6.6.6"


def recorded_address(client: Client, proxies: int, settings: Settings, forwarded: str = "") -> str | None:
    settings.PROXY_COUNT = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    client.post("/accounts/login/", {"username": "x", "password": "y"}, REMOTE_ADDR="10.0.0.1", headers=headers)
    return Event.objects.latest("id").address


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "10.0.0.1"),
        (0, FORGED, "10.0.0.1"),
        (1, f"{FORGED}, 203.0.113.9", "203.0.113.9"),
        (2, f"{FORGED}, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "", None),
        (2, "203.0.113.9", None),
        (1, "not an address", None),
        (1, "203.0.113.9:4711", None),
    ],
)
def test_address_is_counted_from_the_right(
    client: Client, settings: Settings, proxies: int, forwarded: str, address: str | None
) -> None:
    assert recorded_address(client, proxies, settings, forwarded) == address
