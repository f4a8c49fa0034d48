"""What is asked all day in SQL that is made once finds exactly what the plain question finds."""

from __future__ import annotations

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.test import Client

from tests.support import shelf
from uploads.listing import (
    breadcrumbs_for,
)
from uploads.listing.sidebar import load_sidebar
from uploads.models import AccessLevel, File, Folder, Grant, State, Visibility
from uploads.models.prepared import PreparedQuery
from uploads.models.users import load_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def people(roles: None) -> list[User]:
    """One of each kind; the last ones see nothing."""
    mixed = shelf.add_person("mixed", "viewers")
    mixed.user_permissions.add(Permission.objects.get(codename="change_file"))
    editors = Group.objects.create(name="editors")
    editor = shelf.add_person("editor", "uploaders", "editors")
    assert editors in editor.groups.all()
    return [
        mixed, editor, shelf.add_person("alice", "uploaders"), shelf.add_person("manager", "managers"),
        shelf.add_person("root", is_superuser=True), shelf.add_person("charlie"),
    ]  # fmt: skip


@pytest.fixture
def closed(people: list[User]) -> Folder:
    """For editors alone, with a folder in it; another folder is open."""
    folder = Folder.objects.create(name="Closed", restricted=True)
    Folder.objects.filter(pk=folder.pk).update(access_root=folder)
    Grant.objects.create(folder=folder, group=Group.objects.get(name="editors"), level=AccessLevel.VIEW)
    Folder.objects.create(name="Open")
    return folder


@pytest.fixture
def files(people: list[User], closed: Folder) -> list[File]:
    """Of every state and visibility, at the top and in both folders."""
    places = [None, closed, Folder.objects.get(name="Open")]
    return [
        shelf.add_file(owner, name=f"{owner} {state} {number}", state=state, visibility=visibility, folder=folder)
        for owner in people[1:3]
        for number, folder in enumerate(places)
        for state in State
        for visibility in Visibility
    ]


def test_a_person_comes_with_the_permissions_that_django_finds(people: list[User]) -> None:
    for one in people:
        found = load_user(one.pk)
        assert found == one
        assert found.get_all_permissions() == ModelBackend().get_all_permissions(User.objects.get(pk=one.pk))
        assert (found.username, found.password, found.date_joined) == (one.username, one.password, one.date_joined)


def test_asking_for_permissions_asks_nobody(people: list[User], django_assert_num_queries: object) -> None:
    found = load_user(people[0].pk)
    assert found
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert found.has_perm("uploads.view_file")
        assert not found.has_perm("uploads.delete_file")


def test_nobody_stands_behind_an_account_that_is_closed(people: list[User]) -> None:
    User.objects.update(is_active=False)
    assert [load_user(one.pk) for one in people] == [None] * len(people)
    assert load_user(0) is None


def test_what_lists_show_is_what_may_be_seen(people: list[User], files: list[File]) -> None:
    everybody: list[User | AnonymousUser] = [*people, AnonymousUser()]
    for one in everybody:
        plain = File.objects.visible_to(one).listed()
        assert set(File.objects.live_visible_to(one)) == set(plain)
        found = [File.objects.visible_by_link(one, file.pk) for file in files]
        assert {file for file in found if file} == set(plain)


def test_the_file_that_is_found_is_the_version_that_counts(people: list[User]) -> None:
    old = shelf.add_file(people[2])
    File.objects.filter(pk=old.pk).update(series=old.pk, current=False)
    new = shelf.add_file(people[2], series=old.pk)
    assert File.objects.visible_by_link(people[2], old.pk) == new
    assert File.objects.visible_by_link(people[2], new.pk) is None


def test_unfinished_uploads_are_counted(people: list[User], files: list[File]) -> None:
    for one in people:
        count = File.objects.owned_by(one).unfinished().count()
        assert (File.objects.count_unfinished(one), load_sidebar(one, 0, None).unfinished) == (count, count)


def test_the_ways_to_folders_tell_the_names_that_may_be_known(people: list[User], closed: Folder) -> None:
    below = Folder.objects.create(name="Below", parent=closed)
    for one in people:
        known = dict(Folder.objects.visible_to(one).values_list("pk", "name"))
        way = [(pk, known.get(pk, "")) for pk in (closed.pk, below.pk)]
        assert breadcrumbs_for(one, [below.pk, closed.pk, 0]) == {below.pk: way, closed.pk: way[:1]}
    assert breadcrumbs_for(people[0], []) == {}


def test_placeholder_that_does_not_occur_is_an_error() -> None:
    with pytest.raises(ValueError, match="placeholder does not occur"):
        PreparedQuery(Folder.objects.filter(pk=7), 7, 8)


def test_a_name_is_told_as_text_and_never_as_markup(as_alice: Client, alice: User) -> None:
    shelf.add_file(alice, name="<b>&\"'{name}.txt", visibility=Visibility.PRIVATE)
    page = as_alice.get("/").content.decode()
    assert 'dir="auto">&lt;b&gt;&amp;&quot;&#x27;{name}.txt</a><span class="badge">Private</span>' in page
    assert "<b>&" not in page
