"""Two-factor authentication: setup, sign-in, loss and removal, and who must use it."""

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

from tests.accounts.conftest import PASSWORD, is_signed_in
from tests.conftest import signed_in
from tests.support import factories
from tests.support.authenticator import PERIOD_SECONDS, code, read_key, set_up, wrong
from uploads.models import Action, Event, TokenBucket
from uploads.services import sign_in_events

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("immediate_on_commit")]

LOGIN, CODE = "/accounts/login/", "/accounts/code/"


@pytest.fixture
def immediate_on_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on_commit callbacks at once, because the transaction around a test never commits."""
    monkeypatch.setattr(transaction, "on_commit", lambda act, **_: act())


def enter_password(name: str, client: Client | None = None, **more: str) -> Client:
    """Return a client that has passed the page of the password."""
    client = client or Client()
    response = client.post(LOGIN, {"username": name, "password": PASSWORD, **more})
    assert response.status_code == 302
    return client


def factor_events() -> list[tuple[str, str, str, str]]:
    rows = Event.objects.filter(action=Action.TWO_FACTOR).order_by("id")
    return [(row.actor, row.name, row.detail["change"], row.detail["kind"]) for row in rows]


@pytest.fixture
def totp_secret(alice: User) -> str:
    """Set up a second factor for alice with the code of the previous period, and return its secret."""
    return set_up(enter_password("alice"))


def recovery_codes(client: Client) -> list[str]:
    return re.findall(r"<li><code>(\d{8})</code>", client.get("/accounts/recovery-codes/").content.decode())


def test_setup_shows_qr_code_and_recovery_codes(alice: User) -> None:
    client = enter_password("alice")
    page = client.get("/accounts/factor/add/")
    assert b'src="data:image/svg+xml;base64,' in page.content
    assert set_up(client)
    assert len(recovery_codes(client)) == 10
    assert factor_events() == [("alice", "alice", "added", "totp"), ("alice", "alice", "added", "recovery_codes")]


def test_password_alone_does_not_sign_in(totp_secret: str) -> None:
    client = Client()
    response = client.post(LOGIN, {"username": "alice", "password": PASSWORD, "next": "/upload/"})
    assert response.headers["Location"] == CODE
    assert not is_signed_in(client)
    assert client.get(CODE).status_code == 200
    response = client.post(CODE, {"code": code(totp_secret)})
    assert response.headers["Location"] == "/upload/"
    assert is_signed_in(client)


def test_password_alone_is_not_recorded_as_sign_in(totp_secret: str) -> None:
    before = Event.objects.filter(action=Action.LOGIN).count()
    client = enter_password("alice")
    client.post(CODE, {"code": wrong(totp_secret)})
    assert Event.objects.filter(action=Action.LOGIN).count() == before
    failed = Event.objects.filter(action=Action.LOGIN_FAILED).get()
    assert (failed.name, failed.detail) == ("alice", {"step": "code"})
    client.post(CODE, {"code": code(totp_secret)})
    assert Event.objects.filter(action=Action.LOGIN).count() == before + 1
    assert Event.objects.filter(action=Action.LOGIN).latest("id").detail == {"how": ["password", "two_factor"]}


def test_code_can_be_used_once(totp_secret: str) -> None:
    used_code = code(totp_secret)
    first, other = enter_password("alice"), enter_password("alice")
    first.post(CODE, {"code": used_code})
    other.post(CODE, {"code": used_code})
    assert (is_signed_in(first), is_signed_in(other)) == (True, False)


def test_code_can_be_used_once_in_all_its_validity(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use it a minute early, as with a phone whose clock is ahead, and again at the end of its validity."""
    displayed_at = (time.time() // PERIOD_SECONDS - 1) * PERIOD_SECONDS
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: displayed_at - PERIOD_SECONDS + 1)
        key = set_up(enter_password("alice"))
        used_code = code(key, periods_later=1)
        first = enter_password("alice")
        first.post(CODE, {"code": used_code})
    other = enter_password("alice")
    other.post(CODE, {"code": used_code})
    assert (is_signed_in(first), is_signed_in(other)) == (True, False)
    assert Event.objects.filter(action=Action.LOGIN_FAILED).count() == 1


def test_code_of_the_setup_cannot_be_used_again(totp_secret: str) -> None:
    other = enter_password("alice")
    other.post(CODE, {"code": code(totp_secret, periods_later=-1)})
    assert not is_signed_in(other)


