"""Password reset by a link that is mailed on request or created by an administrator."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from tests.accounts.conftest import is_signed_in
from tests.support import factories
from tests.support.stores import Bucket
from uploads.accounts.password_reset import create_reset, mail_resets, reset_path
from uploads.models import Action, Event, OutgoingMail, PasswordReset
from uploads.services import task_queue
from uploads.services.guess_limit import LINK_GUESSES
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db

NEW = "a long way to the sea"
FORM = {"new_password1": NEW, "new_password2": NEW}
REQUEST = "/accounts/password/reset/"


@pytest.fixture(autouse=True)
def reset_guesses() -> None:
    LINK_GUESSES.reset()


@pytest.fixture
def with_mail(settings: Settings) -> None:
    settings.EMAIL_IS_CONFIGURED = True


@pytest.fixture
def link(as_ada: Client, bob: User) -> str:
    """The path of a reset link that an administrator created for bob."""
    response = as_ada.post(f"/people/{bob.pk}/password")
    match = re.search(r'value="http://testserver(/accounts/reset/[\w-]{32}/)"', response.text)
    assert match
    return match[1]


# --- by an administrator ------------------------------------------------------------------------


def test_link_sets_the_password_once_and_ends_sessions(link: str, as_bob: Client, bob: User) -> None:
    visitor = Client()
    assert "bob" in visitor.get(link).text
    response = visitor.post(link, FORM)
    assert (response.status_code, response.headers["Location"]) == (302, "/accounts/login/")
    assert User.objects.get(pk=bob.pk).check_password(NEW)
    assert not is_signed_in(as_bob)
    assert not is_signed_in(visitor), "they sign in, with two factors where they have them"
    assert Client().post(link, FORM).status_code == 410
    actions = Event.objects.filter(action__in=[Action.PASSWORD, Action.SESSION]).values_list("action", "actor", "name")
    assert list(actions.order_by("pk")) == [
        ("password", "ada", "bob"),
        ("password", "bob", "bob"),
        ("session", "bob", "bob"),
    ]


def test_second_factor_stays(link: str, bob: User) -> None:
    Authenticator.objects.create(user=bob, type=Authenticator.Type.TOTP, data={})
    Client().post(link, FORM)
    assert Authenticator.objects.filter(user=bob).exists()


@pytest.mark.parametrize("data", [{"new_password1": "short", "new_password2": "short"}, {"new_password2": "other"}, {}])
def test_weak_password_is_an_error_below_the_field(data: dict[str, str], link: str, bob: User) -> None:
    response = Client().post(link, {**FORM, **data} if data else {})
    assert response.status_code == 200
    assert response.context["form"].errors
    assert PasswordReset.objects.get().use_count == 0


@pytest.mark.parametrize(
    "fields", [{"expires_at": timezone.now() - timedelta(seconds=1)}, {"revoked_at": timezone.now()}, {"use_count": 1}]
)
def test_ended_link_is_410(fields: dict[str, Any], link: str, bob: User) -> None:
    PasswordReset.objects.get_queryset().update(**fields)
    for response in (Client().get(link), Client().post(link, FORM)):
        assert response.status_code == 410
        assert "Request a new one" in response.text
    assert not User.objects.get(pk=bob.pk).check_password(NEW)


def test_link_ends_when_the_account_or_its_creator_is_deactivated(link: str, ada: User, bob: User) -> None:
    for user in (ada, bob):
        User.objects.filter(pk=user.pk).update(is_active=False)
        assert Client().post(link, FORM).status_code == 410
        User.objects.filter(pk=user.pk).update(is_active=True)
    assert Client().get(link).status_code == 200
    ada.groups.set(Group.objects.filter(name="managers"))
    assert Client().post(link, FORM).status_code == 410


def test_link_ends_when_the_user_outranks_its_creator(link: str, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_superuser=True)
    assert Client().post(link, FORM).status_code == 410


def test_new_link_ends_the_previous_one(link: str, as_ada: Client, bob: User) -> None:
    as_ada.post(f"/people/{bob.pk}/password")
    assert Client().get(link).status_code == 410


def test_token_is_shown_once_and_not_stored(link: str) -> None:
    assert link.split("/")[3] not in str(factories.database_rows())


@pytest.mark.parametrize("token", ["x" * 32, "short", "a" * 5000])
def test_unknown_token_is_404(token: str, db: None) -> None:
    assert Client().get(f"/accounts/reset/{token}/").status_code == 404


# --- by mail ------------------------------------------------------------------------------------


def request_link(email: str) -> Any:
    return Client().post(REQUEST, {"email": email})


def test_link_is_mailed_to_the_account_with_the_address(with_mail: None, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    assert mail_resets.func("BOB@example.org", "es") == 1
    mail = OutgoingMail.objects.get()
    assert (mail.template, mail.language) == ("password_reset", "es")
    assert PasswordReset.objects.get().user == bob


def test_mailed_link_sets_the_password(with_mail: None, bob: User) -> None:
    _reset, token = create_reset(bob, by=bob)
    assert Client().post(reset_path(token), FORM).status_code == 302
    assert User.objects.get(pk=bob.pk).check_password(NEW)


@pytest.mark.parametrize(
    "address", ["nobody@example.org", "gone@example.org", "sso@example.org", "b\u0131b@example.org"]
)
def test_no_mail_without_an_active_account_with_a_password(address: str, with_mail: None, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="bib@example.org")
    factories.create_user("gone", email="gone@example.org", is_active=False)
    User.objects.create(username="sso", email="sso@example.org", password="!")
    assert mail_resets.func(address, "en") == 0
    assert not PasswordReset.objects.exists()


def test_known_and_unknown_addresses_get_the_same_response_and_work(with_mail: None, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    responses = []
    for address in ("bob@example.org", "eve@example.org"):
        response = request_link(address)
        assert response.status_code == 200
        responses.append(re.sub(r'nonce="[^"]*"', "", response.text.replace(address, "")))
    assert responses[0] == responses[1]
    tasks = DBTaskResult.objects.filter(task_path=mail_resets.module_path).order_by("enqueued_at")
    assert [result.args_kwargs["args"][0] for result in tasks] == ["bob@example.org", "eve@example.org"]
    assert not PasswordReset.objects.exists(), "the worker looks for the account"


def test_known_and_unknown_addresses_are_throttled_alike(with_mail: None, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    for address in ("bob@example.org", "eve@example.org"):
        assert [request_link(address).status_code for _ in range(5)] == [200, 200, 200, 429, 429]


@pytest.mark.parametrize("email", ["", "nonsense", "x" * 300 + "@example.org", "a\x00@example.org"])
def test_invalid_address_is_an_error_below_the_field(email: str, with_mail: None, db: None) -> None:
    response = request_link(email)
    assert response.status_code == 200
    assert response.context["form"].errors["email"]
    assert not DBTaskResult.objects.exists()


def test_request_does_not_end_a_link_of_an_administrator(with_mail: None, link: str, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    mail_resets.func("bob@example.org", "en")
    assert Client().get(link).status_code == 200


def test_changed_address_ends_links(with_mail: None, as_ada: Client, link: str, bob: User) -> None:
    as_ada.post(f"/people/{bob.pk}/email", {"email": "new@example.org"})
    assert Client().get(link).status_code == 410


def test_reset_page_is_404_without_a_mail_server(db: None) -> None:
    assert Client().get(REQUEST).status_code == 404
    assert REQUEST not in Client().get("/accounts/login/").text


def test_password_reset_is_off_with_single_sign_on_only(
    with_mail: None, link: str, as_ada: Client, bob: User, settings: Settings
) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    settings.SSO_ONLY = True
    assert Client().get(link).status_code == 410
    assert as_ada.post(f"/people/{bob.pk}/password").status_code == 403
    assert Client().get(REQUEST).status_code == 404
    assert mail_resets.func("bob@example.org", "en") == 0


def test_sign_in_page_links_to_the_reset_page(with_mail: None, db: None) -> None:
    assert REQUEST in Client().get("/accounts/login/").text
    assert Client().get(REQUEST).status_code == 200


def test_sweep_deletes_the_addresses_in_old_tasks(with_mail: None, bob: User, bucket: Bucket) -> None:
    assert mail_resets.module_path == task_queue.RESET_MAILS
    request_link("bob@example.org")
    long_ago = timezone.now() - timedelta(days=task_queue.RETENTION_DAYS + 1)
    DBTaskResult.objects.update(status="SUCCESSFUL", finished_at=long_ago)
    sweep()
    assert not DBTaskResult.objects.filter(task_path=mail_resets.module_path).exists()
