"""When a session ends: after signing out, a new password, a closed account, a while without use, and in any case."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings as live
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from tests.conftest import signed_in
from uploads.accounts import sessions
from uploads.models import Action, Event
from uploads.services import sign_in_events

pytestmark = pytest.mark.django_db

RIGHT = "correct horse battery staple"
BETTER = "a much better one than that"
HOUR = 3600


@pytest.fixture(autouse=True)
def quick(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["tests.accounts.test_accounts.Quick"]


def is_in(client: Client) -> bool:
    return client.get("/tags/").status_code == 200


def change_password(client: Client) -> Any:
    return client.post(
        "/accounts/password/", {"oldpassword": RIGHT, "password1": BETTER, "password2": BETTER}
    )  # fmt: skip


def close(person: User, admin: Client, **more: Any) -> Any:
    facts = {"username": person.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", **more}
    return admin.post(reverse("admin:auth_user_change", args=[person.pk]), facts)


def ended() -> list[tuple[str, str, str]]:
    rows = Event.objects.filter(action=Action.SESSION).order_by("id")
    return [(row.actor, row.name, row.detail["reason"]) for row in rows]


def test_a_new_password_ends_every_other_session_and_keeps_this_one(alice: User) -> None:
    here, there = signed_in(alice), signed_in(alice)
    key = here.session.session_key
    assert change_password(here).headers["Location"] == "/accounts/security/"
    assert (is_in(here), is_in(there)) == (True, False)
    assert here.session.session_key != key
    assert list(Event.objects.filter(action=Action.PASSWORD).values_list("actor", "name")) == [("alice", "alice")]


@pytest.mark.parametrize("password", ["short", "password1234", "1234567890123"])
def test_a_weak_password_is_refused(password: str, alice: User) -> None:
    wrong = {"oldpassword": RIGHT, "password1": password, "password2": password}
    answer: Any = signed_in(alice).post("/accounts/password/", wrong)
    assert answer.context["form"].errors["password1"]
    alice.refresh_from_db()
    assert alice.check_password(RIGHT)


def test_the_old_password_is_asked_for_and_cannot_be_guessed(alice: User) -> None:
    client = signed_in(alice)
    wrong = {"oldpassword": "x", "password1": BETTER, "password2": BETTER}
    assert [client.post("/accounts/password/", wrong).status_code for _ in range(6)] == [200] * 5 + [429]


def test_a_closed_account_is_out_with_its_next_request(alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    assert close(alice, as_admin).status_code == 302
    assert not is_in(client)
    assert ended() == [("root", "alice", "disabled")]
    assert Event.objects.get(action=Action.ACCOUNT).detail == {"change": "disabled"}


def test_an_account_that_is_opened_again_has_no_old_sessions(alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    close(alice, as_admin)
    close(alice, as_admin, is_active="on")
    assert not is_in(client)


def test_closing_an_account_by_other_means_bites_as_well(alice: User) -> None:
    client = signed_in(alice)
    User.objects.update(is_active=False)
    assert not is_in(client)


def test_a_password_set_in_the_admin_ends_all_sessions_and_is_told(alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    words = {"password1": BETTER, "password2": BETTER, "usable_password": "true"}
    as_admin.post(reverse("admin:auth_user_password_change", args=[alice.pk]), words)
    assert not is_in(client)
    assert list(Event.objects.filter(action=Action.PASSWORD).values_list("actor", "name")) == [("root", "alice")]


def test_a_session_that_nobody_uses_ends(alice: User) -> None:
    client = signed_in(alice)
    Session.objects.update(expire_date=timezone.now())
    assert not is_in(client)


def test_a_session_in_use_stays_and_is_written_now_and_then(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(alice)
    began = client.session[sessions.LAST_SEEN]
    assert is_in(client)
    assert client.session[sessions.LAST_SEEN] == began
    later = time.time() + sessions.RENEW_SECONDS + 5
    monkeypatch.setattr(time, "time", lambda: later)
    assert live.SESSION_COOKIE_NAME in client.get("/tags/").cookies
    assert client.session[sessions.LAST_SEEN] > began
    assert client.session[sessions.STARTED_AT] == began


def test_no_session_lives_longer_than_it_may(alice: User, settings: Settings) -> None:
    client = signed_in(alice)
    store = client.session
    store[sessions.STARTED_AT] = int(time.time()) - settings.SESSION_ABSOLUTE_DAYS * 24 * HOUR - 1
    store.save()
    assert client.get("/tags/").headers["Location"].startswith("/accounts/login/")
    assert not Session.objects.exists()
    assert ended() == [("alice", "alice", "age")]


def test_an_old_session_is_none_for_the_protocol_either(alice: User, settings: Settings) -> None:
    client = signed_in(alice)
    store = client.session
    store[sessions.STARTED_AT] = 0
    store.save()
    assert client.get("/uploads/").status_code == 403


def test_a_session_that_was_ended_does_not_come_back(alice: User) -> None:
    """A request that was under way writes its session when it ends."""
    client = signed_in(alice)
    late = client.session
    assert late[sessions.LAST_SEEN]
    sign_in_events.end_sessions(alice, by=None)
    late["x"] = 1
    with pytest.raises(UpdateError):
        late.save()
    assert not is_in(client)


def test_everywhere_else_one_is_signed_out(alice: User, bob: User) -> None:
    here, there, bobs = signed_in(alice), signed_in(alice), signed_in(bob)
    here.post("/accounts/security/sessions/")
    assert (is_in(here), is_in(there), is_in(bobs)) == (True, False, True)
    assert ended() == [("alice", "alice", "requested")]


def act(client: Client, action: str, *people: User) -> Any:
    chosen = {"action": action, "_selected_action": [str(person.pk) for person in people]}
    return client.post("/admin/auth/user/", chosen)


def test_an_administrator_ends_a_persons_sessions(alice: User, bob: User, as_admin: Client) -> None:
    alices, again, bobs = signed_in(alice), signed_in(alice), signed_in(bob)
    act(as_admin, "end_sessions", alice)
    assert (is_in(alices), is_in(again), is_in(bobs)) == (False, False, True)
    assert ended() == [("root", "alice", "")]


def test_an_administrators_sessions_are_ended_by_superusers_alone(
    admin_user: User, bob: User, manager: User, give: Callable[[User, str], None]
) -> None:
    manager.is_staff = True
    manager.save()
    give(manager, "change_user")
    give(manager, "view_user")
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    root, other = signed_in(admin_user), signed_in(bob)
    act(signed_in(manager), "end_sessions", admin_user, bob, manager)
    assert (is_in(root), is_in(other)) == (True, True)
    assert ended() == [("manager", "manager", "")]


@pytest.fixture
def give() -> Callable[[User, str], None]:
    from django.contrib.auth.models import Permission

    return lambda person, right: person.user_permissions.add(Permission.objects.get(codename=right))


def test_removing_a_person_ends_their_sessions(alice: User) -> None:
    client = signed_in(alice)
    alice.delete()
    assert not is_in(client)
    assert not UserSession.objects.exists()


def test_expired_sessions_are_deleted_at_the_next_sign_in(alice: User, bob: User) -> None:
    signed_in(alice)
    Session.objects.update(expire_date=timezone.now() - timedelta(days=1))
    client = signed_in(bob)
    assert [session.session_key for session in Session.objects.all()] == [client.session.session_key]


def test_signing_in_sends_no_cookie_that_a_script_or_another_site_gets(alice: User) -> None:
    client = Client()
    client.get("/accounts/login/")
    answer: Any = client.post("/accounts/login/", {"username": "alice", "password": RIGHT})
    assert {live.SESSION_COOKIE_NAME, live.DEVICE_COOKIE_NAME} <= set(answer.cookies)
    for cookie in answer.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert (cookie["path"], cookie["domain"]) == ("/", "")


def test_a_password_that_is_hashed_anew_when_it_is_typed_ends_nothing(alice: User, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": RIGHT, "next": "/"})
    kept = alice.password
    alice.refresh_from_db()
    assert alice.password != kept
    assert is_in(client)
    sign_in_events.end_sessions(alice, by=None)
    assert not is_in(client)


def test_a_database_that_takes_no_writes_ends_no_session(alice: User, caplog: pytest.LogCaptureFixture) -> None:
    """As in the minutes of a failover: a session that is due to be written anew goes on unwritten."""
    client = signed_in(alice)
    store = client.session
    store[sessions.LAST_SEEN] -= sessions.RENEW_SECONDS + 1
    store.save()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
    assert client.get("/").status_code == 200
    assert "session_renewal_failed" in caplog.text


def test_what_else_a_session_should_keep_is_not_lost_unseen(alice: User) -> None:
    session = signed_in(alice).session
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
    sessions.renew(session, int(time.time()))
    assert not session.modified
    session["asked"] = "for something"
    assert session.modified
    with pytest.raises(UpdateError):
        session.save()


def test_ended_session_cannot_be_renewed(alice: User) -> None:
    session = signed_in(alice).session
    sign_in_events.end_sessions(alice, by=None)
    with pytest.raises(SessionInterrupted):
        sessions.renew(session, int(time.time()))


def test_own_password_set_in_the_admin_keeps_the_session_listed(admin_user: User, as_admin: Client) -> None:
    passwords = {"password1": BETTER, "password2": BETTER, "usable_password": "true"}
    as_admin.post(reverse("admin:auth_user_password_change", args=[admin_user.pk]), passwords)
    assert is_in(as_admin)
    sign_in_events.end_sessions(admin_user, by=None)
    assert not is_in(as_admin)
