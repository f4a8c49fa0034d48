"""A site with small parts, so that a file of many parts stays small, and hands that drop files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.browser.hands import Hands
from tests.conftest import serving
from tests.stores import Address

SMALLEST_PART = {"UPLOAD_PART_BYTES": str(5 * 1024**2)}


@pytest.fixture(scope="session")
def small_parts_site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("small-parts"), SMALLEST_PART) as url:
        yield url


@pytest.fixture(scope="session")
def small_parts_digest_site(
    django_db_setup: None, digest_store: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    variables = {**digest_store.variables(), **SMALLEST_PART}
    with serving(tmp_path_factory.mktemp("small-parts-digests"), variables) as url:
        yield url


@pytest.fixture
def hands(
    transactional_db: None,
    bucket: object,
    small_parts_site: str,
    alice: User,
    sign_in: Callable[[User, str], Page],
    tmp_path: Path,
) -> Hands:
    """Alice before her library, with a folder of her own."""
    page = sign_in(alice, small_parts_site)
    page.goto(small_parts_site)
    return Hands(page, tmp_path, small_parts_site)
