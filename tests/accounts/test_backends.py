"""The permissions of a signed-in person: the same as from Django's ModelBackend, in one query."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from pytest_django import DjangoAssertNumQueries

from tests.support import factories
from uploads.accounts.backends import PermissionBackend

pytestmark = pytest.mark.django_db


@pytest.fixture
def users(roles: None) -> list[User]:
    """One user of each kind; the last one has no permission."""
    mixed = factories.create_user("mixed", "viewers")
    mixed.user_permissions.add(Permission.objects.get(codename="change_file"))
    return [
        mixed, factories.create_user("alice", "uploaders"), factories.create_user("manager", "managers", "viewers"),
        factories.create_user("root", is_superuser=True), factories.create_user("charlie"),
    ]  # fmt: skip


def test_permissions_equal_those_of_the_model_backend(users: list[User]) -> None:
    for user in users:
        permissions = User.objects.get(pk=user.pk).get_all_permissions()
        assert permissions == ModelBackend().get_all_permissions(User.objects.get(pk=user.pk))


def test_permissions_take_one_query(users: list[User], django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        assert users[0].has_perm("uploads.change_file")
        assert users[0].has_perm("uploads.view_file")
        assert not users[0].has_perm("uploads.delete_file")


def test_deleted_group_grants_no_permissions(users: list[User]) -> None:
    Group.objects.all().delete()
    assert User.objects.get(username="alice").get_all_permissions() == set()


def test_deactivated_and_anonymous_users_have_no_permissions(users: list[User]) -> None:
    User.objects.update(is_active=False)
    deactivated = User.objects.get(username="alice")
    assert PermissionBackend().get_user(deactivated.pk) is None
    assert PermissionBackend().get_all_permissions(deactivated) == set()
    assert PermissionBackend().get_all_permissions(AnonymousUser()) == set()
    assert authenticate(username="alice", password="correct horse battery staple") is None
