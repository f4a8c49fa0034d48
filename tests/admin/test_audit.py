"""The audit log in the admin, and its export."""

from __future__ import annotations

import csv
import io
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests.conftest import signed_in
from tests.support import factories
from tests.support.stores import Bucket
from uploads import actions, services
from uploads.admin import events
from uploads.models import AccessLevel, Action, Event, File, State, Visibility
from uploads.models.audit import event
from uploads.services import folders

pytestmark = pytest.mark.django_db

LIST = "/admin/uploads/event/"
EXPORT = f"{LIST}export/"


def listed(client: Client, **query: str) -> list[tuple[str, str, str]]:
    """Return action, actor and name of each row, newest first."""
    response = client.get(LIST, query)
    assert response.status_code == 200
    return [(row.action, row.actor, row.redacted_name) for row in response.context["cl"].result_list]


def exported(client: Client, **query: str) -> list[list[str]]:
    response: Any = client.post(EXPORT, query_params=query)
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode()
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


@pytest.fixture
def trashed(alice: User) -> File:
    file = factories.create_file(alice, name="Été plan.pdf")
    actions.trash_files([file.pk], by=alice)
    actions.restore_files([file.pk], by=alice)
    return file


# --- list -------------------------------------------------------------------------------------


def test_details_are_readable(alice: User, as_admin: Client) -> None:
    file = factories.create_file(alice)
    Event.objects.record(Action.PURGE, file=file, size=30_000_000, share_link=7, shown=True, reason=None)
    page = as_admin.get(LIST).content.decode()
    for text in ("size: 30 MB", "share link: 7", "shown: yes", "reason: none"):
        assert text in page


def test_log_is_filtered_by_action_actor_and_time(trashed: File, bob: User, as_admin: Client) -> None:
    Event.objects.record(Action.LOGOUT, by=bob)
    assert listed(as_admin, action="trash") == [("trash", "alice", "Été plan.pdf")]
    assert listed(as_admin, actor="bob") == [("logout", "bob", "")]
    assert [action for action, _who, _name in listed(as_admin, actor="alice", at="today")] == ["restore", "trash"]
    assert listed(as_admin, at="2001") == listed(as_admin, actor="nobody") == []


def test_events_of_deleted_users_are_found_by_name(bob: User, as_admin: Client) -> None:
    Event.objects.record(Action.LOGOUT, by=bob)
    bob.delete()
    assert listed(as_admin, actor="bob") == [("logout", "bob", "")]


def test_log_is_searched_by_name_and_file_id(trashed: File, as_admin: Client) -> None:
    Event.objects.record(Action.LOGIN_FAILED, name="mallory")
    for words in ("PLAN", "ete pdf", str(trashed.pk)):
        assert [action for action, _who, _name in listed(as_admin, q=words)] == ["restore", "trash"], words
    assert listed(as_admin, q="mallory") == [("login_failed", "", "mallory")]
    assert listed(as_admin, q="no such") == []


def test_events_filtered_by_time_are_sorted_by_time(as_admin: Client, alice: User) -> None:
    for day in (3, 1, 2):
        Event.objects.bulk_create([Event(action=Action.LOGIN, actor="x", at=datetime(2024, 5, day, tzinfo=UTC))])
    rows = as_admin.get(LIST, {"at": "2024-05"}).context["cl"].result_list
    assert [row.at.day for row in rows] == [3, 2, 1]


def test_log_shows_the_minute_of_events_in_one_line(as_admin: Client, alice: User) -> None:
    Event.objects.bulk_create([Event(action=Action.LOGIN, actor="x", at=datetime(2024, 5, 3, 9, 7, 5, tzinfo=UTC))])
    page = as_admin.get(LIST, {"at": "2024-05"}).content.decode()
    assert 'title="3 May 2024 9:07:05 UTC">2024-05-03 09:07</span>' in page


