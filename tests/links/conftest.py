"""Guests and share links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support import factories
from tests.support.stores import Bucket
from uploads.models import File, ShareLink
from uploads.services import share_links
from uploads.services.guess_limit import LINK_GUESSES
from uploads.services.share_links import ShareOptions

Shared = Callable[..., tuple[ShareLink, str]]


@pytest.fixture(autouse=True)
def reset_guesses() -> Iterator[None]:
    LINK_GUESSES.reset()
    yield
    LINK_GUESSES.reset()


@pytest.fixture
def file(alice: User, bucket: Bucket) -> File:
    return factories.create_file(alice, bucket=bucket, name="press kit.pdf", detected_type="application/pdf")


@pytest.fixture
def shared(alice: User) -> Shared:
    """Share a file with these options; return the link and the URL of its page."""

    def share(file: File, *, by: User | None = None, **options: Any) -> tuple[ShareLink, str]:
        version = options.pop("version", None)
        options = {"days": 7, **options}
        link, token = share_links.share_file(file, ShareOptions(**options), by=by or alice, version=version)
        return link, f"/s/{token}/"

    return share


@pytest.fixture
def guest() -> Client:
    """A client without an account."""
    return Client()
