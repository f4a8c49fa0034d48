"""Invitations: created, listed, revoked, accepted once, and what stops them."""

from __future__ import annotations

import json
import re
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError
from django.db import connections
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.accounts.conftest import is_signed_in
from tests.conftest import signed_in
from tests.support import factories
from tests.support.commands import check_output
from uploads.accounts import invitations
from uploads.accounts.roles import Role, role_of, teams_of
from uploads.models import Action, Event, Invitation, OutgoingMail
from uploads.services.guess_limit import LINK_GUESSES

pytestmark = pytest.mark.django_db

PASSWORD = "a long way to the sea"
ACCOUNT = {"username": "carol", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture(autouse=True)
def reset_guesses() -> None:
    LINK_GUESSES.reset()


@pytest.fixture
def link(as_ada: Client) -> str:
    """The path of an invitation as an uploader."""
    return invite(as_ada)


def invite(client: Client, **data: Any) -> str:
    response = client.post("/people/", {"role": "uploader", **data})
    assert response.status_code == 200, response
    assert "invite_form" not in response.context, response.context["invite_form"].errors
    match = re.search(r'value="http://testserver(/invitations/[\w-]{32}/)"', response.text)
    assert match
    return match[1]


def change(**fields: Any) -> None:
    Invitation.objects.get_queryset().update(**fields)


# --- accepting ----------------------------------------------------------------------------------


def test_account_gets_role_teams_and_address_and_is_signed_in(as_ada: Client) -> None:
    press = Group.objects.create(name="press")
    path = invite(as_ada, emails="carol@example.org", role="manager", teams=[press.pk])
    visitor = Client()
    assert visitor.get(path).status_code == 200
    response = visitor.post(path, ACCOUNT)
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    carol = User.objects.get(username="carol")
    assert (role_of(carol), teams_of(carol), carol.email, carol.is_staff) == (
        Role.MANAGER, [press], "carol@example.org", False,
    )  # fmt: skip
    assert carol.check_password(PASSWORD)
    assert is_signed_in(visitor)
    accepted = Invitation.objects.get()
    assert (accepted.accepted_by, accepted.use_count) == (carol, 1)


def test_invitation_and_account_are_in_the_audit_log(as_ada: Client, link: str) -> None:
    Client().post(link, ACCOUNT)
    events = [(event.action, event.actor, event.detail.get("change")) for event in Event.objects.order_by("pk")]
    assert (Action.INVITATION, "ada", "created") in events
    assert (Action.ACCOUNT, "carol", "created") in events
    assert (Action.INVITATION, "carol", "accepted") in events
    assert (Action.ROLE, "ada", None) in events


def test_link_works_once(link: str) -> None:
    assert Client().post(link, ACCOUNT).status_code == 302
    for response in (Client().get(link), Client().post(link, {**ACCOUNT, "username": "dave"})):
        assert response.status_code == 410
    assert not User.objects.filter(username="dave").exists()


@pytest.mark.django_db(transaction=True)
def test_only_one_of_two_concurrent_acceptances_succeeds(ada: User) -> None:
    invitation, _token = invitations.invite(by=ada, role=Role.UPLOADER)
    barrier, results = threading.Barrier(2), []

    def accept(name: str) -> None:
        barrier.wait()
        try:
            results.append(invitations.accept(invitation, User(username=name)))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=accept, args=[name]) for name in ("carol", "dave")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True]
    assert User.objects.filter(username__in=["carol", "dave"]).count() == 1


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"username": "ada"}, "username"),
        ({"username": "ADA"}, "username"),
        ({"username": ""}, "username"),
        ({"username": "a b"}, "username"),
        ({"username": "<script>"}, "username"),
        ({"username": "carol\u202e"}, "username"),
        ({"username": "x" * 151}, "username"),
        ({"password1": "short", "password2": "short"}, "password2"),
        ({"password1": "123456789012", "password2": "123456789012"}, "password2"),
        ({"password1": "password1234", "password2": "password1234"}, "password2"),
        ({"password2": "something else entirely"}, "password2"),
        ({"username": "carolinemartin", "password1": "carolinemartin", "password2": "carolinemartin"}, "password2"),
        ({"password1": ""}, "password1"),
    ],
)
def test_unusable_account_is_an_error_below_its_field(data: dict[str, str], field: str, link: str) -> None:
    count = User.objects.count()
    response = Client().post(link, {**ACCOUNT, **data})
    assert response.status_code == 200
    assert response.context["form"].errors[field]
    assert "<script>" not in response.text
    assert User.objects.count() == count
    assert Client().post(link, ACCOUNT).status_code == 302, "the invitation is not used up by it"


