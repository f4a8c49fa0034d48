"""Responses don't disclose names: unknown and hidden names look the same to users without permission."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tests.support.file_rows import create_row, ensure_folder
from uploads import actions
from uploads.errors import Forbidden
from uploads.models import AccessLevel, Folder, State, Tag
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed(alice: User, admin_user: User) -> Folder:
    """Restrict a top-level folder and one inside an open folder to a small group."""
    few = Group.objects.create(name="few")
    for path in ("Open/Layoffs", "Layoffs"):
        folders.set_access(ensure_folder(path, alice), {few: AccessLevel.MANAGE}, by=admin_user)
    return Folder.objects.get(name="Layoffs", parent=None)


def response_text(client: Client, address: str, known: str, **data: str) -> str:
    """Return the response without per-request values, and with a placeholder for the requested name."""
    response = client.post(address, data) if data else client.get(address)
    text = re.sub(r"(csrf\w*|nonce|submission|[Rr]equest ID:)[^>]{0,200}", "", response.content.decode())
    return f"{response.status_code} {text}".replace(known, "NAME")


@pytest.mark.parametrize("inside", [False, True])
def test_user_who_cannot_create_folders_does_not_learn_their_names(
    closed: Folder, as_viewer: Client, as_charlie: Client, inside: bool
) -> None:
    parent = {"parent": str(Folder.objects.get(name="Open").pk)} if inside else {}
    for client in (as_viewer, as_charlie):
        there = response_text(client, "/folders/", "Layoffs", name="Layoffs", **parent)
        assert there == response_text(client, "/folders/", "Nothing", name="Nothing", **parent)
        assert there.startswith("403" if client is as_viewer or not inside else "400")


def test_user_who_can_create_folders_sees_that_a_name_exists(closed: Folder, as_bob: Client) -> None:
    assert as_bob.post("/folders/", {"name": "Open"}).status_code == 409


def test_hidden_parent_gets_the_same_response_as_an_unknown_one(closed: Folder, as_bob: Client) -> None:
    hidden = response_text(as_bob, "/folders/", "x", name="x", parent=str(closed.pk))
    assert hidden == response_text(as_bob, "/folders/", "x", name="x", parent="999999999")


@pytest.mark.parametrize("address", ["/trash/?{field}={name}", "/trash/?{field}={name}&sort=name"])
@pytest.mark.parametrize(("field", "name"), [("owner", "alice"), ("tag", "secret")])
def test_filters_disclose_no_users_or_tags_to_users_without_groups(
    field: str, name: str, address: str, alice: User, as_charlie: Client, charlie: User
) -> None:
    actions.tag_files([create_row(alice, State.AVAILABLE).pk], add=["secret"], by=alice)
    create_row(charlie, State.TRASHED)
    there = response_text(as_charlie, address.format(field=field, name=name), name)
    assert there == response_text(as_charlie, address.format(field=field, name="nobody"), "nobody")


@pytest.mark.parametrize("place", ["trash", ""])
@pytest.mark.parametrize(("field", "name"), [("owner", "alice"), ("tag", "secret")])
def test_select_all_discloses_no_users_or_tags_to_users_without_groups(
    field: str, name: str, place: str, alice: User, as_charlie: Client, charlie: User
) -> None:
    actions.tag_files([create_row(alice, State.AVAILABLE).pk], add=["secret"], by=alice)
    create_row(charlie, State.AVAILABLE)
    for address in ("/files/bulk", "/files/zip"):
        sent = {"do": "trash", "all": "1", "place": place}
        there = response_text(as_charlie, address, name, query=f"?{field}={name}", **sent)
        assert there == response_text(as_charlie, address, "nobody", query=f"?{field}=nobody", **sent)


def test_users_without_groups_can_filter_by_themselves_and_their_tags(as_charlie: Client, charlie: User) -> None:
    file = create_row(charlie, State.TRASHED, name="mine.txt")
    file.taggings.create(tag=Tag.objects.create(name="own"))
    for query in ("owner=charlie", "tag=own"):
        assert "mine.txt" in as_charlie.get(f"/trash/?{query}").content.decode()


def test_tag_spelling_discloses_nothing_to_users_without_groups(alice: User, charlie: User) -> None:
    actions.tag_files([create_row(alice, State.AVAILABLE).pk], add=["Secret"], by=alice)
    mine = create_row(charlie, State.AVAILABLE)
    with pytest.raises(Forbidden):
        actions.tag_files([mine.pk], add=["secret"], by=charlie)
    assert not mine.taggings.exists()


def test_staff_without_upload_permission_learn_no_folder_names(
    closed: Folder, alice: User, bob: User, as_bob: Client, admin_user: User
) -> None:
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.add(*Permission.objects.filter(codename__in=["add_folder", "change_folder"]))
    opened = Folder.objects.get(name="Open")
    lookers = Group.objects.create(name="lookers")
    bob.groups.add(lookers)
    few = Group.objects.get(name="few")
    folders.set_access(opened, {few: AccessLevel.MANAGE, lookers: AccessLevel.VIEW}, by=admin_user)
    ensure_folder("Mine", bob)
    form = {"parent": "Open", "grants-TOTAL_FORMS": "0", "grants-INITIAL_FORMS": "0"}
    for address in (
        "/admin/uploads/folder/add/",
        f"/admin/uploads/folder/{Folder.objects.get(name='Mine').pk}/change/",
    ):
        there, nothing = (
            as_bob.post(address, {**form, "name": name}).content.decode() for name in ("Layoffs", "Nothing")
        )
        assert "have permission to upload to this folder." in there
        assert "already exists" not in there + nothing
