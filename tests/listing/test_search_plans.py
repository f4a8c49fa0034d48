"""Which indexes searches and filtered lists of many files use."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.listing.test_lists import MANY_FILES, add
from uploads import listing
from uploads.listing import ListQuery
from uploads.models import AccessLevel, Category, File, Folder, Tag, Tagging

pytestmark = pytest.mark.django_db


@pytest.fixture
def many(alice: User, bob: User) -> None:
    """Twenty thousand pictures of alice, but every fiftieth is bob's, and every fiftieth is an archive."""
    file = add(alice, "first", category=Category.IMAGE)
    with connection.cursor() as cursor:
        cursor.execute(MANY_FILES, {"file": file.pk, "trash": False})
        cursor.execute("UPDATE uploads_file SET owner_id = %s WHERE size %% 50 = 20", [bob.pk])
        cursor.execute("UPDATE uploads_file SET category = 'archive' WHERE size % 50 = 30")
        cursor.execute("ANALYZE uploads_file")


def test_closed_folders_are_read_from_an_index_alone(alice: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    plan = Folder.objects.closed_to(alice, AccessLevel.VIEW).order_by().values("pk").explain()
    assert "Index Only Scan using folder_by_access_root" in plan


def test_folders_and_owners_are_looked_up_for_the_page_only(many: None, bob: User) -> None:
    query = ListQuery(q="img", sort="size")
    files = listing.files_for(bob, query, None)
    with CaptureQueriesContext(connection) as captured:
        page = listing.paginate(query, files=files, folders=None, columns=listing.COLUMNS, after=None)
    assert len(page.files) == listing.PAGE_SIZE
    assert [file.size for file in page.files] == sorted(file.size for file in page.files)
    (sql,) = [entry["sql"] for entry in captured.captured_queries if "uploads_folder" in entry["sql"]]
    inner = sql.split(" IN (SELECT U0.")[1]
    assert "LIMIT 51)" in inner
    assert "LEFT OUTER JOIN" not in inner


@pytest.mark.parametrize(("sort", "by_index"), [("-added", False), ("name", True), ("size", True)])
def test_newest_of_many_files_of_a_type_and_size_are_read_in_order(
    sort: str, by_index: bool, many: None, alice: User
) -> None:
    query = ListQuery(category=Category.IMAGE, size="under-1mb", sort=sort)
    files = listing.files_for(alice, query, None)
    assert ('("uploads_file"."size" + 0)' not in str(files.query)) == by_index
    assert files.count() == File.objects.filter(category=Category.IMAGE).count()


def test_newest_of_an_owner_with_a_tag_are_found_among_candidates(many: None, alice: User, bob: User) -> None:
    tag = Tag.objects.create(name="Summer")
    own = [file.pk for file in File.objects.filter(owner=bob).order_by("-available_at")[:3]]
    Tagging.objects.bulk_create(Tagging(tag=tag, file_id=pk) for pk in own)
    Tagging.objects.create(tag=tag, file=File.objects.filter(owner=alice)[0])
    for sort in ("-added", "added"):
        query = ListQuery(tag=tag, owner=bob, sort=sort)
        files, candidates = listing.matches_for(alice, query, None)
        assert candidates is not None
        read: Any = partial(listing.paginate, files=files, folders=None, columns=listing.COLUMNS, after=None)
        page = read(query, candidates=candidates)
        assert page.files == read(query).files
        assert [file.pk for file in page.files] == own[:: 1 if sort == "-added" else -1]
    assert listing.matches_for(alice, ListQuery(tag=tag, owner=bob, sort="name"), None)[1] is None
