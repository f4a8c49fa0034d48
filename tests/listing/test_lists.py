"""Lists: sorting, filters, folders and pagination."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from tests.support.file_rows import create_row
from uploads import listing
from uploads.listing import pagination
from uploads.models import (
    AccessLevel,
    Category,
    File,
    Folder,
    State,
    Statistic,
    StatisticKind,
    StatisticStatus,
    Tag,
    Tagging,
    Visibility,
)
from uploads.services import folders

pytestmark = pytest.mark.django_db

PER_PAGE = listing.PAGE_SIZE
MB = 1000**2
MANY_FILES = """
    INSERT INTO uploads_file (id, key, token, owner_id, folder_id, name, normalized_name, current, visibility,
        declared_type, detected_type, category, state, size, part_size, multipart_id, etag, checksum,
        checksum_algorithm, checksum_status, available_at, purge_after)
    SELECT gen_random_uuid(), 'f/' || translate(gen_random_uuid()::text, '-', ''), gen_random_uuid(), owner_id,
        folder_id, 'IMG ' || n || '.jpg', 'img ' || n || '.jpg', true, visibility, '', '', category,
        CASE WHEN %(trash)s THEN 'trashed' ELSE state END, n, part_size, '', etag, checksum, checksum_algorithm,
        checksum_status, available_at + n * interval '1 second', now()
    FROM uploads_file, generate_series(1, 20000) AS n WHERE id = %(file)s