def test_username_taken_concurrently_is_an_error_below_the_field(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.accounts.people_forms.AccountForm.clean_username", lambda form: "ada")
    monkeypatch.setattr("uploads.accounts.people_forms.AccountForm.validate_unique", lambda form: None)
    response = Client().post(link, {**ACCOUNT, "username": "ada"})
    assert response.context["form"].errors["username"]


def test_invited_account_has_no_password_with_single_sign_on_only(as_ada: Client, settings: Settings) -> None:
    settings.SSO_ONLY = True
    assert as_ada.post("/people/", {"role": "viewer"}).context["invite_form"].errors["emails"]
    path = invite(as_ada, emails="carol@example.org")
    visitor = Client()
    assert "password1" not in visitor.get(path).context["form"].fields
    assert visitor.post(path, {"username": "ADA"}).context["form"].errors["username"]
    response = visitor.post(path, {"username": "carol"})
    assert response.headers["Location"] == "/accounts/login/"
    carol = User.objects.get(username="carol")
    assert (carol.email, carol.has_usable_password(), role_of(carol)) == ("carol@example.org", False, Role.UPLOADER)
    assert not is_signed_in(visitor)


# --- links that no longer work ------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"expires_at": timezone.now() - timedelta(seconds=1)}, {"revoked_at": timezone.now()},
     {"accepted_at": timezone.now()}],
)  # fmt: skip
def test_ended_invitation_is_410_and_names_the_inviter(fields: dict[str, Any], link: str) -> None:
    change(**fields)
    for response in (Client().get(link), Client().post(link, ACCOUNT)):
        assert response.status_code == 410
        assert "Ask ada for a new one" in response.text
    assert not User.objects.filter(username="carol").exists()


@pytest.mark.parametrize("token", ["x" * 32, "short", "%00", "..", "a" * 5000, "<script>"])
def test_unknown_token_is_404(token: str, db: None) -> None:
    response = Client().get(f"/invitations/{token}/")
    assert response.status_code in {400, 404}
    assert "<script>" not in response.text


def test_guesses_are_throttled(db: None) -> None:
    client = Client()
    statuses = [client.get(f"/invitations/{'x' * 30}{number:02}/").status_code for number in range(30)]
    assert statuses[0] == 404
    assert statuses[-1] == 429


def test_page_and_errors_have_headers_that_protect_the_token(link: str) -> None:
    page, error = Client().get(link), Client().get(f"/invitations/{'x' * 32}/")
    for response in (page, error):
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["X-Robots-Tag"].startswith("noindex")
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert error.headers["Referrer-Policy"] == "no-referrer"


def test_deactivated_or_unpermitted_inviter_ends_invitation(ada: User, link: str) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert Client().post(link, ACCOUNT).status_code == 410
    User.objects.filter(pk=ada.pk).update(is_active=True)
    assert Client().get(link).status_code == 200
    ada.groups.set(Group.objects.filter(name="managers"))
    assert Client().post(link, ACCOUNT).status_code == 410


def test_invitation_to_a_role_above_the_inviter_ends(ada: User, as_ada: Client) -> None:
    path = invite(as_ada, role="administrator")
    Group.objects.get(name="administrators").permissions.add(Permission.objects.get(codename="change_user"))
    ada.groups.set(Group.objects.filter(name="managers"))
    ada.user_permissions.add(Permission.objects.get(codename="manage_people"))
    assert Client().post(path, ACCOUNT).status_code == 410


def test_signed_in_user_must_sign_out_first(as_bob: Client, link: str) -> None:
    page = as_bob.get(link)
    assert "signed in as bob" in page.text
    assert as_bob.post(link, ACCOUNT).status_code == 200
    assert not User.objects.filter(username="carol").exists()
    response = as_bob.post("/accounts/logout/", {"next": link})
    assert response.headers["Location"] == link
    assert as_bob.post(link, ACCOUNT).status_code == 302


