"""An administrator who is no superuser, and people to manage."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.conftest import signed_in
from tests.support import factories


@pytest.fixture
def ada(roles: None) -> User:
    """An administrator by role."""
    return factories.create_user("ada", "administrators", is_staff=True)


@pytest.fixture
def as_ada(ada: User) -> Client:
    return signed_in(ada)