"""


def add(owner: User, name: str, **facts: Any) -> File:
    return create_row(owner, State.AVAILABLE, **{"name": name, **facts})


def fill(owner: User, count: int, **facts: Any) -> None:
    """Create files of which several share a name, a size or a time."""
    now = timezone.now()
    for n in range(count):
        add(owner, f"file {n // 3:03}", size=n // 4, available_at=now - timedelta(seconds=n // 5), **facts)


def tree(by: User, *paths: str) -> dict[str, Folder]:
    created = folders.ensure(paths, by=by)
    return {path: folder for path, folder in created.items() if isinstance(folder, Folder)}


def names_on(response: Any) -> list[str]:
    return [row.name for row in response.context["files"]]


def folders_on(response: Any) -> list[str]:
    return [row.name for row in response.context["folders"]]


def walk(client: Client, url: str | None) -> list[Any]:
    responses = []
    while url:
        responses.append(client.get(url))
        url = responses[-1].context["next_url"]
    return responses


# --- sorting and pagination --------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["table", "grid"])
@pytest.mark.parametrize("sort", listing.SORTS)
def test_every_sort_lists_each_file_once(sort: str, view: str, alice: User, as_bob: Client) -> None:
    fill(alice, 2 * PER_PAGE + 7)
    pages = walk(as_bob, f"/?sort={sort}&view={view}")
    files = [row.permanent_id for page in pages for row in page.context["files"]]
    column = {"added": "available_at", "name": "natural_name", "size": "size"}[sort.removeprefix("-")]
    sign = "-" if sort.startswith("-") else ""
    assert files == list(File.objects.order_by(f"{sign}{column}", f"{sign}id").values_list("pk", flat=True))


@pytest.mark.parametrize("count", [0, 1, PER_PAGE - 1, PER_PAGE, PER_PAGE + 1, 2 * PER_PAGE])
@pytest.mark.parametrize("sort", ["name", "-name"])
def test_folders_come_first_and_each_once(sort: str, count: int, alice: User, as_bob: Client) -> None:
    created = [Folder(name=f"folder {n:03}", normalized_name=f"folder {n:03}", created_by=alice) for n in range(count)]
    Folder.objects.bulk_create(created)
    fill(alice, 5)
    responses = walk(as_bob, f"/?sort={sort}")
    names = [name for response in responses for name in folders_on(response)]
    assert names == sorted((folder.name for folder in created), reverse=sort == "-name")
    assert len([name for response in responses for name in names_on(response)]) == 5
    assert all(len(names_on(response)) + len(folders_on(response)) <= PER_PAGE for response in responses)


NATURAL = [
    "IMG 2.jpg",
    "img 2b.jpg",
    "img 010.jpg",
    "IMG 10a.jpg",
    "img 200.jpg",
    "Img 12345678901234567890123.jpg",
    "img.jpg",
]


@pytest.mark.parametrize("sort", ["name", "-name"])
def test_names_are_in_natural_order(sort: str, alice: User, as_bob: Client) -> None:
    expected = NATURAL[:: -1 if sort == "-name" else 1]
    tree(alice, *sorted(NATURAL))
    for name in sorted(NATURAL):
        add(alice, name)
    page = as_bob.get(f"/?sort={sort}")
    assert folders_on(page) == names_on(page) == expected
    File.objects.update(name="x 9", normalized_name="x 9")
    assert set(File.objects.values_list("natural_name", flat=True)) == {"x 19"}


@pytest.mark.parametrize("scope", ["everything", "folder", "trash"])
def test_pages_by_name_start_inside_an_index(scope: str, alice: User) -> None:
    folder = tree(alice, "Big")["Big"]
    first = add(alice, "first", folder=folder)
    with connection.cursor() as cursor:
        cursor.execute(MANY_FILES, {"file": first.pk, "trash": scope == "trash"})
        cursor.execute("ANALYZE uploads_file")
    rows = File.objects.trashed() if scope == "trash" else File.objects.listed()
    rows = rows.in_folder(folder) if scope == "folder" else rows
    after = listing.Cursor("img 35000.jpg", uuid.UUID(int=0))
    plan = pagination.after_cursor(rows, "natural_name", descending=False, after=after)[:51].explain()
    assert "natural_name" in plan.split("Index Cond")[0]
    assert "natural_name >=" in plan.split("Index Cond")[1]
    assert "Sort" not in plan


@pytest.mark.parametrize("column", ["name", "size", "added"])
def test_column_headings_reverse_the_sort(column: str, alice: User, as_alice: Client) -> None:
    add(alice, "a")
    once = as_alice.get(as_alice.get("/?sort=" + ("size" if column == "name" else "name")).context["sort_urls"][column])
    twice = as_alice.get(once.context["sort_urls"][column])
    assert {once.context["list_query"].sort, twice.context["list_query"].sort} == {column, f"-{column}"}
    assert once.content.decode().count("aria-sort") == 1


def test_cursor_of_another_sort_is_not_found(alice: User, as_alice: Client) -> None:
    fill(alice, PER_PAGE + 1)
    url = as_alice.get("/?sort=name").context["next_url"]
    assert as_alice.get(url.replace("sort=name", "sort=size")).status_code == 404


@pytest.mark.parametrize("view", ["table", "grid"])
@pytest.mark.parametrize("inside", ["", "q=file&", "subfolders=1&", "category=&sort=name&"])
def test_query_count_of_a_page_does_not_grow(
    inside: str, view: str, alice: User, as_bob: Client, django_assert_max_num_queries: Any
) -> None:
    home = tree(alice, "Brand/Logos", "Brand/Press")
    for folder in home.values():
        fill(alice, 3, folder=folder)
    as_bob.get("/")
    counts = []
    for _ in range(2):
        with django_assert_max_num_queries(22) as queries:
            as_bob.get(f"/folders/{home['Brand/Logos'].parent_id}/?{inside}view={view}")
        counts.append(len(queries))
        tree(alice, *(f"Brand/{n}" for n in range(20)))
        for folder in home.values():
            fill(alice, 30, folder=folder)
    assert counts[0] == counts[1]


# --- folders -----------------------------------------------------------------------------------


def test_top_level_lists_files_without_folder_and_everything_on_request(alice: User, as_bob: Client) -> None:
    brand = tree(alice, "Brand")["Brand"]
    add(alice, "loose.txt")
    add(alice, "kept.txt", folder=brand)
    response = as_bob.get("/")
    assert (folders_on(response), names_on(response)) == (["Brand"], ["loose.txt"])
    assert sorted(names_on(as_bob.get("/?subfolders=1"))) == ["kept.txt", "loose.txt"]
    assert names_on(as_bob.get(brand.get_absolute_url())) == ["kept.txt"]


def test_search_includes_subfolders_by_default(alice: User, as_bob: Client) -> None:
    created = tree(alice, "Brand/Logos", "Brand")
    add(alice, "logo.png", folder=created["Brand/Logos"])
    url = created["Brand"].get_absolute_url()
    assert names_on(as_bob.get(f"{url}?q=logo")) == ["logo.png"]
    assert names_on(as_bob.get(f"{url}?q=logo&subfolders=0")) == []
    assert b"Brand \xe2\x80\xba Logos" in as_bob.get(f"{url}?q=logo").content


@pytest.mark.parametrize("view", ["table", "grid"])
def test_results_show_their_folder_and_the_matched_text(view: str, alice: User, as_bob: Client) -> None:
    folders = tree(alice, "Brand/<Été> logos")
    add(alice, "My <LÓGO>.png", folder=folders["Brand/<Été> logos"])
    page = as_bob.get(f"/?q=logo&view={view}").content.decode()
    assert "My &lt;<mark>LÓGO</mark>&gt;.png</a>" in page
    assert "&lt;Été&gt; <mark>logo</mark>s</a>" in page
    assert f'<a class="folder" href="{folders["Brand/<Été> logos"].get_absolute_url()}"' in page
    assert f'<a class="folder" href="/folders/{folders["Brand/<Été> logos"].parent_id}/"' in page
    assert "Results for “<bdi>logo</bdi>”" in page
    assert "<mark>" not in as_bob.get("/?subfolders=1").content.decode()


@pytest.mark.parametrize(
    ("query", "scope"),
    [("q=a", "in the whole library"), ("q=a&subfolders=0", "at the top level"),
     ("q=a", "in <bdi>Brand</bdi> and its subfolders"),
     ("q=a&subfolders=0", "in <bdi>Brand</bdi>, without subfolders")],
)  # fmt: skip
def test_results_name_their_scope(query: str, scope: str, alice: User, as_bob: Client) -> None:
    url = tree(alice, "Brand")["Brand"].get_absolute_url() if "Brand" in scope else "/"
    assert scope in as_bob.get(f"{url}?{query}").content.decode()


def test_a_search_finds_folders_by_name_too(alice: User, as_bob: Client) -> None:
    tree(alice, "Brand/Été Logos", *(f"Brand/logo {n:02}" for n in range(20)))
    response = as_bob.get("/?q=LOGO")
    assert len(folders_on(response)) == 10
    assert response.context["page"].more_folders
    assert folders_on(as_bob.get("/?q=ete")) == ["Été Logos"]


def test_restricted_folder_is_visible_only_to_its_groups(
    alice: User, manager: User, as_alice: Client, as_manager: Client
) -> None:
    created = tree(manager, "Board", "Board/Minutes")
    add(manager, "secret minutes.txt", folder=created["Board/Minutes"])
    folders.set_access(created["Board"], {Group.objects.get(name="managers"): AccessLevel.MANAGE}, by=manager)
    assert folders_on(as_alice.get("/")) == []
    assert names_on(as_alice.get("/?q=secret")) == []
    assert folders_on(as_alice.get("/?q=minutes")) == []
    assert as_alice.get(created["Board/Minutes"].get_absolute_url()).status_code == 404
    assert names_on(as_manager.get("/?q=secret")) == ["secret minutes.txt"]


def test_name_of_hidden_parent_folder_is_not_disclosed(manager: User, as_alice: Client) -> None:
    created = tree(manager, "Board", "Board/Open")
    groups = {group.name: group for group in Group.objects.all()}
    folders.set_access(created["Board"], {groups["managers"]: AccessLevel.MANAGE}, by=manager)
    opened = {groups["managers"]: AccessLevel.MANAGE, groups["uploaders"]: AccessLevel.VIEW}
    folders.set_access(created["Board/Open"], opened, by=manager)
    page = as_alice.get(created["Board/Open"].get_absolute_url()).content.decode()
    assert "Open" in page
    assert "Board" not in page
    assert "…" in page


# --- filters ----------------------------------------------------------------------------------


@pytest.fixture
def mixed(alice: User, bob: User) -> None:
    """One file for each filter."""
    old = timezone.now() - timedelta(days=400)
    photo = add(alice, "Été_100%.png", category=Category.IMAGE, size=12 * MB, available_at=old)
    Tagging.objects.create(tag=Tag.objects.create(name="Sommer"), file=photo)
    add(bob, "notes.txt", category=Category.TEXT, size=10)
    add(alice, 'it\'s "quoted".bin', size=3 * 1000 * MB, visibility=Visibility.PRIVATE)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=ete", ["Été_100%.png"]),
        ("q=PNG+100%25", ["Été_100%.png"]),
        ("q=100%25", ["Été_100%.png"]),
        ("q=e_1", ["Été_100%.png"]),
        ("q=o_e", []),
        ("q=%27s", ['it\'s "quoted".bin']),
        ("q=%22quoted%22", ['it\'s "quoted".bin']),
        ("q=a%5C", []),
        ("type=image", ["Été_100%.png"]),
        ("owner=bob", ["notes.txt"]),
        ("tag=SOMMER", ["Été_100%.png"]),
        ("size=under-1mb", ["notes.txt"]),
        ("size=10-100mb", ["Été_100%.png"]),
        ("size=over-1gb", ['it\'s "quoted".bin']),
        ("added=older", ["Été_100%.png"]),
        ("added=7d&type=text", ["notes.txt"]),
        ("type=image&owner=bob", []),
    ],
)
def test_filters_find_matching_files(query: str, expected: list[str], mixed: None, as_alice: Client) -> None:
    response = as_alice.get(f"/?{query}")
    assert names_on(response) == expected
    assert response.context["notes"] == []


def test_each_filter_that_is_set_can_be_removed(mixed: None, as_alice: Client) -> None:
    page = as_alice.get("/?q=png&type=image&owner=alice&tag=sommer&size=10-100mb&added=older&sort=name")
    chips = {chip["label"]: (str(chip["value"]), chip["url"]) for chip in page.context["chips"]}
    assert {label: value for label, (value, _url) in chips.items()} == {
        "Type": "Images", "Owner": "alice", "Tag": "Sommer", "Size": "10 to 100 MB", "Added": "Older"
    }  # fmt: skip
    query = as_alice.get(chips["Owner"][1]).context["list_query"]
    values = query.q, query.owner, query.category, query.tag.name, query.sort
    assert values == ("png", None, "image", "Sommer", "name")
    assert 'href="/?q=png&amp;type=image&amp;tag=Sommer' in page.content.decode()


def test_filters_are_hidden_while_there_is_nothing_to_filter(alice: User, bob: User, as_alice: Client) -> None:
    for url in ("/", "/trash/"):
        assert 'class="menu filter-menu" hidden' in as_alice.get(url).content.decode()
    add(alice, "a")
    page = as_alice.get("/")
    assert 'class="menu filter-menu">' in page.content.decode()
    assert page.context["people"] == ["alice"]
    assert 'class="menu filter-menu">' in as_alice.get("/?type=image").content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "type=<script>", "owner=nobody", "tag=none", "size=huge", "added=2026-13-45", "subfolders=2", "sort=id",
        "view=x", "owner=" + "x" * 5000, "tag=" + "%F0%9F%98%80" * 999, "q=" + "x" * 10_000, "q=" + "a+" * 4000,
    ],
)  # fmt: skip
def test_invalid_filters_are_ignored_and_reported(query: str, mixed: None, as_alice: Client) -> None:
    response = as_alice.get(f"/?{query}")
    assert response.status_code == 200
    assert len(response.context["notes"]) == 1
    assert b"<script>" not in response.content.replace(b'<script type="module"', b"").replace(b"<script src", b"")


@pytest.mark.parametrize("query", ["q=%00", "type=%00", "after=%00"])
def test_nul_in_the_query_is_rejected(query: str, as_alice: Client) -> None:
    assert as_alice.get(f"/?{query}").status_code == 400


@pytest.mark.parametrize("pk", ["0", "999999999", str(10**30), "9" * 5000])
def test_unknown_folder_is_404(pk: str, as_alice: Client) -> None:
    assert as_alice.get(f"/folders/{pk}/").status_code == 404


@pytest.mark.parametrize(("q", "used"), [("%", ""), ("_ .. 🎉", ""), ("A & B", "A B"), ("½ №", "½ №"), ("ñ", "ñ")])
def test_search_words_need_a_letter_or_digit(q: str, used: str, as_alice: Client) -> None:
    context = as_alice.get("/", {"q": q}).context
    assert context["list_query"].q == used
    assert bool(context["notes"]) == (q != used)


@pytest.mark.parametrize("maximum", [0, 1, 5_000])
def test_type_and_size_find_the_same_files_by_ids(
    maximum: int, mixed: None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.listing.selectors.MAX_OF_TYPE_AND_SIZE", maximum)
    query = listing.ListQuery(category=Category.TEXT, size="under-1mb")
    files = listing.files_for(alice, query, None)
    assert [file.name for file in files] == ["notes.txt"]
    assert ('"uploads_file"."id" IN (' in str(files.query)) == (maximum > 0)


def test_list_timeout_suggests_narrower_filters(alice: User, as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.listing.pagination.SEARCH_TIMEOUT_SECONDS", 0.001)

    def slow(*_: object, **__: object) -> Any:
        return File.objects.extra(where=["pg_sleep(0.2) IS NOT NULL"])

    add(alice, "a")
    monkeypatch.setattr("uploads.listing.files_for", slow)
    response = as_alice.get("/?q=a")
    assert response.status_code == 200
    assert b"Add a word" in response.content
    with connection.cursor() as cursor:  # the timeout applies only to the list
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("8s",)


# --- totals -----------------------------------------------------------------------------------


def test_label_counts_a_whole_list_and_numbers_the_pages_of_a_long_one(alice: User, as_alice: Client) -> None:
    tree(alice, "Brand")
    fill(alice, 3)
    assert as_alice.get("/").context["count_label"] == "1 folder, 3 files"
    fill(alice, PER_PAGE)
    shown = PER_PAGE - 1  # the folder is the first row
    assert as_alice.get("/").context["count_label"] == f"1–{shown}"
    following = as_alice.get(as_alice.get("/").context["next_url"])
    assert following.context["count_label"] == f"{shown + 1}–{PER_PAGE + 3} of {PER_PAGE + 3} files"
    Statistic.objects.create(kind=StatisticKind.FOLDER, key="0", status=StatisticStatus.STORED, files=1_234_567)
    assert as_alice.get("/").context["count_label"] == f"1–{shown} of about 1.2 million files"
    for start in ("", "0", "-1", "x", "1" * 40, "²"):
        page = as_alice.get("/", {"after": following.wsgi_request.GET["after"], "start": start})
        assert page.context["count_label"] == ""


# --- contents of a page ---------------------------------------------------------------------------


def test_names_cannot_become_markup(alice: User, as_alice: Client) -> None:
    bad = "<img src=x onerror=alert(1)>"
    folder = tree(alice, bad)[bad]
    file = add(alice, bad, folder=folder)
    Tagging.objects.create(tag=Tag.objects.create(name=bad), file=file)
    for url in ("/", f"/?q={bad}", "/?view=grid", folder.get_absolute_url(), file.get_absolute_url(), "/tags/",
                f"{folder.get_absolute_url()}move", f"{folder.get_absolute_url()}remove"):  # fmt: skip
        page = as_alice.get(url).content
        assert b"onerror=alert" in page
        assert b"<img src=x" not in page


def test_list_contains_no_key_and_no_presigned_url(alice: User, as_alice: Client) -> None:
    file = add(alice, "a")
    page = as_alice.get("/").content.decode()
    assert file.key not in page
    assert "X-Amz" not in page


def test_tags_are_counted_and_lead_to_their_files(mixed: None, as_alice: Client) -> None:
    page = as_alice.get("/tags/").content.decode()
    assert re.search(r'href="/\?tag=Sommer"[^<]*>Sommer</a> <span[^>]*>\s*1 file', page)


def test_file_is_listed_with_its_permanent_link(alice: User, as_alice: Client) -> None:
    link = uuid.uuid4()
    add(alice, "second.txt", series=link)
    assert str(link) in as_alice.get("/").content.decode()


def test_query_count_of_the_top_level_is_constant(
    alice: User, as_alice: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    add(alice, "a")
    as_alice.get("/")
    # session, user with permissions, folders, files, people with tags and counts, thumbnails with other marks
    with django_assert_num_queries(6):
        as_alice.get("/")


def test_truncated_list_of_tags_shows_a_notice(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.views.library.MAX_TAGS", 2)
    for name in ("a", "b", "c"):
        Tag.objects.create(name=name)
    page = as_alice.get("/tags/").text
    assert "?tag=b" in page
    assert "?tag=c" not in page
    assert "Not all tags are shown" in page
