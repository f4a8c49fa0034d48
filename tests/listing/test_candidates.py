"""Lists whose pages are looked for among candidates from an index: files below a folder, and files with a tag."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.file_rows import create_row, ensure_folder
from uploads import listing
from uploads.listing import ListQuery
from uploads.models import File, Folder, State, Tag, Tagging, Visibility

pytestmark = pytest.mark.django_db
FILES = 2 * listing.PAGE_SIZE + 20


@pytest.fixture
def brand(alice: User) -> Folder:
    """A folder with a subfolder and many files in both. Of every four files, one is private and three have a tag."""
    brand, tag = ensure_folder("Brand", alice), Tag.objects.create(name="Summer")
    places = [brand, ensure_folder("Brand/Logos", alice)]
    now = timezone.now()
    for n in range(FILES):
        file = create_row(
            alice, State.AVAILABLE, name=f"file {n // 3}", size=n // 4, folder=places[n % 2],
            available_at=now - timedelta(seconds=n // 5),
            visibility=Visibility.PRIVATE if n % 4 == 0 else Visibility.TEAM,
        )  # fmt: skip
        if n % 4:
            Tagging.objects.create(tag=tag, file=file)
    create_row(alice, State.AVAILABLE, name="elsewhere", folder=ensure_folder("Press", alice))
    return brand


def read_page(user: User, query: ListQuery, folder: Folder | None, after: listing.Cursor | None) -> listing.Page:
    files, candidates = listing.matches_for(user, query, folder)
    return listing.paginate(
        query, files=files, candidates=candidates, folders=None, columns=listing.COLUMNS, after=after
    )


def query_for(scope: str, sort: str = "name") -> ListQuery:
    return ListQuery(tag=Tag.objects.get() if scope == "tag" else None, subfolders=True, sort=sort)


@pytest.mark.parametrize("maximum", [1, 60, 75, 1_000])
@pytest.mark.parametrize("scope", ["tag", "folder"])
def test_pages_have_the_files_of_the_sorted_query(
    scope: str, maximum: int, brand: Folder, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.listing.pagination.MAX_CANDIDATES", maximum)
    for sort in listing.SORTS:
        query, folder = query_for(scope, sort), brand if scope == "folder" else None
        page = read_page(bob, query, folder, None)
        links = [row.permanent_id for row in page.files]
        while page.next:
            page = read_page(bob, query, folder, page.next)
            links += [row.permanent_id for row in page.files]
        sign, column = "-" if query.descending else "", listing.COLUMNS[query.column]
        expected = File.objects.filter(visibility=Visibility.TEAM, folder__path__contains=[brand.pk])
        assert links == list(expected.order_by(f"{sign}{column}", f"{sign}id").values_list("pk", flat=True)), sort


@pytest.mark.parametrize(("maximum", "queries"), [(60, 3), (75, 2), (1_000, 2)])
def test_all_files_are_read_only_if_candidates_do_not_fill_the_page(
    maximum: int, queries: int, brand: Folder, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.listing.pagination.MAX_CANDIDATES", maximum)
    query = query_for("folder")
    files, candidates = listing.matches_for(bob, query, brand)
    with CaptureQueriesContext(connection) as captured:
        listing.paginate(query, files=files, candidates=candidates, folders=None, columns=listing.COLUMNS, after=None)
    assert len(captured) == queries


def test_files_that_the_user_may_not_see_are_no_candidates_for_a_page(brand: Folder, alice: User, bob: User) -> None:
    for user, shown in ((alice, listing.PAGE_SIZE), (bob, 0)):
        File.objects.update(visibility=Visibility.PRIVATE)
        assert len(read_page(user, query_for("tag"), None, None).files) == shown


def test_other_conditions_leave_no_candidates(brand: Folder, alice: User) -> None:
    tag = Tag.objects.get()
    for query, folder in [
        (ListQuery(), None), (ListQuery(), brand), (ListQuery(subfolders=True), None), (ListQuery(q="file"), None),
        (ListQuery(tag=tag), brand), (ListQuery(tag=tag, q="file"), None),
        (ListQuery(tag=tag, owner=alice, sort="name"), None), (ListQuery(owner=alice), None),
        (ListQuery(tag=tag, size="over-1gb"), None), (ListQuery(tag=tag, added="7d"), None),
        (ListQuery(tag=tag, category="image"), None), (ListQuery(tag=tag, show="favorites"), None),
        (ListQuery(tag=tag, subfolders=False), None),
    ]:  # fmt: skip
        assert listing.matches_for(alice, query, folder)[1] is None, query
