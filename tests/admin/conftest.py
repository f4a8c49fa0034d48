"""Staff for the tests of the admin."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import signed_in
from tests.support import factories


@pytest.fixture
def as_clerk(roles: None) -> Client:
    """A client of a staff user who is a manager."""
    return signed_in(factories.create_user("clerk", "managers", is_staff=True))
