"""The size of a folder counts the files in it and in its subfolders that the user can see."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.support.file_rows import create_row, ensure_folder, move_folder, trash_folder
from uploads import actions
from uploads.listing import FolderSize, folder_sizes, load_folder_sizes
from uploads.models import AccessLevel, File, Folder, State, Visibility, apply_deltas
from uploads.services import folders
from uploads.services.recount import recount

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(alice: User) -> Folder:
    """A folder with team files of 1 and 10 bytes, and 100 bytes in a subfolder."""
    folder = ensure_folder("Campaign", alice)
    for size, place in ((1, folder), (10, folder), (100, ensure_folder("Campaign/Logos", alice))):
        create_row(alice, State.AVAILABLE, name=f"{size}.txt", size=size, folder=place)
    return folder


def size_for(user: User, folder: Folder) -> FolderSize | None:
    return load_folder_sizes(user, [folder.pk]).get(folder.pk)


@pytest.mark.parametrize("applied", [False, True])
def test_size_counts_the_branch_and_follows_every_change(applied: bool, campaign: Folder, alice: User) -> None:
    def size() -> FolderSize | None:
        if applied:
            apply_deltas()
        assert recount() == []
        return size_for(alice, campaign)

    assert size() == (3, 111)
    create_row(alice, State.UPLOADING, size=1000, folder=campaign)
    assert size() == (3, 111)
    link = File.objects.get(name="10.txt").permanent_id
    actions.trash_files([link], by=alice)
    assert size() == (2, 101)
    actions.restore_files([link], by=alice)
    actions.move_files([link], None, by=alice)
    assert size() == (2, 101)
    move_folder(ensure_folder("Campaign/Logos", alice), None, by=alice)
    assert size() == (1, 1)
    actions.trash_files([File.objects.get(name="1.txt").permanent_id], by=alice)
    assert size() == (0, 0)


def test_private_files_count_for_their_owner_only(campaign: Folder, alice: User, bob: User, admin_user: User) -> None:
    actions.set_visibility([File.objects.get(name="100.txt").permanent_id], Visibility.PRIVATE, by=alice)
    assert size_for(alice, campaign) == (3, 111)
    assert size_for(bob, campaign) == size_for(admin_user, campaign) == (2, 11)
    assert recount() == []


def test_quarantined_files_count_for_their_owner_only(campaign: Folder, alice: User, bob: User) -> None:
    File.objects.filter(name="1.txt").update(quarantined=True, scan_status="infected")
    assert (size_for(alice, campaign), size_for(bob, campaign)) == ((3, 111), (2, 110))


def test_closed_subfolders_count_for_their_groups_only(
    campaign: Folder, alice: User, bob: User, admin_user: User
) -> None:
    group = Group.objects.create(name="few")
    bob.groups.add(group)
    folders.set_access(ensure_folder("Campaign/Logos", alice), {group: AccessLevel.MANAGE}, by=admin_user)
    assert (size_for(alice, campaign), size_for(bob, campaign)) == ((2, 11), (3, 111))


def test_open_subfolders_of_closed_ones_count(campaign: Folder, alice: User, bob: User, admin_user: User) -> None:
    few, many = Group.objects.create(name="few"), Group.objects.create(name="many")
    bob.groups.add(many)
    inside = ensure_folder("Campaign/Logos/Old", alice)
    create_row(alice, State.AVAILABLE, name="old.txt", size=1000, folder=inside)
    folders.set_access(ensure_folder("Campaign/Logos", alice), {few: AccessLevel.MANAGE}, by=admin_user)
    assert size_for(bob, campaign) == (2, 11)
    folders.set_access(inside, {many: AccessLevel.MANAGE}, by=admin_user)
    assert size_for(bob, campaign) == (3, 1011)


def test_subfolders_in_the_trash_count_neither_as_subfolders_nor_with_their_files(
    campaign: Folder, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    trash_folder(ensure_folder("Campaign/Logos", alice), by=alice)
    monkeypatch.setattr(folder_sizes, "MAX_SUBFOLDERS", 1)
    assert size_for(alice, campaign) == (2, 11)


def test_folder_with_too_many_subfolders_has_no_size_in_lists(
    campaign: Folder, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_sizes, "MAX_SUBFOLDERS", 1)
    assert load_folder_sizes(alice, [campaign.pk]) == {}
    assert load_folder_sizes(alice, [], opened=campaign.pk) == {campaign.pk: (3, 111)}
    monkeypatch.setattr(folder_sizes, "MAX_SUBFOLDERS", 2)
    assert load_folder_sizes(alice, [campaign.pk]) == {campaign.pk: (3, 111)}
    monkeypatch.setattr(folder_sizes, "MAX_SUBFOLDERS_OF_PAGE", 1)
    assert load_folder_sizes(alice, [], opened=campaign.pk) == {}


def test_sizes_of_a_page_are_one_query(campaign: Folder, alice: User) -> None:
    ids = [campaign.pk, *(ensure_folder(f"Folder {number}", alice).pk for number in range(30))]
    with CaptureQueriesContext(connection) as queries:
        sizes = load_folder_sizes(alice, ids)
    assert (len(queries), sizes[ids[1]]) == (1, FolderSize(0, 0))


def test_list_grid_and_folder_page_show_the_size(campaign: Folder, as_alice: Client) -> None:
    for url in ("/?view=grid", campaign.get_absolute_url()):
        assert "3 files · 111" in as_alice.get(url).content.decode()
    table = as_alice.get("/?view=table").content.decode()
    assert "3 files</span>" in table
    assert '<td role="cell" class="number">111' in table


def test_folders_of_a_page_are_sorted_by_size(campaign: Folder, alice: User, as_alice: Client) -> None:
    large = ensure_folder("Large", alice)
    create_row(alice, State.AVAILABLE, name="large.bin", size=1000, folder=large)
    ensure_folder("Zero", alice)

    def names(url: str) -> list[str]:
        return [row.name for row in as_alice.get(url).context["folders"]]

    assert names("/?sort=name") == ["Campaign", "Large", "Zero"]
    assert names("/?sort=-size") == ["Large", "Campaign", "Zero"]
    assert names("/?sort=size") == ["Zero", "Campaign", "Large"]


def test_folders_of_several_pages_are_sorted_by_name(alice: User, as_alice: Client) -> None:
    for number in range(53):
        folder = ensure_folder(f"Folder {number:02}", alice)
        create_row(alice, State.AVAILABLE, name="file.bin", size=1000 - number, folder=folder)
    first = as_alice.get("/?sort=size")
    last = as_alice.get(first.context["next_url"])
    assert [row.name for row in first.context["folders"]] == [f"Folder {number:02}" for number in range(50)]
    assert [row.name for row in last.context["folders"]] == [f"Folder {number:02}" for number in range(50, 53)]
