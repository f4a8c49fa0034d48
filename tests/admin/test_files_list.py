"""The admin's list of files: columns, filters, search, sorting, and number of queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import connection
from django.db.models.functions import Now
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from tests.support import factories
from uploads import actions
from uploads.admin import base
from uploads.admin.files import FileAdmin
from uploads.models import File, Folder, Preview, PreviewKind, PreviewState, State, Visibility, apply_deltas
from uploads.services import folders

pytestmark = pytest.mark.django_db

LIST = "/admin/uploads/file/"
PRIVATE = Visibility.PRIVATE


def listed(client: Client, **query: str) -> set[str]:
    """Names of the files that the list shows."""
    response = client.get(LIST, query)
    assert response.status_code == 200, response.headers
    return {file.name for file in response.context["cl"].result_list}


def test_list_shows_the_main_columns(alice: User, as_admin: Client) -> None:
    folder = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    file = factories.create_file(alice, b"x" * 1200, name="plan.pdf", folder=folder)
    actions.tag_files([file.pk], add=["urgent"], by=alice)
    page = as_admin.get(LIST).content.decode()
    for text in ("plan.pdf", "Brand/Logos", "urgent", "Other", "1 kB", "alice", file.get_absolute_url()):
        assert text.lower() in page.lower().replace("\u00a0", " ")


def test_files_are_found_by_words_whole_key_and_whole_id(alice: User, bob: User, as_admin: Client) -> None:
    plan, photo = factories.create_file(alice, name="Été plan.pdf"), factories.create_file(bob, name="photo.png")
    gone = factories.create_file(bob, name="gone.txt", state=State.TRASHED)
    assert listed(as_admin, q="PLAN ete") == {"Été plan.pdf"}
    assert listed(as_admin, q=photo.key) == listed(as_admin, q=str(photo.pk)) == {"photo.png"}
    assert listed(as_admin, q=plan.key[:10]) == set()
    assert listed(as_admin, q=gone.key) == {"gone.txt"}, "a complete key is found in every state"


def test_unusual_search_text_causes_no_errors(alice: User, as_admin: Client) -> None:
    factories.create_file(alice)
    for words in ("'; DROP TABLE x", "%", "_", "\\", '"open', "a" * 5000, "\u202e\ud7ff", "שלום"):
        assert as_admin.get(LIST, {"q": words}).status_code == 200, words


def test_state_and_visibility_filters_work(alice: User, as_admin: Client) -> None:
    factories.create_file(alice, name="here")
    factories.create_file(alice, name="there", state=State.TRASHED)
    assert listed(as_admin) == listed(as_admin, state="library") == {"here"}
    assert listed(as_admin, state="trash") == {"there"}
    assert listed(as_admin, state="versions") == listed(as_admin, state="unfinished") == set()
    assert listed(as_admin, visibility="private") == set()
    assert listed(as_admin, visibility="team") == {"here"}


def test_files_are_filtered_by_owner_folder_type_and_tag(alice: User, bob: User, as_admin: Client) -> None:
    folder = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    assert isinstance(folder, Folder)
    logo = factories.create_file(alice, name="logo", folder=folder, category="image")
    factories.create_file(bob, name="song", category="audio")
    actions.tag_files([logo.pk], add=["Été"], by=alice)
    for query in ({"owner": "alice"}, {"folder": "Brand/Logos"}, {"folder": f"#{folder.pk}"}, {"type": "image"},
                  {"tag": "ETE"}):  # fmt: skip
        assert listed(as_admin, **query) == {"logo"}, query
    assert listed(as_admin, folder="/") == listed(as_admin, owner="bob") == {"song"}
    for query in ({"owner": "nobody"}, {"folder": "Brand"}, {"folder": "No/Such"}, {"tag": "none"}):
        assert listed(as_admin, **query) == set(), query


def test_files_are_filtered_by_year_month_and_day(alice: User, as_admin: Client) -> None:
    factories.create_file(alice, name="old", available_at=datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC))
    factories.create_file(alice, name="new")
    for added in ("2024", "2024-02", "2024-02-29"):
        assert listed(as_admin, added=added) == {"old"}, added
    for added in ("today", "7d", "30d", "1y"):
        assert listed(as_admin, added=added) == {"new"}, added
    assert listed(as_admin, added="2024-03-01") == set()


def test_date_hierarchy_uses_stored_statistics(alice: User, as_admin: Client, as_clerk: Client) -> None:
    for _ in range(2):
        factories.create_file(alice, available_at=datetime(2024, 2, 29, tzinfo=UTC))
    apply_deltas()
    shown = [
        [(step.label, step.files) for step in as_admin.get(LIST, query).context["days"]]
        for query in ({}, {"added": "2024"}, {"added": "2024-02"}, {"added": "2024-02-29"})
    ]
    assert shown[0] == [("2024", 2)]
    assert shown[1] == [("", None), ("2024", None), ("2024-02", 2)]
    assert shown[2] == shown[3] == [("", None), ("2024", None), ("2024-02", None), ("2024-02-29", 2)]
    assert as_clerk.get(LIST).context["days"]


def test_only_ready_thumbnails_are_shown(alice: User, as_admin: Client) -> None:
    ready, making = factories.create_file(alice, name="ready"), factories.create_file(alice, name="making")
    for file, state in ((ready, PreviewState.READY), (making, PreviewState.PENDING)):
        Preview.objects.create(file=file, kind=PreviewKind.THUMBNAIL, state=state, lease_until=Now())
    page = as_admin.get(LIST).content.decode()
    assert reverse("thumbnail", args=[ready.pk]) in page
    assert reverse("thumbnail", args=[making.pk]) not in page


def test_list_counts_up_to_a_maximum(alice: User, as_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_COUNTED", 3)
    for _ in range(5):
        factories.create_file(alice)
    response = as_admin.get(LIST)
    assert (response.context["cl"].result_count, response.context["cl"].more) == (3, True)
    assert "More than" in response.content.decode()


def test_slow_list_query_is_canceled_with_advice(
    alice: User, as_admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "STATEMENT_TIMEOUT_SECONDS", 0.02)
    slow = File.objects.extra(where=["pg_sleep(0.2) IS NOT NULL"])
    factories.create_file(alice)
    monkeypatch.setattr(FileAdmin, "get_queryset", lambda self, request: slow)
    response = as_admin.get(LIST)
    assert response.status_code == 302
    assert "Add a filter" in str(next(iter(get_messages(response.wsgi_request))))


def fill(owner: User) -> None:
    """Create enough files that the planner considers indexes."""
    common = {"owner": owner, "part_size": 1, "etag": "e", "checksum": "c", "state": State.AVAILABLE}
    File.objects.bulk_create(
        File(name=f"{number}.txt", size=number, available_at=timezone.now() - timedelta(minutes=number), **common)
        for number in range(3_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE uploads_file")


@pytest.mark.parametrize("order", ["2", "-2", "3", "-3", "4", "-4"])
@pytest.mark.slow
def test_every_sort_order_uses_an_index(order: str, alice: User, as_admin: Client) -> None:
    fill(alice)
    rows = as_admin.get(LIST, {"o": order}).context["cl"].queryset
    column, pk = rows.query.order_by
    assert column.startswith("-") == pk.startswith("-")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    assert "Sort" not in rows[:50].explain()


NONSENSE = [
    {"state": "nonsense"},
    {"state": "x" * 5000},
    {"type": "nonsense"},
    {"visibility": "nonsense"},
    {"owner": "nonsense"},
    {"owner": "x" * 5000},
    {"folder": "../../etc/passwd"},
    {"folder": "#99999999999999999999999"},
    {"folder": "#x"},
    {"folder": "#"},
    {"folder": "a/" * 700},
    {"tag": "%"},
    {"tag": "\u202e"},
    {"added": "nonsense"},
    {"added": "0"},
    {"added": "9999"},
    {"added": "9999-12-31"},
    {"added": "2026-02-30"},
    {"added": "2026-13"},
    {"added": "2026-1-1-1"},
    {"added": "99999999999999999999"},
    {"added": "²"},
    {"_facets": "True"},
    {"state__exact": "nonsense"},
    {"state__exact": "available\x01"},
    {"state__in": "available,nonsense"},
    {"visibility__exact": "x" * 5000},
    {"available_at__year": "nonsense"},
    {"available_at__year": "0"},
    {"available_at__year": "-1"},
    {"available_at__year": "9999"},
    {"available_at__year": "99999999999999999999"},
    {"available_at__year": "9999", "available_at__month": "12"},
    {"available_at__year": "9999", "available_at__month": "12", "available_at__day": "31"},
    {"available_at__year": "2026", "available_at__month": "13"},
    {"available_at__year": "2026", "available_at__month": "2", "available_at__day": "30"},
    {"available_at__month": "2"},
    {"p": "nonsense"},
    {"p": "0"},
    {"p": "-5"},
    {"p": "99999999999999999999"},
    {"o": "99.-99.x"},
    {"o": "1.2.3.4.5.6.7.8"},
    {"all": "x"},
    {"key": "x"},
    {"owner__password__startswith": "pbkdf2"},
    {"owner__id__exact": "99999999999999999999"},
    {"id__exact": "nonsense"},
    {"id": "nonsense"},
    {"nonsense": "1"},
    {"_to_field": "key"},
    {"_popup": "1"},
    {"e": "1"},
    {"size__gte": "99999999999999999999999"},
]


def test_invalid_filters_cause_no_errors(alice: User, as_admin: Client) -> None:
    factories.create_file(alice)
    statuses = {str(query): as_admin.get(LIST, query).status_code for query in NONSENSE}
    assert set(statuses.values()) <= {200, 302, 400}, statuses


def test_filters_cannot_disclose_a_password(alice: User, as_admin: Client, as_clerk: Client) -> None:
    factories.create_file(alice)
    for client in (as_admin, as_clerk):
        assert client.get(LIST, {"owner__password__startswith": "!"}).status_code in {302, 400}


def test_row_links_equal_those_of_django(alice: User, admin_user: User, rf: RequestFactory) -> None:
    file, request = factories.create_file(alice), rf.get(LIST)
    request.user = admin_user
    rows = FileAdmin(File, admin.site).get_changelist_instance(request)
    assert rows.url_for_result(file) == reverse("admin:uploads_file_change", args=[file.pk])


def test_list_has_a_constant_number_of_queries(
    alice: User, bob: User, as_admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    factories.create_file(alice)
    as_admin.get(LIST)
    with django_assert_num_queries(12) as few:
        as_admin.get(LIST)
    for owner in (alice, bob) * 10:
        factories.create_file(owner)
    with django_assert_num_queries(len(few)):
        as_admin.get(LIST)
