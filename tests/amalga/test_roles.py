"""The roles that a migration creates: exactly these permissions, and no members."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command

pytestmark = pytest.mark.django_db


def rights(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def test_migration_creates_four_roles(roles: None) -> None:
    names = set(Group.objects.values_list("name", flat=True))
    assert names == {"viewers", "uploaders", "managers", "administrators"}


def test_each_role_has_exactly_its_permissions(roles: None) -> None:
    looking = {"view_file", "view_folder", "view_tag"}
    assert rights("viewers") == looking
    adding = {*looking, "add_file", "share_file", "request_files"}
    assert rights("uploaders") == adding
    managing = {
        *adding, "change_file", "delete_file", "add_folder", "change_folder", "add_tag", "change_tag", "delete_tag",
        "view_usage", "view_event", "view_report", "view_statistic", "view_all_links", "review_quarantine",
    }  # fmt: skip
    assert rights("managers") == managing
    assert rights("administrators") == {*managing, "manage_people"}


def test_roles_have_only_permissions_of_the_uploads_app(roles: None) -> None:
    apps = Group.objects.values_list("permissions__content_type__app_label", flat=True).distinct()
    assert set(apps) == {"uploads"}


def test_a_fresh_installation_has_no_accounts(roles: None) -> None:
    assert not User.objects.exists()


def test_account_alone_grants_no_role(charlie: User) -> None:
    assert charlie.get_all_permissions() == set()


def test_changed_role_permissions_survive_the_next_migration(roles: None) -> None:
    viewers = Group.objects.get(name="viewers")
    viewers.permissions.clear()
    call_command("migrate", verbosity=0)
    assert rights("viewers") == set()
