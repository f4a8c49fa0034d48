"""Teams: creating, renaming, deleting, members, and the access that they give."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tests.conftest import signed_in
from tests.support import factories
from uploads.models import AccessLevel, Action, Event, Folder, Notification
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture
def press(roles: None) -> Group:
    return Group.objects.create(name="press")


def post(client: Client, team: Group, action: str, **data: Any) -> Any:
    return client.post(f"/people/teams/{team.pk}/{action}", data)


def changes() -> list[Any]:
    return [event.detail.get("change") for event in Event.objects.filter(action=Action.TEAM).order_by("pk")]


def test_team_is_created_renamed_and_deleted(as_ada: Client) -> None:
    as_ada.post("/people/teams/", {"name": " Press  "})
    team = Group.objects.get(name="Press")
    post(as_ada, team, "rename", name="Presse")
    assert Group.objects.get(pk=team.pk).name == "Presse"
    assert as_ada.get(f"/people/teams/{team.pk}/delete").status_code == 200
    post(as_ada, team, "delete")
    assert not Group.objects.filter(pk=team.pk).exists()
    assert changes() == ["created", "renamed", "deleted"]


@pytest.mark.parametrize(
    "name",
    ["", "  ", "..", "a/b", "a\\b", "x" * 151, "x" * 5000, "Viewers", "administrator", "MÁNAGERS", "\u200b", "PRESS",
     "pr\u00e9ss"],
)  # fmt: skip
def test_unusable_name_is_an_error_below_the_field(name: str, as_ada: Client, press: Group) -> None:
    before = set(Group.objects.values_list("name", flat=True))
    response = as_ada.post("/people/teams/", {"name": name})
    assert response.status_code == 200
    assert response.context["form"].errors["name"]
    other = Group.objects.create(name="sales")
    assert post(as_ada, other, "rename", name=name).context["name_form"].errors["name"]
    assert set(Group.objects.values_list("name", flat=True)) == before | {"sales"}


def test_team_can_change_the_case_of_its_name(as_ada: Client, press: Group) -> None:
    assert post(as_ada, press, "rename", name="PRESS").status_code == 302


def test_members_are_added_and_removed(as_ada: Client, press: Group, alice: User, bob: User) -> None:
    post(as_ada, press, "members", add="alice, bob,alice")
    assert set(press.user_set.all()) == {alice, bob}
    post(as_ada, press, "members", remove=[alice.pk])
    assert set(press.user_set.all()) == {bob}
    last = Event.objects.filter(action=Action.TEAM).latest("pk")
    assert (last.name, last.detail) == ("press", {"change": "members", "added": [], "removed": ["alice"]})


def test_people_who_are_added_are_notified_once(as_ada: Client, press: Group, alice: User, bob: User) -> None:
    post(as_ada, press, "members", add="bob")
    as_ada.post(f"/people/{alice.pk}/teams", {"teams": [press.pk]})
    post(as_ada, press, "members", remove=[bob.pk])
    post(as_ada, press, "members", add="bob")
    rows = Notification.objects.order_by("pk").values_list("user__username", "kind", "data")
    assert list(rows) == [("bob", "invited", {"team": "press"}), ("alice", "invited", {"team": "press"})]


@pytest.mark.parametrize("data", [{"add": "bob, nobody"}, {"add": ",".join(f"u{n}" for n in range(300))},
                                  {"remove": "999999"}, {"add": "<b>"}])  # fmt: skip
def test_unknown_members_change_nothing(data: dict[str, str], as_ada: Client, press: Group, bob: User) -> None:
    response = post(as_ada, press, "members", **data)
    assert response.status_code == 200
    assert response.context["members_form"].errors
    assert not press.user_set.exists()


def test_team_grants_access_to_folders_until_it_is_deleted(
    as_ada: Client, press: Group, bob: User, admin_user: User
) -> None:
    folder = Folder.objects.create(name="Brand")
    folders.set_access(folder, {press: AccessLevel.MANAGE}, by=admin_user)
    assert not Folder.objects.visible_to(bob).exists()
    post(as_ada, press, "members", add="bob")
    assert Folder.objects.visible_to(User.objects.get(pk=bob.pk)).exists()
    assert "1 more folder" in as_ada.get(f"/people/teams/{press.pk}/delete").text, "ada sees no name of it"
    post(as_ada, press, "delete")
    assert not Folder.objects.visible_to(User.objects.get(pk=bob.pk)).exists()
    assert Event.objects.filter(action=Action.TEAM).latest("pk").detail["folders"] == [folder.pk]


def test_roles_are_not_listed_or_changed_as_teams(as_ada: Client, press: Group) -> None:
    role = Group.objects.get(name="viewers")
    assert [team.name for team in as_ada.get("/people/teams/").context["page"]] == ["press"]
    assert as_ada.get(f"/people/teams/{role.pk}/").status_code == 404
    for action in ("rename", "members", "delete"):
        assert post(as_ada, role, action).status_code == 404


@pytest.mark.parametrize(("action", "data"), [("rename", {"name": "x"}), ("delete", {}), ("members", {"add": "ada"})])
def test_team_with_permissions_is_changed_only_by_holders(
    action: str, data: dict[str, str], as_ada: Client, press: Group, ada: User, admin_user: User
) -> None:
    press.permissions.add(Permission.objects.get(codename="change_user"))
    assert post(as_ada, press, action, **data).status_code in {200, 403}
    assert (Group.objects.get(pk=press.pk).name, press.user_set.count()) == ("press", 0)
    assert post(signed_in(admin_user), press, action, **data).status_code == 302


def test_folder_page_offers_teams_and_roles(press: Group, admin_user: User) -> None:
    folder = Folder.objects.create(name="Brand")
    page = signed_in(admin_user).get(f"/folders/{folder.pk}/access")
    labels = [label for _group, label, _level in page.context["groups"]]
    assert labels == ["Role: Viewer", "Role: Uploader", "Role: Manager", "Role: Administrator", "press"]


def test_list_shows_the_number_of_members(as_ada: Client, press: Group) -> None:
    for number in range(3):
        factories.create_user(f"u{number}").groups.add(press)
    assert "3 members" in as_ada.get("/people/teams/").text
