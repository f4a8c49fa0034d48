"""Lists and file pages mark files that have a share link."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.links.conftest import Shared
from tests.support import factories
from uploads.models import File, ShareLink
from uploads.models.querysets import seconds_from_now
from uploads.services import share_links
from uploads.services.share_links import ShareOptions

pytestmark = pytest.mark.django_db

MARK = '<span class="badge">Shared</span>'
CARD_MARK = "· Shared"
PAGE_MARK = "Shared by link"


def marked(client: Client, file: File) -> tuple[bool, bool, bool]:
    """Return whether the table, the grid and the page of the file have a mark."""
    pages = [client.get(url).content.decode() for url in ("/?view=table", "/?view=grid", file.get_absolute_url())]
    return tuple(mark in page for mark, page in zip((MARK, CARD_MARK, PAGE_MARK), pages, strict=True))  # type: ignore[return-value]


def test_file_with_a_link_is_marked(file: File, as_bob: Client, shared: Shared) -> None:
    assert marked(as_bob, file) == (False,) * 3
    shared(file)
    assert marked(as_bob, file) == (True,) * 3


def test_files_of_a_selection_are_marked(file: File, alice: User, as_bob: Client) -> None:
    other = factories.create_file(alice, name="b.txt")
    share_links.share_selection([file.permanent_id, other.permanent_id], ShareOptions(days=7), by=alice)
    assert marked(as_bob, file) == marked(as_bob, other) == (True,) * 3
    assert as_bob.get("/?view=table").content.decode().count(MARK) == 2


@pytest.mark.parametrize(
    "facts",
    [
        {"revoked_at": seconds_from_now(0)},
        {"expires_at": seconds_from_now(-1)},
        {"max_downloads": 1, "use_count": 1},
    ],
)
def test_file_with_ended_link_is_not_marked(
    facts: dict[str, Any], file: File, as_bob: Client, shared: Shared
) -> None:  # fmt: skip
    link, _url = shared(file)
    ShareLink.objects.filter(pk=link.pk).update(**facts)
    assert marked(as_bob, file) == (False,) * 3


def test_file_with_inactive_sharer_is_not_marked(file: File, alice: User, as_bob: Client, shared: Shared) -> None:
    shared(file)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert marked(as_bob, file) == (False,) * 3