def test_wrong_codes_are_throttled(totp_secret: str) -> None:
    client = enter_password("alice")
    statuses = [client.post(CODE, {"code": wrong(totp_secret)}).status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    refused = client.post(CODE, {"code": code(totp_secret)})
    assert int(refused.headers["Retry-After"]) > 0
    assert not is_signed_in(client)


def test_unavailable_cache_is_503_and_counts_no_attempt(totp_secret: str, settings: Settings) -> None:
    client = Client(raise_request_exception=False)
    enter_password("alice", client)
    unreachable = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    caches = settings.CACHES
    settings.CACHES = {**caches, "default": unreachable}
    assert [client.post(CODE, {"code": code(totp_secret)}).status_code for _ in range(7)] == [503] * 7
    settings.CACHES = caches
    client.post(CODE, {"code": code(totp_secret)})
    assert is_signed_in(client)


def test_new_password_step_does_not_reset_the_limit_of_codes(totp_secret: str) -> None:
    statuses = [enter_password("alice").post(CODE, {"code": wrong(totp_secret)}).status_code for _ in range(7)]
    assert statuses[-2:] == [429, 429]


def test_recovery_code_can_be_used_once(totp_secret: str) -> None:
    client = enter_password("alice")
    client.post(CODE, {"code": code(totp_secret)})
    client.post("/accounts/confirm/", {"password": PASSWORD, "next": "/accounts/recovery-codes/"})
    recovery_code = recovery_codes(client)[0]
    first, again = enter_password("alice"), enter_password("alice")
    first.post(CODE, {"code": recovery_code})
    again.post(CODE, {"code": recovery_code})
    assert (is_signed_in(first), is_signed_in(again)) == (True, False)


def test_new_recovery_codes_replace_the_old_ones(alice: User) -> None:
    client = enter_password("alice")
    set_up(client)
    old = recovery_codes(client)
    client.post("/accounts/recovery-codes/new/")
    new = recovery_codes(client)
    assert not set(old) & set(new)
    other = enter_password("alice")
    other.post(CODE, {"code": old[0]})
    assert not is_signed_in(other)
    assert factor_events()[-1] == ("alice", "alice", "renewed", "recovery_codes")


def test_recovery_codes_can_be_downloaded(alice: User) -> None:
    client = enter_password("alice")
    set_up(client)
    file = client.get("/accounts/recovery-codes/download/")
    assert file.headers["Content-Disposition"] == 'attachment; filename="recovery-codes.txt"'
    assert file.content.decode().split() == recovery_codes(client)
    assert "no-store" in file.headers["Cache-Control"]


def test_setup_ends_all_other_sessions(alice: User) -> None:
    other, own = signed_in(alice), enter_password("alice")
    set_up(own)
    assert (is_signed_in(own), is_signed_in(other)) == (True, False)


def test_changes_require_a_recent_password(totp_secret: str) -> None:
    """A session that is ten minutes old asks for the password again."""
    client = enter_password("alice")
    client.post(CODE, {"code": code(totp_secret)})
    session = client.session
    for record in session["account_authentication_methods"]:
        record["at"] -= 700
    session.save()
    for path in ("/accounts/factor/remove/", "/accounts/recovery-codes/", "/accounts/recovery-codes/new/"):
        assert client.get(path).headers["Location"].startswith("/accounts/confirm/?next=")
    assert client.post("/accounts/factor/remove/").headers["Location"].startswith("/accounts/confirm/")
    assert Authenticator.objects.count() == 2


def test_removal_is_recorded_and_ends_other_sessions(totp_secret: str, alice: User) -> None:
    other, own = signed_in(alice), enter_password("alice")
    own.post(CODE, {"code": code(totp_secret)})
    assert own.post("/accounts/factor/remove/").headers["Location"] == "/accounts/security/"
    assert not Authenticator.objects.exists()
    assert (is_signed_in(own), is_signed_in(other)) == (True, False)
    assert ("alice", "alice", "removed", "totp") in factor_events()


def test_sign_out_at_the_code_page_allows_another_account(totp_secret: str, bob: User) -> None:
    client = enter_password("alice")
    assert client.get(LOGIN).headers["Location"] == CODE
    client.post("/accounts/logout/")
    assert client.get(LOGIN).status_code == 200
    assert is_signed_in(enter_password("bob", client))


def test_secret_is_encrypted_in_the_database(totp_secret: str) -> None:
    assert totp_secret not in str(factories.database_rows()["mfa.Authenticator"])


def test_secret_encrypted_with_an_older_key_still_works(totp_secret: str, settings: Settings) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another" * 10
    client = enter_password("alice")
    client.post(CODE, {"code": code(totp_secret)})
    assert is_signed_in(client)


def test_no_code_matches_a_secret_that_cannot_be_decrypted(totp_secret: str, settings: Settings) -> None:
    settings.SECRET_KEY = "another" * 10
    client = enter_password("alice")
    for wrong_code in (code(totp_secret), code("A" * 32), "000000", ""):
        assert client.post(CODE, {"code": wrong_code}).status_code == 200
    assert not is_signed_in(client)


# --- required for administrators --------------------------------------------------------------


@pytest.fixture
def mfa_required(settings: Settings) -> None:
    settings.STAFF_SECOND_FACTOR = True


def test_admin_redirects_administrators_without_second_factor_to_its_setup(
    admin_user: User, mfa_required: None
) -> None:
    client = enter_password("root")
    first: Any = client.get("/admin/auth/user/", follow=True)
    assert first.redirect_chain[-1][0] == "/accounts/factor/add/"
    assert b"Administrators must use two-factor authentication" in first.content
    key = read_key(first.content)
    client.post("/accounts/factor/add/", {"code": code(key)})
    assert client.get("/admin/auth/user/").status_code == 200


def test_administrator_without_second_factor_can_use_the_site(admin_user: User, mfa_required: None) -> None:
    assert is_signed_in(enter_password("root"))


def test_post_to_the_admin_without_second_factor_changes_nothing(
    admin_user: User, alice: User, mfa_required: None
) -> None:
    data = {"action": "end_sessions", "_selected_action": [str(alice.pk)]}
    assert enter_password("root").post("/admin/auth/user/", data).status_code == 302
    assert not Event.objects.filter(action=Action.SESSION).exists()


def test_session_without_second_factor_must_confirm_it_for_the_admin(admin_user: User, mfa_required: None) -> None:
    key = set_up(enter_password("root"))
    before = signed_in(admin_user)
    response: Any = before.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0] == "/accounts/confirm/code/?next=%2Fadmin%2F"
    response = before.post(response.redirect_chain[-1][0], {"code": code(key), "next": "/admin/"})
    assert response.headers["Location"] == "/admin/"
    assert before.get("/admin/").status_code == 200


