"""When a session ends: at sign-out, password change, deactivation, and at the idle and the absolute limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings as live_settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from tests.accounts.conftest import NEW_PASSWORD, PASSWORD, is_signed_in
from tests.conftest import signed_in
from uploads.accounts import sessions
from uploads.models import Action, Event
from uploads.services import sign_in_events

pytestmark = pytest.mark.django_db

HOUR = 3600


def change_password(client: Client) -> Any:
    return client.post(
        "/accounts/password/", {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    )  # fmt: skip


def set_active(person: User, admin: Client, **more: Any) -> Any:
    fields = {"username": person.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", **more}
    return admin.post(reverse("admin:auth_user_change", args=[person.pk]), fields)


def session_events() -> list[tuple[str, str, str]]:
    rows = Event.objects.filter(action=Action.SESSION).order_by("id")
    return [(row.actor, row.name, row.detail["reason"]) for row in rows]


def test_password_change_ends_all_other_sessions(alice: User) -> None:
    own, other = signed_in(alice), signed_in(alice)
    key = own.session.session_key
    assert change_password(own).headers["Location"] == "/accounts/security/"
    assert (is_signed_in(own), is_signed_in(other)) == (True, False)
    assert own.session.session_key != key
    assert list(Event.objects.filter(action=Action.PASSWORD).values_list("actor", "name")) == [("alice", "alice")]


@pytest.mark.parametrize("password", ["short", "password1234", "1234567890123"])
def test_weak_password_is_refused(password: str, alice: User) -> None:
    wrong = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    response: Any = signed_in(alice).post("/accounts/password/", wrong)
    assert response.context["form"].errors["password1"]
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_old_password_cannot_be_guessed(alice: User) -> None:
    client = signed_in(alice)
    wrong = {"oldpassword": "x", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert [client.post("/accounts/password/", wrong).status_code for _ in range(6)] == [200] * 5 + [429]


def test_deactivation_ends_sessions_and_is_recorded(alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    assert set_active(alice, as_admin).status_code == 302
    assert not is_signed_in(client)
    assert session_events() == [("root", "alice", "disabled")]
    assert Event.objects.get(action=Action.ACCOUNT).detail == {"change": "disabled"}


def test_reactivated_account_has_no_old_sessions(alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    set_active(alice, as_admin)
    set_active(alice, as_admin, is_active="on")
    assert not is_signed_in(client)


def test_deactivation_by_a_script_ends_sessions(alice: User) -> None:
    client = signed_in(alice)
    User.objects.update(is_active=False)
    assert not is_signed_in(client)


def test_password_set_in_the_admin_ends_sessions_and_is_recorded(alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    passwords = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    as_admin.post(reverse("admin:auth_user_password_change", args=[alice.pk]), passwords)
    assert not is_signed_in(client)
    assert list(Event.objects.filter(action=Action.PASSWORD).values_list("actor", "name")) == [("root", "alice")]


def test_expired_session_is_refused(alice: User) -> None:
    client = signed_in(alice)
    Session.objects.update(expire_date=timezone.now())
    assert not is_signed_in(client)


def test_session_in_use_is_renewed_at_intervals(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(alice)
    began = client.session[sessions.LAST_SEEN]
    assert is_signed_in(client)
    assert client.session[sessions.LAST_SEEN] == began
    later = time.time() + sessions.RENEW_SECONDS + 5
    monkeypatch.setattr(time, "time", lambda: later)
    assert live_settings.SESSION_COOKIE_NAME in client.get("/tags/").cookies
    assert client.session[sessions.LAST_SEEN] > began
    assert client.session[sessions.STARTED_AT] == began


def test_session_ends_at_the_absolute_limit(alice: User, settings: Settings) -> None:
    client = signed_in(alice)
    store = client.session
    store[sessions.STARTED_AT] = int(time.time()) - settings.SESSION_ABSOLUTE_DAYS * 24 * HOUR - 1
    store.save()
    assert client.get("/tags/").headers["Location"].startswith("/accounts/login/")
    assert not Session.objects.exists()
    assert session_events() == [("alice", "alice", "age")]


def test_session_past_the_absolute_limit_is_refused_by_the_api(alice: User, settings: Settings) -> None:
    client = signed_in(alice)
    store = client.session
    store[sessions.STARTED_AT] = 0
    store.save()
    assert client.get("/uploads/").status_code == 403


def test_ended_session_cannot_be_saved(alice: User) -> None:
    """A concurrent request saves its session when it finishes."""
    client = signed_in(alice)
    stale = client.session
    assert stale[sessions.LAST_SEEN]
    sign_in_events.end_sessions(alice, by=None)
    stale["x"] = 1
    with pytest.raises(UpdateError):
        stale.save()
    assert not is_signed_in(client)


def test_other_sessions_can_be_ended(alice: User, bob: User) -> None:
    own, other, bobs = signed_in(alice), signed_in(alice), signed_in(bob)
    own.post("/accounts/security/sessions/")
    assert (is_signed_in(own), is_signed_in(other), is_signed_in(bobs)) == (True, False, True)
    assert session_events() == [("alice", "alice", "requested")]


def run_action(client: Client, action: str, *people: User) -> Any:
    data = {"action": action, "_selected_action": [str(person.pk) for person in people]}
    return client.post("/admin/auth/user/", data)


def test_administrator_can_end_sessions_of_a_user(alice: User, bob: User, as_admin: Client) -> None:
    alices, again, bobs = signed_in(alice), signed_in(alice), signed_in(bob)
    run_action(as_admin, "end_sessions", alice)
    assert (is_signed_in(alices), is_signed_in(again), is_signed_in(bobs)) == (False, False, True)
    assert session_events() == [("root", "alice", "")]


def test_only_superusers_can_end_sessions_of_administrators(
    admin_user: User, bob: User, manager: User, give: Callable[[User, str], None]
) -> None:
    manager.is_staff = True
    manager.save()
    give(manager, "change_user")
    give(manager, "view_user")
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    root, other = signed_in(admin_user), signed_in(bob)
    run_action(signed_in(manager), "end_sessions", admin_user, bob, manager)
    assert (is_signed_in(root), is_signed_in(other)) == (True, True)
    assert session_events() == [("manager", "manager", "")]


@pytest.fixture
def give() -> Callable[[User, str], None]:
    from django.contrib.auth.models import Permission

    return lambda person, right: person.user_permissions.add(Permission.objects.get(codename=right))


def test_deleting_a_user_ends_their_sessions(alice: User) -> None:
    client = signed_in(alice)
    alice.delete()
    assert not is_signed_in(client)
    assert not UserSession.objects.exists()


def test_expired_sessions_are_deleted_at_the_next_sign_in(alice: User, bob: User) -> None:
    signed_in(alice)
    Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
    client = signed_in(bob)
    assert [session.session_key for session in Session.objects.all()] == [client.session.session_key]


def test_cookies_are_http_only_and_same_site(alice: User) -> None:
    client = Client()
    client.get("/accounts/login/")
    response: Any = client.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    assert {live_settings.SESSION_COOKIE_NAME, live_settings.DEVICE_COOKIE_NAME} <= set(response.cookies)
    for cookie in response.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert (cookie["path"], cookie["domain"]) == ("/", "")


def test_upgrade_of_the_hash_keeps_the_session(alice: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": PASSWORD, "next": "/"})
    old_hash = alice.password
    alice.refresh_from_db()
    assert alice.password != old_hash
    assert is_signed_in(client)
    sign_in_events.end_sessions(alice, by=None)
    assert not is_signed_in(client)


def test_read_only_database_keeps_sessions(alice: User, caplog: pytest.LogCaptureFixture) -> None:
    """As during a failover: a session that is due for renewal stays valid without it."""
    client = signed_in(alice)
    store = client.session
    store[sessions.LAST_SEEN] -= sessions.RENEW_SECONDS + 1
    store.save()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
    assert client.get("/").status_code == 200
    assert "session_renewal_failed" in caplog.text


def test_failed_renewal_does_not_hide_unsaved_session_data(alice: User) -> None:
    session = signed_in(alice).session
    session["requested"] = "something"
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
    sessions.renew(session)
    assert session.modified
    with pytest.raises(UpdateError):
        session.save()


def test_ended_session_cannot_be_renewed(alice: User) -> None:
    session = signed_in(alice).session
    assert session[sessions.LAST_SEEN]
    sign_in_events.end_sessions(alice, by=None)
    with pytest.raises(SessionInterrupted):
        sessions.renew(session)


def test_own_password_set_in_the_admin_keeps_the_session_listed(admin_user: User, as_admin: Client) -> None:
    passwords = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    as_admin.post(reverse("admin:auth_user_password_change", args=[admin_user.pk]), passwords)
    assert is_signed_in(as_admin)
    sign_in_events.end_sessions(admin_user, by=None)
    assert not is_signed_in(as_admin)
