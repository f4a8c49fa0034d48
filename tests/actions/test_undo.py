"""Undo restores what an action changed, unless it has changed again since."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client

from tests.support.file_rows import create_row, ensure_folder
from uploads import actions, services
from uploads.actions import undo as undo_module
from uploads.actions.move import MoveAction
from uploads.errors import InvalidTransition
from uploads.models import AccessLevel, File, Folder, State, Tag, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(alice: User) -> list[File]:
    """Two files in different folders."""
    places = [ensure_folder("One", alice), ensure_folder("Two", alice)]
    return [create_row(alice, State.AVAILABLE, name=f"{place}.txt", folder=place) for place in places]


def links_of(files: list[File]) -> list[Any]:
    return [file.permanent_id for file in files]


def places() -> dict[str, str]:
    rows = File.objects.select_related("folder")
    return {file.name: file.folder.name if file.folder else "" for file in rows}


def tags_of(file: File) -> set[str]:
    return set(Tag.objects.filter(taggings__file=file).values_list("name", flat=True))


def event_of(result: actions.BulkResult) -> int:
    return int(result.events[0].pk)


def test_moved_files_and_folders_return_to_their_own_places(files: list[File], alice: User) -> None:
    target, inner = ensure_folder("Target", alice), ensure_folder("Outer/Inner", alice)
    result = MoveAction().execute(links_of(files), {"to": target}, by=alice, folders=[inner.pk])
    assert set(places().values()) == {"Target"}
    message, _undone, skipped = actions.undo_action(event_of(result), by=alice)
    assert (message, skipped) == ("Moved 3 items back.", 0)
    assert places() == {"One.txt": "One", "Two.txt": "Two"}
    inner.refresh_from_db()
    assert inner.parent == Folder.objects.get(name="Outer")


def test_file_that_was_moved_again_is_skipped(files: list[File], alice: User) -> None:
    result = actions.move_files(links_of(files), ensure_folder("Target", alice), by=alice)
    actions.move_files([files[0].permanent_id], ensure_folder("Elsewhere", alice), by=alice)
    _message, _undone, skipped = actions.undo_action(event_of(result), by=alice)
    assert skipped == 1
    assert places() == {"One.txt": "Elsewhere", "Two.txt": "Two"}


def test_undo_without_permission_for_the_folder_is_refused(
    files: list[File], alice: User, admin_user: User, as_alice: Client
) -> None:
    result = actions.move_files(links_of(files), ensure_folder("Target", alice), by=alice)
    closed = {Group.objects.create(name="few"): AccessLevel.MANAGE}
    folders.set_access(ensure_folder("Two", admin_user), closed, by=admin_user)
    response = as_alice.post("/trash/undo", {"event": event_of(result)})
    assert (response.status_code, set(places().values())) == (302, {"Target"})
    assert "permission to upload" in str(next(iter(get_messages(response.wsgi_request))))


def test_each_file_gets_its_own_tags_back(files: list[File], alice: User) -> None:
    actions.tag_files([files[0].permanent_id], add=["kept", "old"], by=alice)
    result = actions.tag_files(links_of(files), add=["Kept", "new"], remove=["old"], by=alice)
    assert [tags_of(file) for file in files] == [{"kept", "new"}, {"kept", "new"}]
    assert actions.undo_action(event_of(result), by=alice)[0] == "Restored tags of 2 files."
    assert [tags_of(file) for file in files] == [{"kept", "old"}, set()]


def test_each_file_gets_its_own_visibility_back(files: list[File], alice: User) -> None:
    actions.set_visibility([files[0].permanent_id], Visibility.PRIVATE, by=alice)
    result = actions.set_visibility(links_of(files), Visibility.PRIVATE, by=alice)
    actions.undo_action(event_of(result), by=alice)
    assert dict(File.objects.values_list("name", "visibility")) == {"One.txt": "private", "Two.txt": "team"}


def test_names_of_files_and_folders_are_restored(files: list[File], alice: User) -> None:
    event = services.rename(files[0], "New.txt", by=alice)
    assert event is not None
    assert actions.undo_action(event, by=alice)[0] == "Restored the name “One.txt”."
    folder = ensure_folder("One", alice)
    event = folders.rename(folder, "Other", by=alice)
    assert event is not None
    folders.rename(folder, "Third", by=alice)
    _message, undone, skipped = actions.undo_action(event, by=alice)
    assert (undone.has_changes, skipped) == (False, 1)
    assert Folder.objects.filter(name="Third").exists()
    assert set(File.objects.values_list("name", flat=True)) == {"One.txt", "Two.txt"}


def test_only_the_same_person_can_undo_and_only_for_an_hour(
    files: list[File], alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = event_of(actions.move_files(links_of(files), ensure_folder("Target", alice), by=alice))
    with pytest.raises(InvalidTransition):
        actions.undo_action(event, by=bob)
    monkeypatch.setattr(undo_module, "UNDO_SECONDS", 0)
    with pytest.raises(InvalidTransition):
        actions.undo_action(event, by=alice)
    assert set(places().values()) == {"Target"}


@pytest.mark.parametrize("do", ["move", "tag", "private"])
def test_bulk_actions_offer_undo(do: str, files: list[File], alice: User, as_alice: Client) -> None:
    data = {"do": do, "file": links_of(files), "go": 1, "to": 0, "add": "x"}
    *_, message = get_messages(as_alice.post("/files/bulk", data).wsgi_request)
    response = as_alice.post("/trash/undo", {"event": message.extra_tags, "next": "/?q=a"})
    assert response.headers["Location"] == "/?q=a"
    assert places() == {"One.txt": "One", "Two.txt": "Two"}
    assert not Tag.objects.filter(taggings__isnull=False).exists()
    assert not File.objects.filter(visibility=Visibility.PRIVATE).exists()
