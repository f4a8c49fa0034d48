"""SSO_ONLY: people sign in by single sign-on only; superusers have an emergency sign-in."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.accounts.conftest import ADDRESS, PASSWORD, is_signed_in
from tests.conftest import signed_in
from tests.support.authenticator import code, set_up
from tests.support.oidc_provider import Identity, sign_in
from uploads.accounts import invitations
from uploads.accounts.roles import Role
from uploads.models import Action, Event

pytestmark = pytest.mark.django_db

EMERGENCY = "/accounts/login/?password"


@pytest.fixture
def alice(alice: User) -> User:
    alice.email = ADDRESS
    alice.save()
    return alice


@pytest.fixture(autouse=True)
def sso_only(provider: Identity, settings: Settings) -> None:
    settings.SSO_ONLY = True


@pytest.fixture
def key(alice: User, settings: Settings) -> str:
    """The key of Alice's authenticator app; she is a superuser."""
    settings.SSO_ONLY = False
    User.objects.update(is_superuser=True)
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    key = set_up(client)
    settings.SSO_ONLY = True
    return key


def enter_password(client: Client, path: str = EMERGENCY, password: str = PASSWORD) -> Any:
    return client.post(path, {"username": "alice", "password": password})


@pytest.mark.parametrize("path", ["/accounts/login/", "/admin/login/"])
def test_sign_in_page_has_no_password_form(path: str) -> None:
    page = Client().get(path).content.decode()
    assert 'name="password"' not in page
    assert "Sign in with Example" in page


@pytest.mark.parametrize("path", ["/accounts/login/", "/admin/login/"])
def test_password_is_refused_at_the_sign_in_page(path: str, key: str) -> None:
    client = Client()
    assert enter_password(client, path).status_code == 403
    assert not is_signed_in(client)


@pytest.mark.parametrize("is_superuser", [False, True])
def test_password_without_two_factor_authentication_is_incorrect(is_superuser: bool, alice: User) -> None:
    """The response is the same as to a wrong password, so it reveals nothing about the account."""
    User.objects.update(is_superuser=is_superuser)
    client = Client()
    right, wrong = enter_password(client), enter_password(client, password="wrong")
    assert right.status_code == wrong.status_code == 200
    assert right.context["form"].errors == wrong.context["form"].errors != {}
    assert Event.objects.filter(action=Action.LOGIN_FAILED, name="alice").count() == 2
    assert not is_signed_in(client)


def test_emergency_sign_in_requires_a_superuser(key: str) -> None:
    User.objects.update(is_superuser=False)
    client = Client()
    enter_password(client)
    assert client.get("/accounts/code/").status_code == 302
    assert not is_signed_in(client)


def test_superuser_signs_in_with_password_and_code_in_an_emergency(key: str) -> None:
    client = Client()
    page = client.get(EMERGENCY).content.decode()
    assert f'action="{EMERGENCY}"' in page
    assert enter_password(client).headers["Location"] == "/accounts/code/"
    client.post("/accounts/code/", {"code": code(key)})
    assert is_signed_in(client)


def test_wrong_passwords_are_throttled_at_the_emergency_page(key: str) -> None:
    client = Client()
    statuses = [enter_password(client, password="wrong").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_single_sign_on_signs_in(alice: User) -> None:
    client = Client()
    sign_in(client)
    assert is_signed_in(client)


def test_password_cannot_be_changed(alice: User) -> None:
    client = Client()
    sign_in(client)
    assert client.get("/accounts/password/").status_code == 403
    assert b"/accounts/password/" not in client.get("/accounts/security/").content


def test_superuser_changes_the_password_for_emergencies(alice: User, key: str) -> None:
    assert signed_in(alice).get("/accounts/password/").status_code == 200


def test_password_is_not_needed_to_set_up_two_factor_authentication(alice: User) -> None:
    """People who use single sign-on may not know it."""
    client = Client()
    sign_in(client)
    set_up(client)


def test_password_does_not_confirm_a_session(alice: User) -> None:
    client = Client()
    sign_in(client)
    assert client.post("/accounts/confirm/", {"password": PASSWORD}).status_code == 403


# --- invitations --------------------------------------------------------------------------------


@pytest.fixture
def invited(alice: User) -> Client:
    """The browser of Carol, who has just accepted an invitation to be an administrator."""
    User.objects.update(is_superuser=True, is_staff=True)
    alice.refresh_from_db()
    _, token = invitations.invite(by=alice, role=Role.ADMINISTRATOR, email="carol@example.org")
    client = Client()
    response: Any = client.post(invitations.invitation_path(token), {"username": "carol"})
    assert response.headers["Location"] == "/accounts/login/"
    return client


def test_invited_administrator_is_linked_in_the_browser_that_accepted(invited: Client, provider: Identity) -> None:
    provider.person = {"sub": "c-1"}  # the address does not matter
    sign_in(invited)
    assert invited.session["_auth_user_id"] == str(User.objects.get(username="carol").pk)
    other = Client()
    sign_in(other)
    assert is_signed_in(other)


def test_invited_administrator_is_not_linked_in_another_browser(invited: Client, provider: Identity) -> None:
    provider.person = {"sub": "c-1", "email": "carol@example.org", "email_verified": True}
    assert sign_in(Client()).status_code == 403


def test_only_one_identity_is_linked_to_an_invited_account(invited: Client, provider: Identity) -> None:
    session = invited.session["sso_invited"]
    provider.person = {"sub": "c-1"}
    sign_in(invited)
    again = Client()
    again.get("/accounts/sso/")
    state = again.session
    state["sso_invited"] = session
    state.save()
    provider.person = {"sub": "c-2"}
    assert sign_in(again).status_code == 403


def test_link_of_an_invited_account_expires(invited: Client, provider: Identity) -> None:
    session = invited.session
    session["sso_invited"] = [session["sso_invited"][0], time.time() - 1]
    session.save()
    provider.person = {"sub": "c-1"}
    assert sign_in(invited).status_code == 403
