"""Passwords of test users, and whether a client is signed in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from pytest_django import Settings

from tests.support import oidc_provider
from tests.support.oidc_provider import Identity

PASSWORD = "correct horse battery staple"  # of all users in tests/conftest.py
ADDRESS = "alice@example.org"
NEW_PASSWORD = "a much better one than that"


class FastHasher(PBKDF2PasswordHasher):
    """PBKDF2 with one iteration, because these tests check many passwords. It never upgrades a hash."""

    iterations = 1

    def must_update(self, encoded: str) -> bool:
        return False


@pytest.fixture(autouse=True)
def fast_hasher(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.FastHasher"]


@pytest.fixture
def provider(settings: Settings) -> Iterator[Identity]:
    """The only provider of the site, where Alice is signed in."""
    with oidc_provider.providing() as provider:
        configure(settings, oidc_provider.app(provider))
        provider.person = {"sub": "1001", "email": ADDRESS, "email_verified": True}
        yield provider


def configure(settings: Settings, *apps: dict[str, Any]) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": list(apps)}}


def is_signed_in(client: Client) -> bool:
    return client.get("/tags/").status_code == 200
