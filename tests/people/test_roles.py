"""Roles and teams, and the limits of managing other people."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connections

from tests.support import factories
from uploads.accounts.roles import (
    LastAdministrator,
    Role,
    grantable_roles,
    group_of,
    is_manageable,
    role_of,
    set_role,
    set_teams,
    teams_of,
)
from uploads.errors import Forbidden, InvalidTransition
from uploads.models import Action, Event

pytestmark = pytest.mark.django_db


def codenames(role: Role) -> set[str]:
    return set(group_of(role).permissions.values_list("codename", flat=True))


def test_each_role_has_the_permissions_of_the_one_before_it(roles: None) -> None:
    for lower, higher in zip(list(Role), list(Role)[1:], strict=False):
        assert codenames(lower) < codenames(higher)
    assert codenames(Role.ADMINISTRATOR) - codenames(Role.MANAGER) == {"manage_people"}


def test_set_role_replaces_the_role_and_keeps_teams(ada: User, bob: User) -> None:
    press = Group.objects.create(name="press")
    bob.groups.add(press)
    assert set_role(bob, Role.MANAGER, by=ada)
    assert set(bob.groups.values_list("name", flat=True)) == {"managers", "press"}
    assert (role_of(bob), teams_of(bob)) == (Role.MANAGER, [press])
    event = Event.objects.get(action=Action.ROLE)
    assert (event.actor, event.name, event.detail) == ("ada", "bob", {"role": "manager", "before": "uploader"})


def test_set_role_is_safe_to_repeat(ada: User, bob: User) -> None:
    set_role(bob, Role.VIEWER, by=ada)
    assert not set_role(bob, Role.VIEWER, by=ada)
    assert Event.objects.filter(action=Action.ROLE).count() == 1


def test_administrators_get_the_django_admin_and_lose_it_with_the_role(ada: User, bob: User) -> None:
    for role, is_staff in ((Role.ADMINISTRATOR, True), (Role.MANAGER, False), (None, False)):
        set_role(bob, role, by=ada)
        assert User.objects.get(pk=bob.pk).is_staff is is_staff
    assert role_of(bob) is None


def test_superuser_is_an_administrator_and_keeps_the_role(ada: User, admin_user: User) -> None:
    assert role_of(admin_user) == Role.ADMINISTRATOR
    with pytest.raises(Forbidden):
        set_role(admin_user, Role.VIEWER, by=None)


def test_own_role_cannot_be_changed(ada: User, admin_user: User) -> None:
    with pytest.raises(Forbidden):
        set_role(ada, Role.VIEWER, by=ada)
    assert role_of(ada) == Role.ADMINISTRATOR


def test_last_active_administrator_keeps_the_role(ada: User) -> None:
    factories.create_user("eve", "administrators", is_active=False)
    with pytest.raises(LastAdministrator):
        set_role(ada, Role.MANAGER, by=None)
    factories.create_user("root", is_superuser=True)
    assert set_role(ada, Role.MANAGER, by=None)


def test_granting_permissions_that_the_user_lacks_is_refused(bob: User, roles: None) -> None:
    """A manager with `manage_people` can grant roles up to their own."""
    manager = factories.create_user("manager", "managers")
    manager.user_permissions.add(Permission.objects.get(codename="manage_people"))
    manager.groups.get().permissions.remove(Permission.objects.get(codename="view_report"))
    assert grantable_roles(manager) == [Role.VIEWER, Role.UPLOADER, Role.MANAGER]
    with pytest.raises(Forbidden):
        set_role(bob, Role.ADMINISTRATOR, by=manager)
    assert set_role(bob, Role.MANAGER, by=manager)


def test_people_with_more_permissions_cannot_be_managed(ada: User, bob: User, admin_user: User) -> None:
    assert is_manageable(bob, by=ada)
    assert not is_manageable(admin_user, by=ada)
    bob.user_permissions.add(Permission.objects.get(codename="change_user"))
    assert not is_manageable(bob, by=ada)
    with pytest.raises(Forbidden):
        set_role(bob, Role.VIEWER, by=ada)
    assert set_role(bob, Role.VIEWER, by=admin_user)


def test_team_with_permissions_is_given_only_by_holders(ada: User, bob: User, admin_user: User) -> None:
    auditors = Group.objects.create(name="auditors")
    auditors.permissions.add(Permission.objects.get(codename="change_user"))
    for user in (ada, bob):
        with pytest.raises(Forbidden):
            set_teams(user, [auditors], by=ada)
    assert set_teams(bob, [auditors], by=admin_user)


def test_set_teams_leaves_the_role(ada: User, bob: User) -> None:
    press, sales = Group.objects.create(name="press"), Group.objects.create(name="sales")
    set_teams(bob, [press, group_of(Role.ADMINISTRATOR)], by=ada)
    assert (role_of(bob), teams_of(bob)) == (Role.UPLOADER, [press])
    set_teams(bob, [sales], by=ada)
    assert not set_teams(bob, [sales], by=ada)
    assert [event.detail for event in Event.objects.filter(action=Action.TEAM).order_by("pk")] == [
        {"added": ["press"], "removed": []},
        {"added": ["sales"], "removed": ["press"]},
    ]


def test_missing_group_of_a_role_is_an_error_with_advice(ada: User, bob: User) -> None:
    group_of(Role.VIEWER).delete()
    with pytest.raises(InvalidTransition, match="viewers"):
        set_role(bob, Role.VIEWER, by=None)


@pytest.mark.django_db(transaction=True)
def test_two_administrators_cannot_remove_each_other(roles: None) -> None:
    pair = [factories.create_user(name, "administrators") for name in ("ada", "eve")]
    barrier, refused = threading.Barrier(2), []

    def demote(user: User, by: User) -> None:
        barrier.wait()
        try:
            set_role(user, Role.VIEWER, by=by)
        except (LastAdministrator, Forbidden) as error:
            refused.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=demote, args=args) for args in (tuple(pair), tuple(reversed(pair)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert User.objects.filter(groups__name="administrators").count() == 1
