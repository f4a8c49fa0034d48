"""Second factors: how one is set up, asked for, lost and taken away, and who must have one."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from pytest_django import Settings

from tests.conftest import signed_in
from tests.support import shelf
from tests.support.authenticator import PERIOD_SECONDS, code, read_key, set_up, wrong
from uploads.models import Action, Event, TokenBucket
from uploads.services import sign_in_events

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("quick")]

LOGIN, CODE = "/accounts/login/", "/accounts/code/"
RIGHT = "correct horse battery staple"


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What allauth leaves for the end of a transaction happens at once: the one around a test never ends."""
    monkeypatch.setattr(transaction, "on_commit", lambda act, **_: act())
    settings.PASSWORD_HASHERS = ["tests.accounts.test_accounts.Quick"]


def by_password(name: str, client: Client | None = None, **more: str) -> Client:
    """Signed in as far as a password leads."""
    client = client or Client()
    answer = client.post(LOGIN, {"username": name, "password": RIGHT, **more})
    assert answer.status_code == 302
    return client


def is_in(client: Client) -> bool:
    return client.get("/tags/").status_code == 200


def acts() -> list[tuple[str, str, str, str]]:
    rows = Event.objects.filter(action=Action.TWO_FACTOR).order_by("id")
    return [(row.actor, row.name, row.detail["change"], row.detail["kind"]) for row in rows]


@pytest.fixture
def guarded(alice: User) -> str:
    """Alice has a second factor; its key. The code of the period before is used."""
    return set_up(by_password("alice"))


def recovery_codes(client: Client) -> list[str]:
    return re.findall(r"<li><code>(\d{8})</code>", client.get("/accounts/recovery-codes/").content.decode())


def test_a_second_factor_is_set_up_with_a_picture_and_a_key(alice: User) -> None:
    client = by_password("alice")
    page = client.get("/accounts/factor/add/")
    assert b'src="data:image/svg+xml;base64,' in page.content
    assert set_up(client)
    assert len(recovery_codes(client)) == 10
    assert acts() == [("alice", "alice", "added", "totp"), ("alice", "alice", "added", "recovery_codes")]


def test_from_then_on_a_password_opens_nothing(guarded: str) -> None:
    client = Client()
    answer = client.post(LOGIN, {"username": "alice", "password": RIGHT, "next": "/upload/"})
    assert answer.headers["Location"] == CODE
    assert not is_in(client)
    assert client.get(CODE).status_code == 200
    answer = client.post(CODE, {"code": code(guarded)})
    assert answer.headers["Location"] == "/upload/"
    assert is_in(client)


def test_a_password_alone_is_no_sign_in_for_the_log(guarded: str) -> None:
    before = Event.objects.filter(action=Action.LOGIN).count()
    client = by_password("alice")
    client.post(CODE, {"code": wrong(guarded)})
    assert Event.objects.filter(action=Action.LOGIN).count() == before
    failed = Event.objects.filter(action=Action.LOGIN_FAILED).get()
    assert (failed.name, failed.detail) == ("alice", {"step": "code"})
    client.post(CODE, {"code": code(guarded)})
    assert Event.objects.filter(action=Action.LOGIN).count() == before + 1
    assert Event.objects.filter(action=Action.LOGIN).latest("id").detail == {"how": ["password", "two_factor"]}


def test_a_code_counts_once(guarded: str) -> None:
    digits = code(guarded)
    first, thief = by_password("alice"), by_password("alice")
    first.post(CODE, {"code": digits})
    thief.post(CODE, {"code": digits})
    assert (is_in(first), is_in(thief)) == (True, False)


