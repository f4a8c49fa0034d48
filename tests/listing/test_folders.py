"""Folders: the tree, its permissions, and no effect on the bucket."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, connections
from pytest_django import DjangoAssertNumQueries

from tests.support.file_rows import create_row, ensure_folder, full_path, move_folder, trash_folder
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions
from uploads.errors import Conflict, Forbidden, InvalidTransition, Problem
from uploads.listing import paths_for
from uploads.models import File, Folder, State
from uploads.services import folders

pytestmark = pytest.mark.django_db


def test_each_folder_of_a_path_is_created_once(alice: User, bob: User) -> None:
    first = ensure_folder("Brand/Logos", alice)
    assert ensure_folder("Brand/Logos", bob) == first
    assert full_path(first) == "Brand/Logos"
    assert list(Folder.objects.order_by("id").values_list("name", "created_by")) == [
        ("Brand", alice.pk), ("Logos", alice.pk)
    ]  # fmt: skip


def test_a_name_is_unique_among_siblings_only(alice: User) -> None:
    brand = ensure_folder("Brand/Logos", alice).parent
    ensure_folder("Logos", alice)
    with pytest.raises(Conflict):
        folders.create("Logos", parent=brand, by=alice)
    assert folders.create("logos", parent=brand, by=alice).name == "logos"


@pytest.mark.django_db(transaction=True)
def test_concurrent_creation_of_one_path_returns_one_folder(alice: User, bob: User) -> None:
    results: list[object] = []
    start = threading.Barrier(8)

    def make(user: User) -> None:
        start.wait()
        results.append(folders.ensure(["a/b/c"], by=user)["a/b/c"])
        connections.close_all()

    threads = [threading.Thread(target=make, args=[user]) for user in [alice, bob] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({folder.pk for folder in results if isinstance(folder, Folder)}) == 1
    assert Folder.objects.count() == 3


def test_upload_creates_its_folders(upload_client: UploadClient, alice: User) -> None:
    file = upload_client.send(b"x", folder="Brand/Logos")
    assert file.folder is not None
    assert full_path(file.folder) == "Brand/Logos"
    assert ensure_folder("Brand/Logos", alice) == file.folder


def test_upload_into_a_folder_keeps_its_relative_path(upload_client: UploadClient, alice: User) -> None:
    base = ensure_folder("Brand", alice)
    response = upload_client.client.post(
        "/uploads/", {"files": [upload_client.item(b"x", folder="2026/May")], "folder_id": base.pk}, "application/json"
    )
    file = File.objects.get(pk=response.json()["files"][0]["id"])
    assert file.folder is not None
    assert full_path(file.folder) == "Brand/2026/May"


@pytest.mark.parametrize("folder_id", [0, -1, 10**18, "1", [], True, 1.5])
def test_upload_with_an_invalid_folder_id_is_rejected(upload_client: UploadClient, folder_id: object) -> None:
    response = upload_client.client.post(
        "/uploads/", {"files": [upload_client.item(b"x")], "folder_id": folder_id}, "application/json"
    )
    assert response.status_code == 400
    assert not File.objects.exists()


def test_moving_and_renaming_never_touch_the_bucket(upload_client: UploadClient, alice: User, bucket: Bucket) -> None:
    file = upload_client.send(b"hello", folder="Old/Deep")
    before = bucket.objects()
    old, new = ensure_folder("Old", alice), ensure_folder("New", alice)
    move_folder(old, new, by=alice)
    folders.rename(old, "Older", by=alice)
    file.refresh_from_db()
    assert file.folder is not None
    assert full_path(file.folder) == "New/Older/Deep"
    assert bucket.objects() == before


def test_subfolders_move_with_their_folder(alice: User, manager: User) -> None:
    deep = ensure_folder("a/b/c", alice)
    move_folder(ensure_folder("a/b", alice), ensure_folder("x/y", alice), by=manager)
    deep.refresh_from_db()
    assert full_path(deep) == "x/y/b/c"
    below = Folder.objects.below(ensure_folder("x", alice))
    assert set(below.values_list("name", flat=True)) == {"x", "y", "b", "c"}
    move_folder(ensure_folder("x/y/b", alice), None, by=manager)
    deep.refresh_from_db()
    assert deep.path == [ensure_folder("b", alice).pk, deep.pk]


@pytest.mark.parametrize("target", ["a", "a/b", "a/b/c"])
def test_a_folder_cannot_be_moved_into_itself(alice: User, target: str) -> None:
    ensure_folder("a/b/c", alice)
    with pytest.raises(InvalidTransition, match="into itself"):
        move_folder(ensure_folder("a", alice), ensure_folder(target, alice), by=alice)
    assert ensure_folder("a", alice).path == [ensure_folder("a", alice).pk]


@pytest.mark.django_db(transaction=True)
def test_concurrent_crossing_moves_never_create_a_cycle(alice: User) -> None:
    for _round in range(5):
        left, right = ensure_folder("left", alice), ensure_folder("right", alice)
        outcomes: list[str] = []
        start = threading.Barrier(2)
        crossing = [(left, right), (right, left)]
        threads = [threading.Thread(target=_try_move, args=[a, b, alice, start, outcomes]) for a, b in crossing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["InvalidTransition", "moved"]
        for folder in Folder.objects.all():
            above = folder.parent.path if folder.parent else []
            assert folder.path == [*above, folder.pk]
        for name in ("left", "right"):
            folder = Folder.objects.get(name=name)
            if folder.parent:
                move_folder(folder, None, by=alice)


def _try_move(folder: Folder, target: Folder, by: User, start: threading.Barrier, outcomes: list[str]) -> None:
    start.wait()
    try:
        move_folder(folder, target, by=by)
        outcomes.append("moved")
    except Problem as problem:
        outcomes.append(type(problem).__name__)
    connections.close_all()


def test_move_or_rename_to_an_existing_name_is_rejected(alice: User) -> None:
    ensure_folder("a/Logos", alice)
    logos = ensure_folder("Logos", alice)
    with pytest.raises(Conflict, match="Logos"):
        move_folder(logos, ensure_folder("a", alice), by=alice)
    logos.refresh_from_db()
    assert logos.parent is None
    with pytest.raises(Conflict):
        folders.rename(logos, "a", by=alice)


def test_only_creator_and_managers_can_change_a_folder(alice: User, bob: User, viewer: User, manager: User) -> None:
    folder = ensure_folder("Brand", alice)
    for stranger in (bob, viewer):
        with pytest.raises(Forbidden):
            folders.rename(folder, "Mine", by=stranger)
    folders.rename(folder, "By alice", by=alice)
    folders.rename(folder, "By a manager", by=manager)


def test_name_of_a_trashed_folder_restores_it(alice: User) -> None:
    folder = ensure_folder("Brand/Logos", alice)
    assert folder.parent is not None
    trash_folder(folder.parent, by=alice)
    assert not Folder.objects.visible_to(alice).exists()
    assert ensure_folder("Brand/Logos", alice) == folder
    assert Folder.objects.visible_to(alice).count() == 2


def test_folder_removed_during_an_upload_is_restored_with_the_file(upload_client: UploadClient, alice: User) -> None:
    upload = upload_client.start(b"x", folder="Brand")
    upload_client.put(upload)
    Folder.objects.update(removed_at="2026-01-01T00:00:00Z")
    upload_client.finished(upload)
    assert Folder.objects.visible_to(alice).get().name == "Brand"


def test_sort_and_search_use_the_normalized_name(alice: User) -> None:
    assert ensure_folder("Été ÅNGSTRÖM", alice).normalized_name == "ete angstrom"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO uploads_folder (name, normalized_name, path, restricted, parent_id) "
        "SELECT name, normalized_name, path, restricted, parent_id FROM uploads_folder LIMIT 1",
        "UPDATE uploads_folder SET name = ''",
    ],
)
def test_database_rejects_invalid_folders(alice: User, sql: str) -> None:
    ensure_folder("Brand", alice)
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(sql)


def test_number_of_queries_for_paths_does_not_grow(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ids = [ensure_folder(f"a/b{number}/c", alice).pk for number in range(20)]
    assert alice.has_perm("uploads.view_file")
    with django_assert_num_queries(2):
        assert len(paths_for(alice, ids)) == 20


def test_moving_a_file_into_a_removed_folder_restores_it(alice: User) -> None:
    folder = ensure_folder("Brand/Logos", alice)
    file = create_row(alice, State.AVAILABLE)
    trash_folder(folder, by=alice)
    assert actions.move_files([file.pk], folder, by=alice).file_ids == [file.pk]
    assert Folder.objects.visible_to(alice).filter(pk=folder.pk).exists()
