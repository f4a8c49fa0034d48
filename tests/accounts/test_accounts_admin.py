"""Administrators who can change users but are no superusers cannot gain or give privileges."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from tests.accounts.conftest import NEW_PASSWORD
from tests.conftest import signed_in

pytestmark = pytest.mark.django_db

OPERATIONS = ("change", "delete")


@pytest.fixture
def as_clerk(manager: User) -> Client:
    """A client of a staff user with Django's permissions to change users and groups."""
    manager.is_staff = True
    manager.save()
    codenames = ("view_user", "change_user", "delete_user", "view_group", "add_group", "change_group", "delete_group")
    manager.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return signed_in(manager)


def change(client: Client, person: User, **more: str) -> int:
    fields = {"username": person.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", **more}
    return client.post(reverse("admin:auth_user_change", args=[person.pk]), fields).status_code


@pytest.mark.parametrize("page", ["auth_user_change", "auth_user_password_change", "auth_user_delete"])
def test_only_superusers_can_change_other_administrators(
    page: str, as_clerk: Client, bob: User, admin_user: User
) -> None:
    """With their password or e-mail address an administrator would have their privileges."""
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    passwords = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true", "post": "yes"}
    for user in (bob, admin_user):
        assert as_clerk.post(reverse(f"admin:{page}", args=[user.pk]), passwords).status_code == 403
        user.refresh_from_db()
        assert not user.check_password(NEW_PASSWORD)


def test_only_superusers_can_change_groups(as_clerk: Client, manager: User) -> None:
    group = Group.objects.create(name="clerks")
    manager.groups.add(group)
    everything = {"name": "clerks", "permissions": [str(permission.pk) for permission in Permission.objects.all()]}
    paths = [
        reverse("admin:auth_group_add"),
        *(reverse(f"admin:auth_group_{do}", args=[group.pk]) for do in OPERATIONS),
    ]
    assert [as_clerk.post(path, {**everything, "post": "yes"}).status_code for path in paths] == [403] * 3
    assert not group.permissions.exists()
    assert as_clerk.get(reverse("admin:auth_group_changelist")).status_code == 200


@pytest.mark.parametrize("privilege", ["is_staff", "is_superuser"])
def test_only_superusers_can_give_privileges(privilege: str, as_clerk: Client, alice: User, manager: User) -> None:
    for person in (alice, manager):
        before = getattr(person, privilege)
        assert change(as_clerk, person, is_active="on", **{privilege: "" if before else "on"}) == 302
        person.refresh_from_db()
        assert getattr(person, privilege) is before


def test_administrator_can_change_an_email_address(as_clerk: Client, alice: User) -> None:
    assert change(as_clerk, alice, is_active="on", email="alice@example.org") == 302
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"
