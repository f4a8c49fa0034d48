"""Staff who may change people, but are no superusers: they make nobody more than they are themselves."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in

pytestmark = pytest.mark.django_db

BETTER = "a much better one than that"
DOINGS = ("change", "delete")


@pytest.fixture
def clerk(manager: User) -> Client:
    """May see and change people, and groups as far as Django's rights go."""
    manager.is_staff = True
    manager.save()
    rights = ("view_user", "change_user", "delete_user", "view_group", "add_group", "change_group", "delete_group")
    manager.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return signed_in(manager)


def change(client: Client, person: User, **more: str) -> int:
    facts = {"username": person.username, "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", **more}
    return client.post(reverse("admin:auth_user_change", args=[person.pk]), facts).status_code


def test_a_superusers_password_is_set_by_superusers_alone(clerk: Client, admin_user: User) -> None:
    words = {"password1": BETTER, "password2": BETTER, "usable_password": "true"}
    answer = clerk.post(reverse("admin:auth_user_password_change", args=[admin_user.pk]), words)
    assert answer.status_code == 403
    admin_user.refresh_from_db()
    assert not admin_user.check_password(BETTER)


def test_a_superuser_is_changed_and_removed_by_superusers_alone(clerk: Client, admin_user: User) -> None:
    assert change(clerk, admin_user, username="other") == 403
    assert clerk.post(reverse("admin:auth_user_delete", args=[admin_user.pk]), {"post": "yes"}).status_code == 403
    assert User.objects.filter(username="root").exists()


@pytest.mark.parametrize("page", ["auth_user_change", "auth_user_password_change", "auth_user_delete"])
def test_another_administrator_is_in_the_hands_of_superusers_alone(page: str, clerk: Client, bob: User) -> None:
    """By their password or their e-mail address one would have their rights."""
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    words = {"password1": BETTER, "password2": BETTER, "usable_password": "true", "post": "yes"}
    assert clerk.post(reverse(f"admin:{page}", args=[bob.pk]), words).status_code == 403
    bob.refresh_from_db()
    assert not bob.check_password(BETTER)


def test_groups_are_changed_by_superusers_alone(clerk: Client, manager: User) -> None:
    own = Group.objects.create(name="clerks")
    manager.groups.add(own)
    everything = {"name": "clerks", "permissions": [str(right.pk) for right in Permission.objects.all()]}
    asked = [reverse("admin:auth_group_add"), *(reverse(f"admin:auth_group_{do}", args=[own.pk]) for do in DOINGS)]
    assert [clerk.post(path, {**everything, "post": "yes"}).status_code for path in asked] == [403] * 3
    assert not own.permissions.exists()
    assert clerk.get(reverse("admin:auth_group_changelist")).status_code == 200


@pytest.mark.parametrize("right", ["is_staff", "is_superuser"])
def test_nobody_gives_rights_that_only_superusers_give(right: str, clerk: Client, alice: User, manager: User) -> None:
    for person in (alice, manager):
        before = getattr(person, right)
        assert change(clerk, person, is_active="on", **{right: "" if before else "on"}) == 302
        person.refresh_from_db()
        assert getattr(person, right) is before


def test_an_email_is_theirs_to_change(clerk: Client, alice: User) -> None:
    assert change(clerk, alice, is_active="on", email="alice@example.org") == 302
    alice.refresh_from_db()
    assert alice.email == "alice@example.org"
