"""Queries of every request: the user with the permissions, the file of a download, the folder names of a path."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.test import Client

from tests.support import factories
from uploads.listing import breadcrumbs_for, load_sidebar
from uploads.models import AccessLevel, File, Folder, Grant, State, Visibility

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(roles: None) -> list[User]:
    """Return one user of each kind; the last one has no role."""
    mixed = factories.create_user("mixed", "viewers")
    mixed.user_permissions.add(Permission.objects.get(codename="change_file"))
    editors = Group.objects.create(name="editors")
    editor = factories.create_user("editor", "uploaders", "editors")
    assert editors in editor.groups.all()
    return [
        mixed, editor, factories.create_user("alice", "uploaders"), factories.create_user("manager", "managers"),
        factories.create_user("root", is_superuser=True), factories.create_user("charlie"),
    ]  # fmt: skip


@pytest.fixture
def closed(people: list[User]) -> Folder:
    """A folder that only editors can see. Another folder is open."""
    folder = Folder.objects.create(name="Closed", restricted=True)
    Folder.objects.filter(pk=folder.pk).update(access_root=folder)
    Grant.objects.create(folder=folder, group=Group.objects.get(name="editors"), level=AccessLevel.VIEW)
    Folder.objects.create(name="Open")
    return folder


@pytest.fixture
def files(people: list[User], closed: Folder) -> list[File]:
    """Return files of every state and visibility, at the top level and in both folders."""
    places = [None, closed, Folder.objects.get(name="Open")]
    return [
        factories.create_file(
            owner, name=f"{owner} {state} {number}", state=state, visibility=visibility, folder=folder
        )
        for owner in people[1:3]
        for number, folder in enumerate(places)
        for state in State
        for visibility in Visibility
    ]


def test_download_finds_exactly_the_visible_files(people: list[User], files: list[File]) -> None:
    everyone: list[User | AnonymousUser] = [*people, AnonymousUser()]
    for user in everyone:
        downloadable = [File.objects.visible_by_permanent_id(user, file.pk) for file in files]
        assert {file for file in downloadable if file} == set(File.objects.visible_to(user).listed())


def test_lists_show_exactly_the_visible_files(people: list[User], files: list[File]) -> None:
    everyone: list[User | AnonymousUser] = [*people, AnonymousUser()]
    for user in everyone:
        assert set(File.objects.listed_for(user)) == set(File.objects.visible_to(user).listed())


def test_download_finds_the_current_version(people: list[User]) -> None:
    old = factories.create_file(people[2])
    File.objects.filter(pk=old.pk).update(series=old.pk, current=False)
    new = factories.create_file(people[2], series=old.pk)
    assert File.objects.visible_by_permanent_id(people[2], old.pk) == new
    assert File.objects.visible_by_permanent_id(people[2], new.pk) is None


def test_unfinished_uploads_are_counted(people: list[User], files: list[File]) -> None:
    for user in people:
        assert load_sidebar(user).unfinished == File.objects.owned_by(user).unfinished().count()


def test_breadcrumbs_name_only_visible_folders(people: list[User], closed: Folder) -> None:
    below = Folder.objects.create(name="Below", parent=closed)
    for user in people:
        visible = dict(Folder.objects.visible_to(user).values_list("pk", "name"))
        path = [(pk, visible.get(pk, "")) for pk in (closed.pk, below.pk)]
        assert breadcrumbs_for(user, [below.pk, closed.pk, 0]) == {below.pk: path, closed.pk: path[:1]}
    assert breadcrumbs_for(people[0], []) == {}


def test_name_is_escaped_in_lists(as_alice: Client, alice: User) -> None:
    factories.create_file(alice, name="<b>&\"'{name}.txt", visibility=Visibility.PRIVATE)
    page = as_alice.get("/").content.decode()
    assert 'dir="auto">&lt;b&gt;&amp;&quot;&#x27;{name}.txt</a>' in page
    assert '<span class="badge">Private</span>' in page
    assert "<b>&" not in page