def test_wrong_codes_of_a_confirmation_are_throttled(admin_user: User, mfa_required: None) -> None:
    key = set_up(enter_password("root"))
    client = signed_in(admin_user)
    statuses = [client.post("/accounts/confirm/code/", {"code": wrong(key)}).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_sign_in_with_second_factor_opens_the_admin(admin_user: User, mfa_required: None) -> None:
    key = set_up(enter_password("root"))
    client = enter_password("root", next="/admin/")
    assert client.post(CODE, {"code": code(key)}).headers["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_administrator_who_removes_the_second_factor_loses_the_admin(admin_user: User, mfa_required: None) -> None:
    client = enter_password("root")
    set_up(client)
    assert client.get("/admin/").status_code == 200
    client.post("/accounts/factor/remove/")
    assert client.get("/admin/").status_code == 302


def test_password_opens_the_admin_where_no_second_factor_is_required(admin_user: User, settings: Settings) -> None:
    """As in a local installation."""
    settings.STAFF_SECOND_FACTOR = False
    assert enter_password("root", next="/admin/").get("/admin/").status_code == 200


def test_admin_is_forbidden_to_other_users(alice: User) -> None:
    response: Any = enter_password("alice").get("/admin/", follow=True)
    assert response.status_code == 403


# --- lost second factor -----------------------------------------------------------------------


def test_administrator_can_remove_a_lost_second_factor(totp_secret: str, alice: User, as_admin: Client) -> None:
    client = signed_in(alice)
    as_admin.post("/admin/auth/user/", {"action": "forget_factors", "_selected_action": [str(alice.pk)]})
    assert not is_signed_in(client)
    assert is_signed_in(enter_password("alice"))
    assert ("root", "alice", "removed", "totp") in factor_events()


def test_removal_during_sign_in_restarts_it(totp_secret: str, alice: User) -> None:
    client = enter_password("alice")
    sign_in_events.forget_factors(alice, by=None)
    assert client.get(CODE).headers["Location"] == LOGIN
    assert client.get(LOGIN).status_code == 200
    assert is_signed_in(enter_password("alice", client))


def test_account_deactivated_before_the_code_is_refused(totp_secret: str, alice: User) -> None:
    client = enter_password("alice")
    before = Event.objects.filter(action=Action.LOGIN).count()
    User.objects.update(is_active=False)
    assert client.post(CODE, {"code": code(totp_secret)}).status_code == 403
    assert not is_signed_in(client)
    assert Event.objects.filter(action=Action.LOGIN).count() == before


def test_admin_has_no_pages_for_credentials(totp_secret: str, as_admin: Client) -> None:
    for path in ("mfa/authenticator", "account/emailaddress", "socialaccount/socialapp", "socialaccount/socialtoken"):
        assert as_admin.get(f"/admin/{path}/").status_code == 404


def test_command_removes_a_lost_second_factor(admin_user: User, capsys: Any) -> None:
    set_up(enter_password("root"))
    call_command("reset_two_factor", "root")
    assert is_signed_in(enter_password("root"))
    assert "removed: 2\n" in capsys.readouterr().out
    assert factor_events()[-1][:3] == ("", "root", "removed")


def test_command_rejects_an_unknown_name(db: None) -> None:
    with pytest.raises(CommandError, match="No user named “mallory”") as refusal:
        call_command("reset_two_factor", "mallory")
    assert refusal.value.returncode == 2


def test_correct_code_resets_the_limit(totp_secret: str) -> None:
    client = enter_password("alice")
    for _ in range(4):
        client.post(CODE, {"code": wrong(totp_secret)})
    client.post(CODE, {"code": code(totp_secret)})
    assert not TokenBucket.objects.filter(key__startswith="code").exists()
