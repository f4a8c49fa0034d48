"""Staff who may change people, but are no superusers: they make nobody more than they are themselves."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in

pytestmark = pytest.mark.django_db

BETTER = "a much better one than that"


@pytest.fixture
def clerk(manager: User) -> Client:
    """May see and change people."""
    manager.is_staff = True
    manager.save()
    rights = ("view_user", "change_user", "delete_user")
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