def test_invited_address_with_an_account_is_sent_to_sign_in(as_ada: Client, bob: User) -> None:
    path = invite(as_ada, emails="carol@example.org")
    User.objects.filter(pk=bob.pk).update(email="Carol@example.org")
    page = Client().get(path)
    assert "already have an account" in page.text
    assert "bob" not in page.text
    Client().post(path, ACCOUNT)
    assert not User.objects.filter(username="carol").exists()


# --- creating, listing, revoking ----------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [{"emails": "nonsense"}, {"emails": "a@b.c" + "x" * 300}, {"role": ""}, {"role": "root"}, {"teams": "x"},
             {"teams": "999"}, {"emails": "eve@example.org, BOB@example.org"}],
)  # fmt: skip
def test_unusable_invitation_is_an_error_below_its_field(data: dict[str, str], as_ada: Client, bob: User) -> None:
    Group.objects.create(name="press")
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    response = as_ada.post("/people/", {"role": "uploader", **data})
    assert response.status_code == 200
    assert response.context["invite_form"].errors[next(iter(data))]
    assert not Invitation.objects.exists()


def test_several_addresses_get_an_invitation_each(as_ada: Client) -> None:
    emails = "carol@example.org, dan@example.org; carol@example.org"
    response = as_ada.post("/people/", {"role": "viewer", "emails": emails})
    assert [link["email"] for link in response.context["links"]] == ["carol@example.org", "dan@example.org"]
    assert len({link["url"] for link in response.context["links"]}) == 2
    assert "2 invitations created" in response.text
    assert Invitation.objects.count() == 2


def test_too_many_addresses_invite_no_one(as_ada: Client) -> None:
    emails = ",".join(f"p{number}@example.org" for number in range(51))
    response = as_ada.post("/people/", {"role": "viewer", "emails": emails})
    assert "at most 50 addresses" in response.text
    assert not Invitation.objects.exists()


def test_new_link_replaces_the_old_one(as_ada: Client) -> None:
    first = invite(as_ada, emails="carol@example.org", role="manager", teams=[Group.objects.create(name="press").pk])
    url = f"/people/invitations/{Invitation.objects.get().pk}/renew"
    (link,) = as_ada.post(url).context["links"]
    assert Client().get(first).status_code == 410
    Client().post(link["url"].removeprefix("http://testserver"), ACCOUNT)
    carol = User.objects.get(username="carol")
    assert (role_of(carol), carol.email, [team.name for team in teams_of(carol)]) == (
        Role.MANAGER, "carol@example.org", ["press"],
    )  # fmt: skip
    accepted = Invitation.objects.get(accepted_by=carol)
    assert as_ada.post(f"/people/invitations/{accepted.pk}/renew")["Location"] == "/people/invitations/"
    assert Invitation.objects.count() == 2


def test_inviting_to_a_higher_role_is_refused(roles: None) -> None:
    uploader = factories.create_user("uploader", "uploaders")
    uploader.user_permissions.add(Permission.objects.get(codename="manage_people"))
    auditors = Group.objects.create(name="auditors")
    auditors.permissions.add(Permission.objects.get(codename="change_user"))
    client = signed_in(uploader)
    for data in ({"role": "administrator"}, {"role": "viewer", "teams": [auditors.pk]}):
        assert client.post("/people/", data).context["invite_form"].errors["role"]
    assert not Invitation.objects.exists()


def test_token_is_not_stored(link: str) -> None:
    token = link.split("/")[2]
    rows = str(factories.database_rows())
    assert token not in rows


def test_address_invited_again_ends_the_first_link(as_ada: Client) -> None:
    first = invite(as_ada, emails="carol@example.org")
    second = invite(as_ada, emails="CAROL@example.org")
    assert Client().get(first).status_code == 410
    assert Client().get(second).status_code == 200


def test_no_mail_is_sent_without_a_mail_server(as_ada: Client) -> None:
    invite(as_ada, emails="carol@example.org")
    assert not OutgoingMail.objects.exists()