def test_log_has_a_constant_number_of_queries(
    alice: User, as_admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    actions.trash_files([factories.create_file(alice).pk], by=alice)
    Event.objects.record(Action.FOLDER, folder=folders.create("a", parent=None, by=alice))
    as_admin.get(LIST)
    with django_assert_num_queries(9) as few:
        as_admin.get(LIST)
    actions.trash_files([factories.create_file(alice).pk for _ in range(40)], by=alice)
    with django_assert_num_queries(len(few)):
        as_admin.get(LIST)


NONSENSE = [
    {"action": "x"}, {"actor": "x" * 5000}, {"at": "2026-13"}, {"at": "9999"}, {"q": "x" * 5000}, {"q": "%_'\u202e"},
    {"p": "0"}, {"p": "9" * 30}, {"o": "1.2"}, {"e": "1"}, {"detail__x": "1"}, {"actor_id": "9" * 30}, {"all": ""},
    {"file_id": "x"}, {"q": "00000000-0000-0000-0000-000000000000"},
]  # fmt: skip


def test_invalid_queries_cause_no_errors_in_list_and_export(trashed: File, as_admin: Client) -> None:
    for query in NONSENSE:
        assert as_admin.get(LIST, query).status_code in {200, 302, 400}, query
        assert as_admin.post(EXPORT, query_params=query).status_code in {200, 302, 400}, query


def test_events_cannot_be_added_changed_or_deleted(trashed: File, as_admin: Client) -> None:
    pk = Event.objects.filter(action=Action.TRASH).get().pk
    for page in ("change", "delete"):
        as_admin.post(reverse(f"admin:uploads_event_{page}", args=[pk]), {"post": "yes", "actor": "x"})
    assert as_admin.get(reverse("admin:uploads_event_add")).status_code == 403
    assert as_admin.get(reverse("admin:uploads_event_change", args=[pk])).status_code == 200
    assert Event.objects.get(pk=pk).actor == "alice"


# --- hidden names ------------------------------------------------------------------------------


def test_names_of_private_files_of_others_are_hidden(trashed: File, as_admin: Client, as_clerk: Client) -> None:
    services.rename(trashed, "secret.txt", by=trashed.owner)
    actions.set_visibility([trashed.pk], Visibility.PRIVATE, by=trashed.owner)
    for client in (as_admin, as_clerk):
        for page in (client.get(LIST), client.get(LIST, {"q": str(trashed.pk)}), client.get(LIST, {"actor": "alice"})):
            assert b"secret" not in page.content
            assert "Été" not in page.content.decode()
        assert "secret" not in str(exported(client))
    assert listed(as_clerk, q="Été plan.pdf") == []


def test_names_of_purged_files_are_shown_only_to_superusers(
    alice: User, as_admin: Client, as_clerk: Client, bucket: Bucket
) -> None:
    erased = factories.create_file(alice, name="gone.txt", state=State.TRASHED)
    Event.objects.bulk_create([event(Action.PURGE, file=erased)])
    File.objects.filter(pk=erased.pk).discard(owner_id=alice.pk)
    services.erase(erased)
    assert listed(as_admin, action="purge") == [("purge", "", "gone.txt")]
    assert listed(as_clerk, action="purge") == [("purge", "", "")]


def test_names_of_restricted_folders_are_hidden(admin_user: User, as_clerk: Client) -> None:
    folder = folders.create("Layoffs", parent=None, by=admin_user)
    folders.set_access(folder, {Group.objects.create(name="board"): AccessLevel.MANAGE}, by=admin_user)
    assert b"Layoffs" not in as_clerk.get(LIST).content
    assert "Layoffs" not in str(exported(as_clerk))
    assert listed(as_clerk, q="Layoffs") == [], "a search does not reveal that the name exists"


def test_event_hides_target_folder_that_the_user_cannot_see(alice: User, admin_user: User, as_clerk: Client) -> None:
    file, board = factories.create_file(alice), Group.objects.create(name="board")
    folder = folders.create("Layoffs", parent=None, by=admin_user)
    actions.move_files([file.pk], folder, by=alice)
    actions.move_files([file.pk], None, by=alice)
    assert "Layoffs" in str(exported(as_clerk, action="move"))
    folders.set_access(folder, {board: AccessLevel.MANAGE}, by=admin_user)
    moved = reverse("admin:uploads_event_change", args=[Event.objects.filter(action=Action.MOVE).earliest("id").pk])
    for page in (as_clerk.get(LIST), as_clerk.get(moved), as_clerk.get(file.get_absolute_url())):
        assert page.status_code == 200
        assert "Layoffs" not in page.content.decode()
        assert "…" in page.content.decode()
    assert "Layoffs" not in str(exported(as_clerk))
    assert "Layoffs" in signed_in(admin_user).get(file.get_absolute_url()).content.decode()


def test_log_search_uses_indexes(trashed: File, as_admin: Client, as_clerk: Client) -> None:
    Event.objects.bulk_create(Event(action=Action.UPLOAD, name=f"{n}.txt", file_id=uuid.uuid4()) for n in range(5_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE uploads_event")
    for client in (as_admin, as_clerk):
        queryset = client.get(LIST, {"q": "Été plan.pdf"}).context["cl"].queryset
        assert {event.name for event in queryset} == {"Été plan.pdf"}
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        plan = queryset.all()[:50].explain()
        assert "Seq Scan on uploads_event" not in plan
        assert {"event_by_name", "event_by_file"} <= set(re.findall(r"event_by_\w+", plan)), plan


def test_search_finds_old_events_that_match_the_filters(as_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EXPORTED", 2)
    Event.objects.record(Action.LOGIN, name="mallory")
    for _ in range(5):
        Event.objects.record(Action.LOGIN_FAILED, name="mallory")
    assert listed(as_admin, q="mallory", action="login") == [("login", "", "mallory")]
    assert len(listed(as_admin, q="mallory")) == 3


def test_log_and_export_require_permission(alice: User, roles: None) -> None:
    clerk = factories.create_user("nobody", is_staff=True)
    assert signed_in(clerk).get(LIST).status_code == 403
    assert signed_in(clerk).post(EXPORT).status_code == 403
    clerk.user_permissions.add(Permission.objects.get(codename="view_event"))
    assert signed_in(User.objects.get(pk=clerk.pk)).post(EXPORT).status_code == 200


# --- CSV --------------------------------------------------------------------------------------


def test_export_contains_filtered_events_and_is_recorded(trashed: File, as_clerk: Client) -> None:
    head, *rows = exported(as_clerk, action="trash")
    assert head[:5] == ["id", "time", "action", "user", "name"]
    assert [row[2:6] for row in rows] == [["trash", "alice", "Été plan.pdf", str(trashed.pk)]]
    export_event = Event.objects.filter(action=Action.EXPORT).get()
    assert (export_event.actor, export_event.detail) == ("clerk", {"filter": "action=trash"})


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_exported_cells_cannot_be_formulas(first: str, as_admin: Client) -> None:
    name = f'{first}HYPERLINK("http://evil","x")\r\n,;"'
    Event.objects.record(Action.LOGIN_FAILED, name=name)
    Event.objects.bulk_create([Event(action=Action.LOGOUT, actor=name)])
    rows = exported(as_admin)
    assert [row[3] for row in rows if row[2] == "logout"] == [f"'{name}"]
    assert [row[4] for row in rows if row[2] == "login_failed"] == [f"'{name}"]
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_long_export_is_batched_and_marks_its_truncation(as_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BATCH_SIZE", 3)
    monkeypatch.setattr(events, "MAX_EXPORTED", 7)
    Event.objects.bulk_create(Event(action=Action.LOGOUT, actor=f"p{number}") for number in range(10))
    rows = exported(as_admin, action="logout")
    assert [row[3] for row in rows[1:8]] == [f"p{number}" for number in range(9, 2, -1)]
    assert "more than 7" in rows[8][1]
    assert len(rows) == 9


def test_export_of_exactly_the_limit_is_complete(as_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EXPORTED", 4)
    Event.objects.bulk_create(Event(action=Action.LOGOUT, actor=f"p{number}") for number in range(4))
    assert len(exported(as_admin, action="logout")) == 5


def test_export_requires_post_and_csrf_token(as_admin: Client, admin_user: User) -> None:
    assert as_admin.get(EXPORT).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(EXPORT).status_code == 403