def test_a_code_counts_once_for_as_long_as_it_is_right(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used a minute early by a phone that is ahead, and once more at the end of its time."""
    shown = (time.time() // PERIOD_SECONDS - 1) * PERIOD_SECONDS
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: shown - PERIOD_SECONDS + 1)
        key = set_up(by_password("alice"))
        digits = code(key, periods_later=1)
        first = by_password("alice")
        first.post(CODE, {"code": digits})
    thief = by_password("alice")
    thief.post(CODE, {"code": digits})
    assert (is_in(first), is_in(thief)) == (True, False)
    assert Event.objects.filter(action=Action.LOGIN_FAILED).count() == 1


def test_the_code_that_set_it_up_opens_nothing(guarded: str) -> None:
    thief = by_password("alice")
    thief.post(CODE, {"code": code(guarded, periods_later=-1)})
    assert not is_in(thief)


def test_codes_cannot_be_guessed(guarded: str) -> None:
    client = by_password("alice")
    tried = [client.post(CODE, {"code": wrong(guarded)}).status_code for _ in range(8)]
    assert tried == [200] * 5 + [429] * 3
    refused = client.post(CODE, {"code": code(guarded)})
    assert int(refused.headers["Retry-After"]) > 0
    assert not is_in(client)


def test_a_cache_that_is_away_is_told_and_counts_no_try(guarded: str, settings: Settings) -> None:
    client = Client(raise_request_exception=False)
    by_password("alice", client)
    nobody = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    caches = settings.CACHES
    settings.CACHES = {**caches, "default": nobody}
    assert [client.post(CODE, {"code": code(guarded)}).status_code for _ in range(7)] == [503] * 7
    settings.CACHES = caches
    client.post(CODE, {"code": code(guarded)})
    assert is_in(client)


def test_a_new_password_step_gives_no_new_tries(guarded: str) -> None:
    statuses = [by_password("alice").post(CODE, {"code": wrong(guarded)}).status_code for _ in range(7)]
    assert statuses[-2:] == [429, 429]


def test_a_recovery_code_opens_once(guarded: str) -> None:
    client = by_password("alice")
    client.post(CODE, {"code": code(guarded)})
    client.post("/accounts/confirm/", {"password": RIGHT, "next": "/accounts/recovery-codes/"})
    spare = recovery_codes(client)[0]
    first, again = by_password("alice"), by_password("alice")
    first.post(CODE, {"code": spare})
    again.post(CODE, {"code": spare})
    assert (is_in(first), is_in(again)) == (True, False)


def test_new_recovery_codes_end_the_old_ones(alice: User) -> None:
    client = by_password("alice")
    set_up(client)
    old = recovery_codes(client)
    client.post("/accounts/recovery-codes/new/")
    new = recovery_codes(client)
    assert not set(old) & set(new)
    thief = by_password("alice")
    thief.post(CODE, {"code": old[0]})
    assert not is_in(thief)
    assert acts()[-1] == ("alice", "alice", "renewed", "recovery_codes")


def test_recovery_codes_come_as_a_file(alice: User) -> None:
    client = by_password("alice")
    set_up(client)
    file = client.get("/accounts/recovery-codes/download/")
    assert file.headers["Content-Disposition"] == 'attachment; filename="recovery-codes.txt"'
    assert file.content.decode().split() == recovery_codes(client)
    assert "no-store" in file.headers["Cache-Control"]


def test_setting_one_up_ends_all_other_sessions(alice: User) -> None:
    there, here = signed_in(alice), by_password("alice")
    set_up(here)
    assert (is_in(here), is_in(there)) == (True, False)


def test_an_open_screen_is_not_enough_to_change_it(guarded: str) -> None:
    """A session that is ten minutes old asks for the password again."""
    client = by_password("alice")
    client.post(CODE, {"code": code(guarded)})
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 700
    session.save()
    for path in ("/accounts/factor/remove/", "/accounts/recovery-codes/", "/accounts/recovery-codes/new/"):
        assert client.get(path).headers["Location"].startswith("/accounts/confirm/?next=")
    assert client.post("/accounts/factor/remove/").headers["Location"].startswith("/accounts/confirm/")
    assert Authenticator.objects.count() == 2


def test_removing_it_is_told_and_ends_other_sessions(guarded: str, alice: User) -> None:
    there, here = signed_in(alice), by_password("alice")
    here.post(CODE, {"code": code(guarded)})
    assert here.post("/accounts/factor/remove/").headers["Location"] == "/accounts/security/"
    assert not Authenticator.objects.exists()
    assert (is_in(here), is_in(there)) == (True, False)
    assert ("alice", "alice", "removed", "totp") in acts()


def test_signing_in_as_somebody_else_is_a_way_out(guarded: str, bob: User) -> None:
    client = by_password("alice")
    assert client.get(LOGIN).headers["Location"] == CODE
    client.post("/accounts/logout/")
    assert client.get(LOGIN).status_code == 200
    assert is_in(by_password("bob", client))


def test_the_database_holds_no_secret_that_could_be_used(guarded: str) -> None:
    assert guarded not in str(shelf.whole_database()["mfa.Authenticator"])


def test_a_secret_of_an_older_key_still_works(guarded: str, settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    client = by_password("alice")
    client.post(CODE, {"code": code(guarded)})
    assert is_in(client)


def test_without_its_key_nobody_gets_in(guarded: str, settings: Settings) -> None:
    settings.SECRET_KEY = "another" * 10
    client = by_password("alice")
    for digits in (code(guarded), code("A" * 32), "000000", ""):
        assert client.post(CODE, {"code": digits}).status_code == 200
    assert not is_in(client)


# --- required of administrators ---------------------------------------------------------------


@pytest.fixture
def required(settings: Settings) -> None:
    settings.STAFF_SECOND_FACTOR = True


def test_the_admin_refuses_an_administrator_without_one_and_leads_to_it(admin_user: User, required: None) -> None:
    client = by_password("root")
    first: Any = client.get("/admin/auth/user/", follow=True)
    assert first.redirect_chain[-1][0] == "/accounts/factor/add/"
    assert b"Administrators sign in with a second factor" in first.content
    key = read_key(first.content)
    client.post("/accounts/factor/add/", {"code": code(key)})
    assert client.get("/admin/auth/user/").status_code == 200


def test_the_rest_of_the_site_is_theirs_meanwhile(admin_user: User, required: None) -> None:
    assert is_in(by_password("root"))


def test_a_post_to_the_admin_changes_nothing_without_one(admin_user: User, alice: User, required: None) -> None:
    chosen = {"action": "end_sessions", "_selected_action": [str(alice.pk)]}
    assert by_password("root").post("/admin/auth/user/", chosen).status_code == 302
    assert not Event.objects.filter(action=Action.SESSION).exists()


def test_a_session_from_before_is_asked_for_the_code(admin_user: User, required: None) -> None:
    key = set_up(by_password("root"))
    before = signed_in(admin_user)
    asked: Any = before.get("/admin/", follow=True)
    assert asked.redirect_chain[-1][0] == "/accounts/confirm/code/?next=%2Fadmin%2F"
    answer = before.post(asked.redirect_chain[-1][0], {"code": code(key), "next": "/admin/"})
    assert answer.headers["Location"] == "/admin/"
    assert before.get("/admin/").status_code == 200


def test_the_code_at_that_place_cannot_be_guessed_either(admin_user: User, required: None) -> None:
    key = set_up(by_password("root"))
    client = signed_in(admin_user)
    tried = [client.post("/accounts/confirm/code/", {"code": wrong(key)}).status_code for _ in range(6)]
    assert tried == [200] * 5 + [429]


def test_signing_in_with_it_opens_the_admin(admin_user: User, required: None) -> None:
    key = set_up(by_password("root"))
    client = by_password("root", next="/admin/")
    assert client.post(CODE, {"code": code(key)}).headers["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_an_administrator_who_removes_it_is_out_of_the_admin(admin_user: User, required: None) -> None:
    client = by_password("root")
    set_up(client)
    assert client.get("/admin/").status_code == 200
    client.post("/accounts/factor/remove/")
    assert client.get("/admin/").status_code == 302


def test_where_it_is_not_required_a_password_is_enough(admin_user: User, settings: Settings) -> None:
    """As on one's own machine."""
    settings.STAFF_SECOND_FACTOR = False
    assert by_password("root", next="/admin/").get("/admin/").status_code == 200


def test_the_admin_is_closed_to_others_in_words(alice: User) -> None:
    answer: Any = by_password("alice").get("/admin/", follow=True)
    assert answer.status_code == 403


# --- lost ones --------------------------------------------------------------------------------


def test_an_administrator_takes_away_a_lost_one(guarded: str, alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    as_admin.post("/admin/auth/user/", {"action": "forget_factors", "_selected_action": [str(alice.pk)]})
    assert not is_in(client)
    assert is_in(by_password("alice"))
    assert ("root", "alice", "removed", "totp") in acts()


def test_who_waits_at_the_code_page_meanwhile_begins_anew(guarded: str, alice: User) -> None:
    client = by_password("alice")
    sign_in_events.forget_factors(alice, by=None)
    assert client.get(CODE).headers["Location"] == LOGIN
    assert client.get(LOGIN).status_code == 200
    assert is_in(by_password("alice", client))


def test_an_account_closed_before_the_code_stays_closed(guarded: str, alice: User) -> None:
    client = by_password("alice")
    before = Event.objects.filter(action=Action.LOGIN).count()
    User.objects.update(is_active=False)
    assert client.post(CODE, {"code": code(guarded)}).status_code == 403
    assert not is_in(client)
    assert Event.objects.filter(action=Action.LOGIN).count() == before


def test_nobody_looks_at_secrets_in_the_admin(guarded: str, as_admin: Client) -> None:
    for path in ("mfa/authenticator", "account/emailaddress", "socialaccount/socialapp", "socialaccount/socialtoken"):
        assert as_admin.get(f"/admin/{path}/").status_code == 404


def test_the_only_administrator_gets_in_again_by_a_command(admin_user: User, capsys: Any) -> None:
    set_up(by_password("root"))
    call_command("reset_second_factor", "root")
    assert is_in(by_password("root"))
    assert "no second factor any more" in capsys.readouterr().out
    assert acts()[-1][:3] == ("", "root", "removed")


def test_the_command_knows_whom_it_knows(db: None) -> None:
    with pytest.raises(CommandError, match="nobody called mallory") as refusal:
        call_command("reset_second_factor", "mallory")
    assert refusal.value.returncode == 2


def test_codes_that_were_tried_are_forgotten_with_the_right_one(guarded: str) -> None:
    client = by_password("alice")
    for _ in range(4):
        client.post(CODE, {"code": wrong(guarded)})
    client.post(CODE, {"code": code(guarded)})
    assert not TokenBucket.objects.filter(key__startswith="code").exists()
