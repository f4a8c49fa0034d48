"""The audit log: every entry point writes to it, and entries cannot be removed."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in
from tests.support import factories
from uploads import actions, services
from uploads.models import Action, Event, State, Tag, client_ip_context
from uploads.services.sign_in_events import attempted_name

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery staple"
LOGIN_URLS = ["/accounts/login/", "/admin/login/"]
ADDRESS = "203.0.113.7"


def audit_rows(action: Action) -> list[tuple[str, str, str | None]]:
    """Return the actor, name and address of each event with this action, oldest first."""
    return list(Event.objects.filter(action=action).order_by("id").values_list("actor", "name", "address"))


def post_login(url: str, name: str, password: str, **extra: Any) -> Any:
    return Client(REMOTE_ADDR=ADDRESS).post(url, {"username": name, "password": password}, **extra)


@pytest.mark.parametrize("url", LOGIN_URLS)
def test_sign_in_records_one_event_at_each_login_page(url: str, admin_user: User) -> None:
    assert post_login(url, "root", PASSWORD).status_code == 302
    assert audit_rows(Action.LOGIN) == [("root", "", ADDRESS)]
    assert audit_rows(Action.LOGIN_FAILED) == []


@pytest.mark.parametrize("url", LOGIN_URLS)
@pytest.mark.parametrize("name", ["root", "nobody"])
def test_failed_sign_in_records_the_attempted_name(url: str, name: str, admin_user: User) -> None:
    assert post_login(url, name, "wrong-Pa55word!").status_code == 200
    assert audit_rows(Action.LOGIN_FAILED) == [("", name, ADDRESS)]
    assert "wrong-Pa55word!" not in str(factories.database_rows()["uploads.Event"])


@pytest.mark.parametrize("url", ["/accounts/logout/", "/admin/logout/"])
def test_sign_out_records_one_event_at_each_logout_page(url: str, admin_user: User) -> None:
    signed_in(admin_user).post(url)
    assert [actor for actor, _name, _address in audit_rows(Action.LOGOUT)] == ["root"]


def test_sign_out_without_session_records_no_user(db: None) -> None:
    Client().post("/admin/logout/")
    assert audit_rows(Action.LOGOUT) == []


@pytest.mark.parametrize("name", ["a\r\nadmin signed in", "x\x1b[31m", "\u202egpj", "n" * 10_000, "\u2028", "é" * 300])
def test_attempted_name_is_recorded_printable_and_truncated(name: str, db: None) -> None:
    post_login("/accounts/login/", name, "x", headers={"User-Agent": "a\r\nb"})
    for _actor, recorded, _address in audit_rows(Action.LOGIN_FAILED):
        assert recorded.isprintable()
        assert len(recorded) <= 150
    assert attempted_name(name) == "".join(char for char in name if char.isprintable())[:150]


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", None, 12])
def test_invalid_attempted_name_is_recorded_without_the_password(name: object) -> None:
    services.sign_in_events.on_login_failed(credentials={"username": name, "password": "secret"})
    assert "secret" not in str(Event.objects.values().get())


def test_line_breaks_in_sign_in_data_cannot_forge_a_log_line(db: None, caplog: pytest.LogCaptureFixture) -> None:
    post_login("/accounts/login/", "a\r\nINFO all is well", "x", headers={"User-Agent": "b\r\nINFO all is well"})
    assert not [line for line in caplog.text.splitlines() if line.startswith("INFO all is well")]


@pytest.mark.parametrize("statement", ["UPDATE uploads_event SET actor = 'x'", "DELETE FROM uploads_event"])
def test_database_rejects_changing_or_deleting_events(statement: str, alice: User) -> None:
    Event.objects.record(Action.LOGIN, by=alice)
    with pytest.raises(DatabaseError, match="only added to"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    with pytest.raises(DatabaseError), transaction.atomic():
        Event.objects.all().delete()
    with pytest.raises(DatabaseError), transaction.atomic():
        Event.objects.update(actor="")
    assert audit_rows(Action.LOGIN) == [("alice", "", None)]


def test_audit_log_survives_deletion_of_the_user_and_files(alice: User) -> None:
    file = factories.create_file(alice, name="gone.txt")
    actions.trash_files([file.pk], by=alice)
    type(file).objects.filter(pk=file.pk).update(state=State.DELETING)
    type(file).objects.filter(pk=file.pk).delete()
    pk = alice.pk
    alice.delete()
    event = Event.objects.get(action=Action.TRASH)
    assert (event.actor_id, event.actor, event.name, event.file_id) == (pk, "alice", "gone.txt", file.pk)


# --- the admin --------------------------------------------------------------------------------


def admin_events() -> list[tuple[str, str, str, list[str]]]:
    rows = Event.objects.filter(action=Action.ADMIN).order_by("id")
    return [(row.detail["change"], row.detail["model"], row.name, row.detail["fields"]) for row in rows]


def test_admin_changes_record_one_event_each(as_admin: Client) -> None:
    as_admin.post(reverse("admin:uploads_tag_add"), {"name": "Été"})
    tag = Tag.objects.get()
    as_admin.post(reverse("admin:uploads_tag_change", args=[tag.pk]), {"name": "Winter"})
    as_admin.post(reverse("admin:uploads_tag_delete", args=[tag.pk]), {"post": "yes"})
    assert admin_events() == [
        ("added", "uploads.tag", "Été", []),
        ("changed", "uploads.tag", "Winter", ["Name"]),
        ("deleted", "uploads.tag", "Winter", []),
    ]


def test_admin_changes_to_users_and_groups_are_recorded(as_admin: Client, alice: User) -> None:
    group = Group.objects.create(name="design")
    as_admin.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "designers"})
    passwords = {"password1": "Tr0ub4dor&3-horse", "password2": "Tr0ub4dor&3-horse", "usable_password": "true"}
    as_admin.post(reverse("admin:auth_user_add"), {"username": "dora", **passwords})
    as_admin.post(reverse("admin:auth_user_password_change", args=[alice.pk]), passwords)
    data = {"action": "delete_selected", "_selected_action": [str(group.pk)], "post": "yes"}
    as_admin.post("/admin/auth/group/", data)
    entries = [(act, model, name) for act, model, name, _fields in admin_events()]
    assert entries == [
        ("changed", "auth.group", "designers"),
        ("added", "auth.user", "dora"),
        ("changed", "auth.user", "alice"),
        ("deleted", "auth.group", "designers"),
    ]
    assert "Tr0ub4dor" not in str(factories.database_rows()["uploads.Event"])


def test_file_change_in_the_admin_is_recorded_for_the_file(alice: User, admin_user: User) -> None:
    file = factories.create_file(alice, visibility="team")
    url = reverse("admin:uploads_file_change", args=[file.pk])
    with client_ip_context(None):
        signed_in(admin_user).post(url, {"name": "new.txt", "folder": "", "tags": ""})
    events = Event.objects.about(file.pk).values_list("action", "actor", "name", "address")
    assert list(events) == [
        ("admin", "root", "new.txt", "127.0.0.1"),
        ("rename", "root", "report.txt", "127.0.0.1"),
    ]
