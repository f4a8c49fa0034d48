"""A person's page: role, teams, limits, address, sign-in, leaving."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.utils import translation

from tests.accounts.conftest import is_signed_in
from tests.conftest import signed_in
from tests.support import factories
from tests.support.guests import create_request
from uploads.accounts.roles import Role, role_of
from uploads.forms.fields import format_size, parse_size
from uploads.models import Action, Event, Folder, PasswordReset, ShareLink, Usage, create_link

pytestmark = pytest.mark.django_db


def post(client: Client, user: User, action: str, **data: Any) -> Any:
    return client.post(f"/people/{user.pk}/{action}", data)


def errors(response: Any, form: str) -> str:
    assert response.status_code == 200
    return str(response.context[form].errors)


def test_page_shows_the_person_and_who_is_signed_in(as_ada: Client, ada: User, bob: User) -> None:
    response = as_ada.get(f"/people/{bob.pk}/")
    assert response.context["user"] == ada
    assert "0 of 1,000,000" in response.text


# --- role, teams, limits, address ---------------------------------------------------------------


def test_role_is_changed_and_removed(as_ada: Client, bob: User) -> None:
    assert post(as_ada, bob, "role", role="manager").status_code == 302
    assert role_of(User.objects.get(pk=bob.pk)) == Role.MANAGER
    assert post(as_ada, bob, "role", role="none").status_code == 302
    assert role_of(User.objects.get(pk=bob.pk)) is None


@pytest.mark.parametrize("role", ["", "superuser", "x" * 1000])
def test_unknown_role_is_an_error_below_the_field(role: str, as_ada: Client, bob: User) -> None:
    assert errors(post(as_ada, bob, "role", role=role), "role_form")
    assert role_of(bob) == Role.UPLOADER


def test_own_role_and_role_of_superusers_cannot_be_changed(as_ada: Client, ada: User, admin_user: User) -> None:
    assert "own role" in errors(post(as_ada, ada, "role", role="viewer"), "role_form")
    assert "Superusers" in errors(post(as_ada, admin_user, "role", role="viewer"), "role_form")


def test_granting_a_higher_role_is_refused(bob: User, roles: None) -> None:
    uploader = factories.create_user("uploader", "uploaders")
    uploader.user_permissions.add(Permission.objects.get(codename="manage_people"))
    client = signed_in(uploader)
    assert "administrator" not in dict(client.get(f"/people/{bob.pk}/").context["role_form"].fields["role"].choices)
    assert errors(post(client, bob, "role", role="administrator"), "role_form")
    assert role_of(bob) == Role.UPLOADER


def test_teams_are_set(as_ada: Client, bob: User) -> None:
    press, sales = Group.objects.create(name="press"), Group.objects.create(name="sales")
    bob.groups.add(sales)
    post(as_ada, bob, "teams", teams=[press.pk])
    assert set(bob.groups.values_list("name", flat=True)) == {"uploaders", "press"}


def test_role_cannot_be_given_as_a_team(as_ada: Client, bob: User) -> None:
    group = Group.objects.get(name="administrators")
    assert errors(post(as_ada, bob, "teams", teams=[group.pk]), "teams_form")
    assert role_of(bob) == Role.UPLOADER


@pytest.mark.parametrize(
    ("storage", "files", "expected"),
    [("50 GB", "10", (50 * 10**9, 10)), ("1.5tb", "", (15 * 10**11, None)), ("", "0", (None, 0)), ("0", "", (0, None))],
)
def test_limits_are_set(
    storage: str, files: str, expected: tuple[int | None, int | None], as_ada: Client, bob: User
) -> None:
    assert post(as_ada, bob, "limits", storage=storage, file_count=files).status_code == 302
    assert Usage.objects.values_list("quota_bytes", "quota_files").get(owner=bob) == expected
    detail = Event.objects.get(action=Action.LIMIT).detail
    page = as_ada.get(f"/people/{bob.pk}/").text
    assert all(
        f'value="{value}"' in page for value in (format_size(expected[0] or 0), str(expected[1])) if storage and files
    )
    assert (detail["bytes"], detail["files"], detail["before"]) == (*expected, {"bytes": None, "files": None})


@pytest.mark.parametrize(
    "data",
    [{"storage": "much"}, {"storage": "-1"}, {"storage": "0.03"}, {"storage": "50"}, {"storage": "1 GB; x"},
     {"storage": "9999999999 PB"}, {"file_count": "1.5"}, {"file_count": "-1"}, {"file_count": str(2**63)},
     {"storage": "\x00"}],
)  # fmt: skip
def test_invalid_limit_is_an_error_below_the_field(data: dict[str, str], as_ada: Client, bob: User) -> None:
    assert errors(post(as_ada, bob, "limits", **data), "quota_form")
    assert not Usage.objects.filter(quota_bytes__isnull=False).exists()


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1_500_000, 5_500_000_000, 50 * 10**9, 10**15, 123_456_789])
def test_formatted_size_is_parsed_to_the_same_number(size: int) -> None:
    assert parse_size(format_size(size)) == size
    with translation.override("es"):
        assert parse_size(format_size(size)) == size


def test_size_is_formatted_with_up_to_two_decimals() -> None:
    assert [format_size(size) for size in (5_500_000_000, 1_234_567, 30_000_000)] == ["5.5 GB", "1234567 B", "30 MB"]
    with translation.override("es"):
        assert format_size(1_250_000_000) == "1,25 GB"


def test_address_is_changed_and_is_unique(as_ada: Client, bob: User, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(email="alice@example.org")
    assert "alice" in errors(post(as_ada, bob, "email", email="ALICE@example.org"), "email_form")
    assert errors(post(as_ada, bob, "email", email="nonsense"), "email_form")
    assert post(as_ada, bob, "email", email="bob@example.org").status_code == 302
    assert User.objects.get(pk=bob.pk).email == "bob@example.org"
    assert post(as_ada, alice, "email", email="alice@example.org").status_code == 302


# --- superusers and unknown people --------------------------------------------------------------


ACTIONS: dict[str, dict[str, str]] = {
    "role": {"role": "viewer"}, "limits": {"storage": "1 GB"}, "email": {"email": "x@example.org"}, "sign-out": {},
    "two-factor": {}, "password": {}, "deactivate": {}, "reactivate": {}, "hand-over": {"username": "ada"},
}  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS)
def test_administrator_cannot_change_a_superuser(action: str, as_ada: Client, admin_user: User) -> None:
    before = User.objects.values().get(pk=admin_user.pk)
    response = post(as_ada, admin_user, action, **ACTIONS[action])
    assert response.status_code == (200 if action == "role" else 403)
    assert User.objects.values().get(pk=admin_user.pk) == before
    assert not PasswordReset.objects.exists()
    assert "password" not in as_ada.get(f"/people/{admin_user.pk}/").text


@pytest.mark.parametrize("action", ["", *ACTIONS, "teams"])
def test_unknown_person_is_404(action: str, as_ada: Client) -> None:
    url = f"/people/999999/{action}"
    assert (as_ada.post(url) if action else as_ada.get(url)).status_code == 404


# --- sign-in ------------------------------------------------------------------------------------


def test_sign_out_everywhere_ends_sessions(as_ada: Client, as_bob: Client, bob: User) -> None:
    assert is_signed_in(as_bob)
    post(as_ada, bob, "sign-out")
    assert not is_signed_in(as_bob)
    assert Event.objects.filter(action=Action.SESSION, actor="ada", name="bob").exists()


def test_signing_oneself_out_everywhere_keeps_this_session(as_ada: Client, ada: User) -> None:
    other = signed_in(ada)
    post(as_ada, ada, "sign-out")
    assert (is_signed_in(as_ada), is_signed_in(other)) == (True, False)


def test_two_factor_is_reset_for_others_only(as_ada: Client, ada: User, bob: User) -> None:
    for user in (ada, bob):
        Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
    assert post(as_ada, bob, "two-factor").status_code == 302
    assert post(as_ada, ada, "two-factor").status_code == 403
    assert list(Authenticator.objects.values_list("user", flat=True)) == [ada.pk]


# --- leaving ------------------------------------------------------------------------------------


def test_deactivating_ends_sessions_and_keeps_files(as_ada: Client, as_bob: Client, bob: User) -> None:
    file = factories.create_file(bob)
    assert as_ada.get(f"/people/{bob.pk}/deactivate").status_code == 200
    assert is_signed_in(as_bob)
    post(as_ada, bob, "deactivate")
    assert not is_signed_in(as_bob)
    assert not User.objects.get(pk=bob.pk).is_active
    file.refresh_from_db()
    assert file.owner == bob
    event = Event.objects.get(action=Action.ACCOUNT)
    assert (event.actor, event.name, event.detail) == ("ada", "bob", {"change": "disabled"})


def test_confirmation_lists_the_links_that_end(as_ada: Client, bob: User) -> None:
    _link, token = create_link(
        ShareLink, created_by=bob, name="press kit.pdf", file=factories.create_file(bob).permanent_id
    )
    create_link(ShareLink, created_by=bob, name="old.pdf", revoked_at=Now())
    create_request(Folder.objects.create(name="Inbox"), bob, title="Photos of the fair")
    page = as_ada.get(f"/people/{bob.pk}/deactivate").text
    assert "press kit.pdf" in page
    assert "Photos of the fair" in page
    assert "old.pdf" not in page
    assert Client().get(f"/s/{token}/").status_code == 200
    post(as_ada, bob, "deactivate")
    assert Client().get(f"/s/{token}/").status_code == 410
    post(as_ada, bob, "reactivate")
    assert Client().get(f"/s/{token}/").status_code == 200


def test_reactivated_account_can_sign_in_again(as_ada: Client, bob: User) -> None:
    post(as_ada, bob, "deactivate")
    post(as_ada, bob, "reactivate")
    assert is_signed_in(signed_in(User.objects.get(pk=bob.pk)))
    assert post(as_ada, bob, "reactivate").status_code == 302
    assert Event.objects.filter(action=Action.ACCOUNT).count() == 2


def test_own_account_cannot_be_deactivated(as_ada: Client, ada: User, admin_user: User) -> None:
    for response in (as_ada.get(f"/people/{ada.pk}/deactivate"), post(as_ada, ada, "deactivate")):
        assert response.status_code == 403
    assert User.objects.get(pk=ada.pk).is_active


def test_last_active_administrator_stays(ada: User, roles: None) -> None:
    """A person with `manage_people` who is not an administrator cannot remove the last one."""
    manager = factories.create_user("manager", "managers")
    manager.user_permissions.set(Permission.objects.filter(content_type__app_label="uploads"))
    client = signed_in(manager)
    assert post(client, ada, "deactivate").status_code == 409
    assert "last active" in errors(post(client, ada, "role", role="viewer"), "role_form")
    assert User.objects.get(pk=ada.pk).is_active
    factories.create_user("eve", "administrators")
    assert post(client, ada, "deactivate").status_code == 302


def test_deactivated_person_gets_no_reset_link(as_ada: Client, bob: User) -> None:
    post(as_ada, bob, "deactivate")
    assert post(as_ada, bob, "password").status_code == 409
