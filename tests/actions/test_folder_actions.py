"""Folders in bulk actions: moved, moved to the trash with everything in them, restored, downloaded."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client

from tests.support.file_rows import create_row, ensure_folder, full_path
from tests.support.form_client import messages_of, post_bulk
from tests.support.upload_client import UploadClient
from uploads.actions import base
from uploads.actions.move import MoveAction
from uploads.actions.restore import RestoreAction
from uploads.actions.trash import TrashAction
from uploads.errors import Conflict, Forbidden, InvalidTransition
from uploads.models import AccessLevel, Event, File, Folder, State, Visibility
from uploads.services import folders, task_queue

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(alice: User) -> Folder:
    """A folder with a file, an empty subfolder, and a subfolder with a file."""
    ensure_folder("Campaign/Empty", alice)
    create_row(alice, State.AVAILABLE, name="brief.txt", folder=ensure_folder("Campaign", alice))
    create_row(alice, State.AVAILABLE, name="logo.png", folder=ensure_folder("Campaign/Logos", alice))
    return ensure_folder("Campaign", alice)


def trash(*selected: Folder, by: User) -> base.BulkResult:
    return TrashAction().execute([], {}, by=by, folders=[folder.pk for folder in selected])


def restore(*selected: Folder, by: User) -> base.BulkResult:
    return RestoreAction().execute([], {}, by=by, folders=[folder.pk for folder in selected])


def move(*selected: Folder, to: Folder | None, by: User) -> base.BulkResult:
    return MoveAction().execute([], {"to": to}, by=by, folders=[folder.pk for folder in selected])


def living() -> set[str]:
    return {full_path(folder) for folder in Folder.objects.living()}


def states() -> dict[str, str]:
    return dict(File.objects.values_list("name", "state"))


# --- trash ------------------------------------------------------------------------------------


def test_folder_is_trashed_and_restored_with_its_contents(campaign: Folder, alice: User) -> None:
    earlier = create_row(alice, State.AVAILABLE, name="earlier.txt", folder=campaign)
    TrashAction().execute([earlier.pk], {}, by=alice)
    result = trash(campaign, by=alice)
    assert ([str(folder) for folder in result.folders], len(result.files)) == (["Campaign"], 2)
    assert living() == set()
    assert set(states().values()) == {"trashed"}
    restore(campaign, by=alice)
    assert living() == {"Campaign", "Campaign/Empty", "Campaign/Logos"}
    assert states() == {"brief.txt": "available", "logo.png": "available", "earlier.txt": "trashed"}


def test_files_of_others_and_their_folders_stay(campaign: Folder, alice: User, bob: User) -> None:
    create_row(bob, State.AVAILABLE, name="theirs.txt", folder=ensure_folder("Campaign/Logos", alice))
    result = trash(campaign, by=alice)
    assert (result.folders, result.in_use) == ([], [campaign])
    assert states() == {"brief.txt": "trashed", "logo.png": "trashed", "theirs.txt": "available"}
    assert living() == {"Campaign", "Campaign/Logos"}


def test_private_file_of_another_user_keeps_its_folder(campaign: Folder, manager: User, bob: User) -> None:
    create_row(bob, State.AVAILABLE, name="secret.txt", folder=campaign, visibility=Visibility.PRIVATE)
    assert trash(campaign, by=manager).in_use == [campaign]
    assert states()["secret.txt"] == "available"


@pytest.mark.parametrize(
    ("name", "may"), [("alice", True), ("manager", True), ("bob", False), ("viewer", False), ("admin_user", True)]
)
def test_only_creator_and_managers_trash_move_and_restore_a_folder(
    name: str, may: bool, campaign: Folder, admin_user: User, request: pytest.FixtureRequest
) -> None:
    user: User = request.getfixturevalue(name)
    target = ensure_folder("Archive", admin_user)
    if user.has_perm("uploads.add_file"):
        moved = move(campaign, to=target, by=user)
        assert ([str(f) for f in moved.folders], moved.refused) == ((["Campaign"], []) if may else ([], ["Campaign"]))
    assert [str(folder) for folder in trash(campaign, by=user).folders] == (["Campaign"] if may else [])
    if not may:
        trash(campaign, by=admin_user)
    assert [str(folder) for folder in restore(campaign, by=user).folders] == (["Campaign"] if may else [])


def test_closed_folder_is_unknown_to_people_without_access(campaign: Folder, bob: User, admin_user: User) -> None:
    folders.set_access(campaign, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=admin_user)
    result = trash(campaign, by=bob)
    assert (result.folders, result.refused, result.unknown) == ([], [], 1)


def test_folder_inside_a_selected_one_goes_along_with_it(campaign: Folder, alice: User) -> None:
    logos = ensure_folder("Campaign/Logos", alice)
    assert trash(campaign, logos, by=alice).folders == [campaign]
    restore(campaign, by=alice)
    logos.refresh_from_db()
    assert logos.removed_at is None


def test_many_files_are_trashed_and_restored_by_tasks_in_batches(
    campaign: Folder, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        create_row(alice, State.AVAILABLE, name=f"{number}", folder=campaign)
    monkeypatch.setattr(base, "MAX_FILES_INSIDE", 2)
    monkeypatch.setattr(base, "FOLDER_BATCH_SIZE", 2)
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(type(base.change_folder), "enqueue", lambda _task, *sent_: sent.append(sent_))
    result = trash(campaign, by=alice)
    assert (len(result.files), result.folders, result.unfinished) == (2, [], [campaign])
    assert "Campaign" in living()
    base.change_folder.func(*sent.pop())
    assert (sent, living(), set(states().values())) == ([], set(), {"trashed"})
    assert len(restore(campaign, by=alice).files) == 2
    base.change_folder.func(*sent.pop())
    assert set(states().values()) == {"available"}
    assert base.change_folder.module_path == task_queue.FOLDER_CHANGES


def test_task_stops_if_the_account_was_deactivated(campaign: Folder, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert base.change_folder.func("trash", campaign.pk, alice.pk, "2030-01-01T00:00:00+00:00") == 0
    assert set(states().values()) == {"available"}


# --- move -------------------------------------------------------------------------------------


def test_folders_and_files_move_together(campaign: Folder, alice: User) -> None:
    archive, file = ensure_folder("Archive", alice), create_row(alice, State.AVAILABLE)
    result = MoveAction().execute([file.pk], {"to": archive}, by=alice, folders=[campaign.pk])
    file.refresh_from_db()
    campaign.refresh_from_db()
    assert (file.folder, campaign.parent) == (archive, archive)
    assert len(result.events) == Event.objects.together_with(Event.objects.get(pk=result.events[0].pk)).count() == 2


@pytest.mark.parametrize("target", ["Campaign", "Campaign/Logos"])
def test_moving_a_folder_into_itself_is_refused_and_moves_nothing(target: str, campaign: Folder, alice: User) -> None:
    other = ensure_folder("Other", alice)
    with pytest.raises(InvalidTransition, match="into itself"):
        move(other, campaign, to=ensure_folder(target, alice), by=alice)
    other.refresh_from_db()
    assert other.parent is None


def test_existing_folder_name_is_an_error_and_nothing_moves(campaign: Folder, alice: User, as_alice: Client) -> None:
    archive = ensure_folder("Archive/Campaign", alice).parent
    assert archive is not None
    with pytest.raises(Conflict, match="“Campaign” already exists"):
        move(campaign, to=archive, by=alice)
    page = post_bulk(as_alice, "move", [campaign], to=archive.pk, go=1)
    assert page.status_code == 400
    assert "A folder named “Campaign” already exists" in page.content.decode()


def test_folder_cannot_be_moved_without_upload_permission(campaign: Folder, alice: User, admin_user: User) -> None:
    closed = ensure_folder("Closed", admin_user)
    folders.set_access(closed, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=admin_user)
    with pytest.raises(Forbidden):
        move(campaign, to=closed, by=alice)


# --- the pages --------------------------------------------------------------------------------


def test_trash_asks_first_and_can_be_undone(campaign: Folder, as_alice: Client) -> None:
    page = post_bulk(as_alice, "trash", [campaign]).content.decode()
    assert "Move “Campaign” and its 2 files to trash?" in page
    assert "can be restored for 30 days" in page
    response = post_bulk(as_alice, "trash", [campaign], go=1)
    *_, message = get_messages(response.wsgi_request)
    assert str(message) == "Moved “Campaign” and 2 files to trash."
    assert "Campaign" in as_alice.get("/trash/").content.decode()
    undone = as_alice.post("/trash/undo", {"event": message.extra_tags})
    assert messages_of(undone)[-1] == "Restored “Campaign”."
    assert living() == {"Campaign", "Campaign/Empty", "Campaign/Logos"}


def test_empty_folder_is_trashed_at_once_and_can_be_undone(alice: User, as_alice: Client) -> None:
    empty = ensure_folder("Empty", alice)
    response = post_bulk(as_alice, "trash", [empty])
    *_, message = get_messages(response.wsgi_request)
    assert str(message) == "Moved “Empty” to trash."
    as_alice.post("/trash/undo", {"event": message.extra_tags})
    assert living() == {"Empty"}
    response = post_bulk(as_alice, "trash", [empty, ensure_folder("Void", alice)])
    assert messages_of(response)[-1] == "Moved 2 folders to trash."


def test_trash_page_restores_folders(campaign: Folder, alice: User, as_alice: Client, as_bob: Client) -> None:
    trash(campaign, by=alice)
    for view in ("table", "grid"):
        page = as_alice.get(f"/trash/?view={view}").content.decode()
        assert f'name="folders" value="{campaign.pk}"' in page
        assert "Campaign › Logos" in page
    assert 'name="folders"' not in as_bob.get("/trash/").content.decode()
    response = post_bulk(as_alice, "restore", [campaign], place="trash")
    assert messages_of(response) == ["Restored “Campaign”."]
    assert "Campaign" in living()


def test_folder_that_stays_is_named(campaign: Folder, bob: User, as_alice: Client) -> None:
    create_row(bob, State.AVAILABLE, name="theirs.txt", folder=campaign)
    messages = messages_of(post_bulk(as_alice, "trash", [campaign], go=1))
    assert messages[0] == "Moved 2 files to trash."
    assert messages[1].startswith("“Campaign” stays:")


def test_all_includes_the_folders_of_the_list(campaign: Folder, alice: User, as_alice: Client) -> None:
    create_row(alice, State.AVAILABLE, name="top.txt")
    as_alice.post("/files/bulk", {"do": "trash", "all": 1, "query": "", "go": 1})
    assert living() == set()
    assert set(states().values()) == {"trashed"}
    as_alice.post("/files/bulk", {"do": "restore", "all": 1, "query": "", "place": "trash", "go": 1})
    assert set(states().values()) == {"available"}


def test_actions_for_files_skip_folders_and_say_so(campaign: Folder, alice: User, as_alice: Client) -> None:
    file = create_row(alice, State.AVAILABLE)
    assert "files only" in messages_of(post_bulk(as_alice, "private", [campaign], file=str(file.pk)))[0]
    assert post_bulk(as_alice, "private", [campaign]).status_code == 400
    assert not File.objects.filter(folder__isnull=False, visibility=Visibility.PRIVATE).exists()


def test_invalid_folder_ids_are_counted(as_alice: Client) -> None:
    response = as_alice.post("/files/bulk", {"do": "trash", "folders": ["x", "9" * 30, "4711"]})
    assert messages_of(response) == ["3 items no longer exist or aren't available to you."]


def test_zip_of_folders_has_their_paths(upload_client: UploadClient, as_alice: Client, as_bob: Client) -> None:
    upload_client.send(b"a", name="a.txt", folder="Campaign")
    upload_client.send(b"b", name="b.txt", folder="Campaign/Logos")
    upload_client.send(b"c", name="c.txt", folder="Other")
    campaign, other = Folder.objects.get(name="Campaign"), Folder.objects.get(name="Other")

    def names(*selected: Folder) -> tuple[str, set[str]]:
        response: Any = as_alice.post("/files/zip", {"folders": [folder.pk for folder in selected]})
        archive = zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content)))
        return response.headers["Content-Disposition"], {name for name in archive.namelist() if "SHA" not in name}

    disposition, members = names(campaign)
    assert "Campaign.zip" in disposition
    assert members == {"a.txt", "Logos/b.txt"}
    assert names(campaign, other)[1] == {"Campaign/a.txt", "Campaign/Logos/b.txt", "Other/c.txt"}
    File.objects.update(visibility=Visibility.PRIVATE)
    response = as_bob.post("/files/zip", {"folders": campaign.pk})
    assert response.status_code == 302
    assert messages_of(response) == ["The selected folders contain no files."]
