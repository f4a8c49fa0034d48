"""What a replica found is told as the primary has it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests import shelf
from uploads.listing import recheck_on_primary
from uploads.listing.pagination import ROW_COLUMNS, Page
from uploads.models import File, Folder

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("closed", "told"), [([], "c"), (["c"], "b"), (["b", "c"], "a"), (["a", "b", "c"], None)])
def test_the_link_to_the_next_page_names_no_row_that_was_closed(
    closed: list[str], told: str | None, alice: User
) -> None:
    for name in "abcd":
        shelf.add_file(alice, name=name)
    page = Page()
    page.add_files(list(File.objects.order_by("folded").values_list(*ROW_COLUMNS)), column="folded", limit=3)
    recheck_on_primary(page, files=File.objects.exclude(name__in=closed), folders=Folder.objects.all())
    assert (page.next.value if page.next else None) == told
