"""Roles and teams from the provider's groups at each sign-in: mapping, removal, and manual changes."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django import Settings

from tests.accounts.conftest import ADDRESS, configure
from tests.support import oidc_vendors
from tests.support.oidc_provider import Identity, app, sign_in
from uploads.accounts.roles import Role, role_of, set_role, set_teams, teams_of
from uploads.models import Action, Event

pytestmark = pytest.mark.django_db

ROLE_MAP = {"amalga-admins": "administrator", "marketing": "manager", "agency": "uploader"}
CREATE = {"domains": ["example.org"], "create_accounts": True, "default_role": "viewer"}


@pytest.fixture
def alice(alice: User) -> User:
    """Alice without a role; her first sign-in links the account."""
    alice.email = ADDRESS
    alice.save()
    set_role(alice, None, by=None)
    return alice


@pytest.fixture
def sign_in_with(provider: Identity, settings: Settings) -> Any:
    """A function that signs Alice in with these groups, and returns her role and her teams then."""

    def sign_in_with(groups: Any, **policy: Any) -> tuple[Role | None, list[str]]:
        configure(settings, app(provider, **{"role_map": ROLE_MAP, **policy}))
        provider.claims = {} if groups is None else {"groups": groups}
        assert sign_in(Client()).status_code == 302
        user = User.objects.get(email=ADDRESS)
        return role_of(user), [team.name for team in teams_of(user)]

    return sign_in_with


def give_role(user: User, role: Role | None) -> None:
    set_role(User.objects.get(pk=user.pk), role, by=None)


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["marketing"], Role.MANAGER),
        (["agency", "marketing", "else"], Role.MANAGER),
        (["agency", "amalga-admins"], Role.ADMINISTRATOR),
        ("agency", Role.UPLOADER),
        (["MARKETING", "marketing ", "/marketing"], None),
        ([], None),
        (None, None),
    ],
)
def test_highest_mapped_role_is_given(groups: Any, role: Role | None, alice: User, sign_in_with: Any) -> None:
    assert sign_in_with(groups) == (role, [])
    assert User.objects.get().is_staff is (role == Role.ADMINISTRATOR)


def test_mapped_role_is_removed_with_its_group(alice: User, sign_in_with: Any) -> None:
    sign_in_with(["marketing", "agency"])
    assert sign_in_with(["agency"])[0] == Role.UPLOADER
    assert sign_in_with([])[0] is None
    changes = [event.detail["role"] for event in Event.objects.filter(action=Action.ROLE, name="alice").order_by("pk")]
    assert changes[-3:] == ["manager", "uploader", ""]


def test_claim_that_is_missing_means_no_groups(alice: User, sign_in_with: Any) -> None:
    """Entra ID and Okta leave it out for a person without groups."""
    sign_in_with(["marketing"])
    assert sign_in_with(None)[0] is None


def test_created_account_falls_back_to_the_default_role(roles: None, sign_in_with: Any) -> None:
    assert sign_in_with(["marketing"], **CREATE)[0] == Role.MANAGER
    assert sign_in_with([], **CREATE)[0] == Role.VIEWER


def test_role_given_by_hand_stays_without_a_mapping(alice: User, sign_in_with: Any) -> None:
    give_role(alice, Role.MANAGER)
    assert sign_in_with(["else"])[0] == Role.MANAGER
    assert sign_in_with(None)[0] == Role.MANAGER


def test_role_changed_by_hand_stays_when_the_mapped_role_is_removed(alice: User, sign_in_with: Any) -> None:
    sign_in_with(["marketing"])
    give_role(alice, Role.UPLOADER)
    assert sign_in_with([])[0] == Role.UPLOADER
    assert sign_in_with([])[0] == Role.UPLOADER


def test_mapped_role_replaces_one_given_by_hand(alice: User, sign_in_with: Any) -> None:
    sign_in_with([])
    User.objects.create(username="root", is_superuser=True)
    give_role(alice, Role.ADMINISTRATOR)
    assert sign_in_with(["agency"])[0] == Role.UPLOADER


def test_superuser_keeps_their_role(alice: User, sign_in_with: Any) -> None:
    sign_in_with([])
    User.objects.update(is_superuser=True)
    assert sign_in_with(["agency"])[0] == Role.ADMINISTRATOR
    assert not User.objects.get().groups.exists()


def test_last_administrator_keeps_their_role(alice: User, sign_in_with: Any, caplog: pytest.LogCaptureFixture) -> None:
    sign_in_with(["amalga-admins"])
    assert sign_in_with([])[0] == Role.ADMINISTRATOR
    assert "single_sign_on_role_unchanged" in caplog.text


def test_inactive_account_gets_no_role(alice: User, provider: Identity, settings: Settings, sign_in_with: Any) -> None:
    sign_in_with([])
    User.objects.update(is_active=False)
    provider.claims = {"groups": ["marketing"]}
    assert sign_in(Client()).status_code == 403
    assert role_of(User.objects.get()) is None


def test_groups_have_no_effect_without_a_map(alice: User, sign_in_with: Any) -> None:
    give_role(alice, Role.VIEWER)
    assert sign_in_with(["administrators", "marketing"], role_map={}) == (Role.VIEWER, [])


# --- teams --------------------------------------------------------------------------------------


def test_teams_follow_the_map(alice: User, sign_in_with: Any) -> None:
    team_map = {"marketing": "Brand", "press": "Press office"}
    assert sign_in_with(["marketing", "press", "else"], team_map=team_map)[1] == ["Brand", "Press office"]
    assert sign_in_with(["press"], team_map=team_map)[1] == ["Press office"]


def test_team_joined_by_hand_stays(alice: User, sign_in_with: Any) -> None:
    set_teams(alice, [Group.objects.create(name="Choir")], by=None)
    team_map = {"marketing": "Brand"}
    assert sign_in_with(["marketing"], team_map=team_map)[1] == ["Brand", "Choir"]
    assert sign_in_with([], team_map=team_map)[1] == ["Choir"]


def test_existing_teams_are_matched_by_name(alice: User, sign_in_with: Any) -> None:
    Group.objects.create(name="Brand")
    groups = ["Brand", "no such team", *(f"group {number}" for number in range(300))]
    assert sign_in_with(groups, team_map="*")[1] == ["Brand"]
    assert not Group.objects.filter(name="no such team").exists()
    assert sign_in_with([], team_map="*")[1] == []


@pytest.mark.parametrize("team_map", ["*", {"administrators": "administrators"}])
def test_a_role_is_not_a_team(team_map: Any, alice: User, sign_in_with: Any) -> None:
    groups = ["administrators", "managers", "uploaders", "viewers"]
    assert sign_in_with(groups, role_map={}, team_map=team_map) == (None, [])


# --- claims -------------------------------------------------------------------------------------


def test_overage_leaves_everything_as_it_was(
    alice: User, provider: Identity, settings: Settings, sign_in_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in_with(["marketing"], team_map={"marketing": "Brand"})
    oidc_vendors.entra_overage(provider, ADDRESS)
    provider.person["sub"] = "1001"
    assert sign_in(Client()).status_code == 302
    assert role_of(alice) == Role.MANAGER
    assert [team.name for team in teams_of(alice)] == ["Brand"]
    assert f"single_sign_on_groups_unavailable user={alice.pk} reason=overage" in caplog.text


@pytest.mark.parametrize("groups", [{"admin": "amalga-admins"}, 5, True, {"amalga-admins": True}])
def test_malformed_groups_change_nothing(
    groups: Any, alice: User, sign_in_with: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in_with(["marketing"])
    assert sign_in_with(groups)[0] == Role.MANAGER
    assert "reason=malformed" in caplog.text


def test_too_many_groups_change_nothing(alice: User, sign_in_with: Any, caplog: pytest.LogCaptureFixture) -> None:
    sign_in_with(["marketing"])
    assert sign_in_with([str(number) for number in range(10_001)])[0] == Role.MANAGER
    assert "reason=too_many" in caplog.text


@pytest.mark.parametrize(
    "groups",
    [[["amalga-admins"]], [{"name": "amalga-admins"}], [None, 1, True], ["\x00", "amalga-admins\x00", "x" * 10_000]],
)
def test_invalid_group_names_map_to_nothing(groups: Any, alice: User, sign_in_with: Any) -> None:
    assert sign_in_with(groups, team_map="*") == (None, [])


def test_nested_roles_of_keycloak_are_found_by_their_path(alice: User, provider: Identity, settings: Settings) -> None:
    configure(settings, app(provider, groups_claim="realm_access.roles", role_map={"amalga-manager": "manager"}))
    oidc_vendors.keycloak(provider, ADDRESS, groups=["/team"], roles=["offline_access", "amalga-manager"])
    sign_in(Client())
    assert role_of(alice) == Role.MANAGER


def test_full_paths_of_keycloak_groups_map(alice: User, provider: Identity, settings: Settings) -> None:
    configure(settings, app(provider, role_map={"/team/brand": "uploader"}))
    oidc_vendors.keycloak(provider, ADDRESS, groups=["/team/brand"], roles=[])
    sign_in(Client())
    assert role_of(alice) == Role.UPLOADER


def test_claim_with_dots_in_its_name_is_found(alice: User, provider: Identity, settings: Settings) -> None:
    name = "https://example.org/groups"
    configure(settings, app(provider, groups_claim=name, role_map=ROLE_MAP))
    provider.claims = {name: ["agency"]}
    sign_in(Client())
    assert role_of(alice) == Role.UPLOADER


def test_groups_of_user_info_are_used_if_the_token_has_none(
    alice: User, provider: Identity, settings: Settings
) -> None:
    configure(settings, app(provider, role_map=ROLE_MAP, domains=["example.org"], trust_email=True))
    oidc_vendors.authentik(provider, ADDRESS, groups=["agency"])
    provider.claims = {}
    sign_in(Client())
    assert role_of(alice) == Role.UPLOADER


def test_groups_are_not_kept(alice: User, sign_in_with: Any) -> None:
    from allauth.socialaccount.models import SocialAccount

    sign_in_with(["marketing", "secret project"])
    assert "secret project" not in str(SocialAccount.objects.get().extra_data)
