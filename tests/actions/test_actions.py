"""Bulk actions: permitted changes are made, refused ones are reported, and no bytes move."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from tests.support.file_rows import create_row, trash_folder
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, services
from uploads.errors import Forbidden, InvalidTransition, RefusedType, ValidationFailed
from uploads.models import AccessLevel, Action, Event, File, Folder, State, Tag, Tagging, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db

TEAM, PRIVATE = Visibility.TEAM, Visibility.PRIVATE


def audit_entries(action: Action) -> list[tuple[str, str]]:
    return list(Event.objects.filter(action=action).order_by("name").values_list("actor", "name"))


def tags_of(file: File) -> set[str]:
    return set(Tag.objects.filter(taggings__file=file).values_list("name", flat=True))


@pytest.fixture
def mine(alice: User) -> File:
    return create_row(alice, State.AVAILABLE, name="mine.txt")


@pytest.fixture
def theirs(bob: User) -> File:
    return create_row(bob, State.AVAILABLE, name="theirs.txt")


@pytest.fixture
def hidden(bob: User) -> File:
    return create_row(bob, State.AVAILABLE, name="hidden.txt", visibility=PRIVATE)


def test_mixed_selection_changes_only_permitted_files_and_reports_the_rest(
    alice: User, mine: File, theirs: File, hidden: File
) -> None:
    result = actions.trash_files([mine.pk, theirs.pk, hidden.pk, uuid.uuid4()], by=alice)
    assert [file.name for file in result.files] == ["mine.txt"]
    assert result.refused == ["theirs.txt"]
    assert result.unknown == 2, "private files of others count as unknown"
    states = dict(File.objects.values_list("name", "state"))
    assert states == {"mine.txt": "trashed", "theirs.txt": "available", "hidden.txt": "available"}
    assert audit_entries(Action.TRASH) == [("alice", "mine.txt")]


@pytest.mark.parametrize("action", ["move", "tag", "show", "trash", "restore"])
def test_every_action_refuses_files_of_others(bob: User, mine: File, action: str) -> None:
    if action == "restore":
        actions.trash_file(mine, by=mine.owner)
    result = {
        "move": lambda: actions.move_files([mine.pk], None, by=bob),
        "tag": lambda: actions.tag_files([mine.pk], add=["x"], by=bob),
        "show": lambda: actions.set_visibility([mine.pk], PRIVATE, by=bob),
        "trash": lambda: actions.trash_files([mine.pk], by=bob),
        "restore": lambda: actions.restore_files([mine.pk], by=bob),
    }[action]()
    assert result.files == []
    assert result.refused == ([] if action == "restore" else ["mine.txt"])
    assert result.unknown == (1 if action == "restore" else 0)
    assert not Tag.objects.exists()


def test_manager_can_move_team_files_but_no_private_ones(manager: User, mine: File, hidden: File) -> None:
    target = folders.create("Brand", parent=None, by=manager)
    result = actions.move_files([mine.pk, hidden.pk], target, by=manager)
    assert result.file_ids == [mine.pk]
    mine.refresh_from_db()
    assert mine.folder == target


def test_folder_manager_can_change_team_files_in_it(bob: User, mine: File, admin_user: User) -> None:
    group = Group.objects.create(name="design")
    bob.groups.add(group)
    folder = folders.create("Brand", parent=None, by=admin_user)
    folders.set_access(folder, {group: AccessLevel.MANAGE}, by=admin_user)
    File.objects.update(folder=folder)
    assert actions.trash_files([mine.pk], by=bob).file_ids == [mine.pk]
    assert actions.restore_files([mine.pk], by=bob).file_ids == [mine.pk]


def test_files_cannot_be_moved_to_folders_without_upload_permission(alice: User, mine: File, admin_user: User) -> None:
    closed = folders.create("Closed", parent=None, by=admin_user)
    folders.set_access(closed, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=admin_user)
    with pytest.raises(Forbidden):
        actions.move_files([mine.pk], closed, by=alice)


def test_moving_and_renaming_leave_key_and_bytes_alone(
    upload_client: UploadClient, alice: User, bucket: Bucket
) -> None:
    file = upload_client.send(b"hello")
    before = bucket.objects()
    actions.move_files([file.pk], folders.create("Brand", parent=None, by=alice), by=alice)
    services.rename(file, "Été.txt", by=alice)
    file.refresh_from_db()
    assert (file.name, file.normalized_name) == ("Été.txt", "ete.txt")
    assert bucket.objects() == before
    assert audit_entries(Action.RENAME) == [("alice", "report.txt")]


def test_only_its_owner_makes_a_file_private(alice: User, manager: User, mine: File) -> None:
    assert actions.set_visibility([mine.pk], PRIVATE, by=manager).refused == ["mine.txt"]
    assert actions.set_visibility([mine.pk], PRIVATE, by=alice).file_ids == [mine.pk]
    mine.refresh_from_db()
    assert mine.visibility == PRIVATE


def test_renaming_a_file_of_another_user_is_refused(bob: User, mine: File) -> None:
    with pytest.raises(Forbidden):
        services.rename(mine, "bob.txt", by=bob)


def test_tags_that_differ_by_case_or_accents_are_one(alice: User, mine: File) -> None:
    actions.tag_files([mine.pk], add=["Été"], by=alice)
    actions.tag_files([mine.pk], add=["ete", "ÉTÉ", "winter"], by=alice)
    assert tags_of(mine) == {"Été", "winter"}
    actions.tag_files([mine.pk], remove=["été"], by=alice)
    assert tags_of(mine) == {"winter"}


def test_the_same_tag_twice_is_one_tagging(alice: User, mine: File) -> None:
    for _ in range(2):
        actions.tag_files([mine.pk], add=["a"], by=alice)
    assert Tagging.objects.count() == 1


def test_too_many_tags_are_refused_and_none_is_saved(alice: User, mine: File) -> None:
    actions.tag_files([mine.pk], add=["kept"], by=alice)
    with pytest.raises(ValidationFailed, match="at most 50"):
        actions.tag_files([mine.pk], add=[f"tag {number}" for number in range(1000)], by=alice)
    assert tags_of(mine) == {"kept"}
    assert Tag.objects.count() == 1


def test_restored_file_keeps_its_folder_and_tags(alice: User, mine: File) -> None:
    folder = folders.create("Brand", parent=None, by=alice)
    actions.move_files([mine.pk], folder, by=alice)
    actions.tag_files([mine.pk], add=["kept"], by=alice)
    actions.trash_files([mine.pk], by=alice)
    assert not File.objects.visible_to(alice).listed().exists()
    trash_folder(folder, by=alice)
    assert actions.restore_files([mine.pk], by=alice).file_ids == [mine.pk]
    mine.refresh_from_db()
    assert (mine.state, mine.folder, mine.purge_after, tags_of(mine)) == (State.AVAILABLE, folder, None, {"kept"})
    assert Folder.objects.visible_to(alice).get() == folder, "the folder came back with it"


def test_trashed_and_deleting_files_cannot_be_trashed(alice: User, mine: File) -> None:
    actions.trash_files([mine.pk], by=alice)
    second = actions.trash_files([mine.pk], by=alice)
    assert (second.files, second.refused) == ([], ["mine.txt"])
    with pytest.raises(InvalidTransition):
        actions.trash_file(create_row(alice, State.DELETING), by=alice)


@pytest.mark.parametrize("state", [State.UPLOADING, State.COMPLETING, State.DELETING, State.TRASHED])
def test_files_that_are_not_available_cannot_be_moved_or_tagged(alice: User, state: State) -> None:
    file = create_row(alice, state)
    assert actions.move_files([file.pk], None, by=alice).files == []
    assert actions.tag_files([file.pk], add=["x"], by=alice).files == []


def test_empty_selection_changes_nothing(alice: User) -> None:
    result = actions.trash_files([], by=alice)
    assert (result.files, result.refused, result.unknown) == ([], [], 0)
    assert not Event.objects.exists()


def test_the_number_of_queries_does_not_grow_with_the_files(alice: User) -> None:
    few = [create_row(alice, State.AVAILABLE).pk for _ in range(2)]
    many = [create_row(alice, State.AVAILABLE).pk for _ in range(40)]
    alice.get_all_permissions()  # cached from here on
    actions.tag_files(few, add=["a", "b"], by=alice)  # creating tags needs more queries
    counts = []
    for links in (few, many):
        with CaptureQueriesContext(connection) as queries:
            actions.tag_files(links, add=["a", "b"], by=alice)
            actions.trash_files(links, by=alice)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_viewer_cannot_move_files_to_the_top_level(alice: User, viewer: User, admin_user: User) -> None:
    group = Group.objects.create(name="keepers")
    viewer.groups.add(group)
    folder = folders.create("Board", parent=None, by=admin_user)
    folders.set_access(folder, {group: AccessLevel.MANAGE}, by=admin_user)
    file = create_row(alice, State.AVAILABLE, folder=folder)
    with pytest.raises(Forbidden):
        actions.move_files([file.pk], None, by=viewer)


@pytest.mark.parametrize("name", ["evil.exe", ".exe", "evil.exe.", "evil.exe. .", "evil.exe::$DATA", "evil．exe"])
def test_renaming_to_a_refused_type_is_refused(name: str, alice: User, mine: File, settings: Settings) -> None:
    settings.UPLOAD_REFUSED_TYPES = [".exe"]
    with pytest.raises(RefusedType):
        services.rename(mine, name, by=alice)


def test_too_many_tags_for_too_many_files_are_refused_before_any_work(
    alice: User, mine: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.actions.tag.MAX_TAGGINGS_PER_REQUEST", 1)
    with pytest.raises(ValidationFailed, match="Select fewer files"):
        actions.tag_files([mine.pk], add=["a", "b"], by=alice)
    assert not Tag.objects.exists()