def test_with_mail_server_the_link_is_mailed(as_ada: Client, settings: Settings) -> None:
    settings.EMAIL_IS_CONFIGURED = True
    invite(as_ada, emails="carol@example.org")
    invite(as_ada)
    assert OutgoingMail.objects.get().template == "invitation"


def test_list_shows_the_state_of_each(as_ada: Client, ada: User) -> None:
    for name in ("open", "expired", "revoked", "accepted"):
        invite(as_ada, emails=f"{name}@example.org")
    rows = {row.email.partition("@")[0]: Invitation.objects.filter(pk=row.pk) for row in Invitation.objects.all()}
    rows["expired"].update(expires_at=timezone.now() - timedelta(days=1))
    rows["revoked"].update(revoked_at=timezone.now())
    rows["accepted"].update(accepted_at=timezone.now(), accepted_by=ada, expires_at=timezone.now() - timedelta(days=1))
    text = re.sub(r"\s+", " ", as_ada.get("/people/invitations/").text)
    for words in ("open until", "expired </td>", "revoked", "accepted by ada"):
        assert words in text, words
    assert text.count("/revoke") == 1


def test_invitation_is_revoked(as_ada: Client, link: str) -> None:
    row = Invitation.objects.get()
    assert as_ada.post(f"/people/invitations/{row.pk}/revoke").status_code == 302
    assert Client().get(link).status_code == 410
    as_ada.post(f"/people/invitations/{row.pk}/revoke")
    assert Event.objects.filter(action=Action.INVITATION, detail__change="revoked").count() == 1


def test_accepted_invitation_cannot_be_revoked(as_ada: Client, link: str) -> None:
    Client().post(link, ACCOUNT)
    as_ada.post(f"/people/invitations/{Invitation.objects.get().pk}/revoke")
    assert Invitation.objects.get().revoked_at is None


def test_confirmation_of_leaving_lists_invitations(as_ada: Client, admin_user: User) -> None:
    eve = factories.create_user("eve", "administrators")
    invite(signed_in(eve), emails="carol@example.org")
    page = as_ada.get(f"/people/{eve.pk}/deactivate").text
    assert "carol@example.org" in page


# --- command ------------------------------------------------------------------------------------


def run_invite(*arguments: str) -> list[str]:
    return check_output("invite", *arguments).splitlines()


def test_command_prints_the_link_last(admin_user: User, settings: Settings) -> None:
    press = Group.objects.create(name="press")
    *_, link = run_invite("carol@example.org", "--role", "viewer", "--group", "press")
    assert link.startswith(f"{settings.SITE_URL}/invitations/")
    path = link.removeprefix(settings.SITE_URL)
    assert Client().post(path, ACCOUNT).status_code == 302
    carol = User.objects.get(username="carol")
    assert (role_of(carol), teams_of(carol)) == (Role.VIEWER, [press])


def test_command_prints_the_link_in_json(admin_user: User, settings: Settings) -> None:
    (line,) = run_invite("carol@example.org", "--json")
    document = json.loads(line)
    assert document["link"].startswith(f"{settings.SITE_URL}/invitations/")
    assert {**document, "link": "", "expires": ""} == {
        "address": "carol@example.org", "role": "uploader", "teams": [], "invited_by": "root", "mailed": False,
        "expires": "", "link": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["bob@example.org"], ["-", "--group", "nothing"], ["-", "--by", "bob"], ["-", "--by", "\x00"],
     ["-", "--role", "root"]],
)  # fmt: skip
def test_command_rejects_invalid_arguments(arguments: list[str], admin_user: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    with pytest.raises(CommandError) as error:
        run_invite(*arguments)
    assert error.value.returncode == 2
    assert not Invitation.objects.exists()


def test_command_requires_an_active_superuser(roles: None) -> None:
    with pytest.raises(CommandError, match="No active superuser"):
        run_invite("-")


def test_invitation_expires_after_the_configured_days(as_ada: Client, settings: Settings) -> None:
    settings.INVITATION_DAYS = 2
    invite(as_ada)
    expires_at = Invitation.objects.get().expires_at
    assert expires_at
    assert timedelta(days=1, hours=23) < expires_at - timezone.now() <= timedelta(days=2)
