"""Passwords of test users, and whether a client is signed in."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from pytest_django import Settings

PASSWORD = "correct horse battery staple"  # of everyone in tests/conftest.py
NEW_PASSWORD = "a much better one than that"


class FastHasher(PBKDF2PasswordHasher):
    """Django's own with one round, since many passwords are checked here. It leaves a hash as it is."""

    iterations = 1

    def must_update(self, encoded: str) -> bool:
        return False


@pytest.fixture(autouse=True)
def fast_hasher(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.FastHasher"]


def is_signed_in(client: Client) -> bool:
    return client.get("/tags/").status_code == 200
