"""Limits per call and per user: depth, new folders, tags and versions. Also counters and query counts."""

from __future__ import annotations

import importlib
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from amalga.db import deadline
from tests.support.file_rows import create_row, ensure_folder, move_folder
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions
from uploads.errors import OverQuota, Problem, ValidationFailed
from uploads.models import Event, File, Folder, State, Tag, Usage
from uploads.models.folder import MAX_DEPTH
from uploads.services import folders
from uploads.services.imports import ImportPlan, import_objects, plan_import
from uploads.services.recount import recount
from uploads.services.tree import MAX_NEW_FOLDERS

pytestmark = pytest.mark.django_db

DEEPEST = "/".join(f"d{number}" for number in range(MAX_DEPTH))


def counted(user: User) -> tuple[int, int]:
    """Return the folders and tags that the usage row counts."""
    usage = Usage.objects.filter(owner=user).first()
    return (usage.folders, usage.tags) if usage else (0, 0)


def folders_created_by(user: User) -> int:
    return Folder.objects.filter(created_by=user).count()


# --- depth --------------------------------------------------------------------------------------


def test_path_of_the_maximum_depth_is_created(upload_client: UploadClient) -> None:
    file = upload_client.send(b"x", folder=DEEPEST)
    assert file.folder
    assert file.folder.depth == MAX_DEPTH
    assert [Folder.objects.get(pk=pk).name for pk in file.folder.path] == DEEPEST.split("/")


@pytest.mark.parametrize("folder", [f"{DEEPEST}/e", "/".join("d" * 500)], ids=["one more", "five hundred"])
def test_deeper_path_is_rejected_and_creates_no_folders(upload_client: UploadClient, folder: str) -> None:
    response = upload_client.announce(upload_client.item(b"x", folder=folder))
    assert response.status_code == 400
    assert "32 levels" in response.json()["error"]["message"]
    assert not Folder.objects.exists()


def test_depth_is_counted_from_the_top_level(upload_client: UploadClient, alice: User) -> None:
    base = ensure_folder(DEEPEST, alice)
    sent = {"files": [upload_client.item(b"x", folder="e")], "folder_id": base.pk}
    assert upload_client.client.post("/uploads/", sent, "application/json").status_code == 400
    response = upload_client.client.post("/folders/", {"name": "e", "parent": base.pk})
    assert response.status_code == 400
    assert "32 levels" in response.content.decode()
    assert Folder.objects.count() == MAX_DEPTH


def test_move_that_would_exceed_the_depth_is_rejected(alice: User) -> None:
    ensure_folder("/".join("a" * 20), alice)
    target, branch = ensure_folder("/".join("b" * 13), alice), Folder.objects.get(name="a", parent=None)
    with pytest.raises(ValidationFailed, match="32 levels"):
        move_folder(branch, target, by=alice)
    assert target.parent
    move_folder(branch, target.parent, by=alice)
    assert Folder.objects.get(path__len=MAX_DEPTH).name == "a"


def legacy(alice: User, depth: int) -> list[Folder]:
    """Return a branch that was created before the limit existed."""
    created: list[Folder] = []
    for number in range(depth):
        created.append(
            Folder.objects.create(name=f"d{number}", parent=created[-1] if created else None, created_by=alice)
        )
    return created


def test_older_deeper_folder_accepts_files_and_can_only_move_up(upload_client: UploadClient, alice: User) -> None:
    branch = legacy(alice, MAX_DEPTH + 8)
    file = upload_client.send(b"x", folder="/".join(folder.name for folder in branch))
    assert file.folder == branch[-1]
    move_folder(Folder.objects.get(pk=branch[2].pk), branch[0], by=alice)
    with pytest.raises(ValidationFailed):
        move_folder(Folder.objects.get(pk=branch[2].pk), ensure_folder("x/y", alice), by=alice)


# --- limits per call --------------------------------------------------------------------------------


def items(upload_client: UploadClient, *paths: str) -> list[dict[str, Any]]:
    return [upload_client.item(b"x", folder=path) for path in paths]


def test_new_folders_over_the_limit_of_a_call_are_rejected(upload_client: UploadClient, alice: User) -> None:
    paths = [f"{number:02}/" + "/".join("a" * 31) for number in range(100)]
    response = upload_client.announce(*items(upload_client, *paths))
    errors = [entry["error"] for entry in response.json()["files"] if "error" in entry]
    assert response.status_code == 200
    assert {error["code"] for error in errors} == {"bad_request"}
    assert all("at most 200 folders" in error["message"] for error in errors)
    assert MAX_NEW_FOLDERS - MAX_DEPTH < folders_created_by(alice) == counted(alice)[0] <= MAX_NEW_FOLDERS
    assert File.objects.count() == 100 - len(errors) == folders_created_by(alice) // MAX_DEPTH


def test_folders_within_the_limit_of_a_call_are_created(upload_client: UploadClient, alice: User) -> None:
    paths = [f"{number}/{below}" for number in range(10) for below in range(10)]
    assert all("id" in entry for entry in upload_client.announce(*items(upload_client, *paths)).json()["files"])
    assert folders_created_by(alice) == 110


def test_the_number_of_statements_does_not_grow_with_the_folders(upload_client: UploadClient) -> None:
    def statements(*paths: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert upload_client.announce(*items(upload_client, *paths)).status_code == 200
        return len(queries)

    assert statements("one") >= statements(*(f"{number}/" + "/".join("b" * 9) for number in range(20)))


@pytest.mark.django_db(transaction=True)
def test_import_skips_keys_that_are_too_deep(bucket: Bucket, alice: User) -> None:
    for key in (f"in/{DEEPEST}/fine.txt", f"in/{DEEPEST}/e/deep.txt"):
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"x")
    plan = ImportPlan(prefix="in/", owner=alice)
    dry, real = ([step.refused for step in run(plan) if step.refused] for run in (plan_import, import_objects))
    assert [refused.key for refused in dry[0]] == [f"in/{DEEPEST}/e/deep.txt"]
    assert "32 levels" in real[0][0].reason
    assert dry == real
    assert File.objects.get().name == "fine.txt"


def test_import_has_no_limit_of_new_folders(alice: User) -> None:
    created = folders.ensure([f"i{number}" for number in range(300)], by=alice, limited=False)
    assert all(isinstance(folder, Folder) for folder in created.values())
    assert counted(alice) == (300, 0)


def test_each_new_folder_records_one_event(alice: User) -> None:
    ensure_folder("a/b/c", alice)
    ensure_folder("a/b/d", alice)
    assert sorted(Event.objects.filter(detail__created=True).values_list("name", flat=True)) == ["a", "b", "c", "d"]


def test_rejected_path_does_not_stop_the_others(upload_client: UploadClient) -> None:
    response = upload_client.announce(*items(upload_client, "fine", f"{DEEPEST}/e", "fine/too"))
    assert ["error" in entry for entry in response.json()["files"]] == [False, True, False]
    assert set(Folder.objects.values_list("name", flat=True)) == {"fine", "too"}


@pytest.mark.django_db(transaction=True)
def test_concurrent_creation_of_overlapping_paths_succeeds(alice: User, bob: User) -> None:
    base = ensure_folder("base", alice)
    results: list[dict[str, Any]] = []
    start = threading.Barrier(8)

    def make(user: User, into: Folder | None) -> None:
        start.wait()
        paths = [f"{number}/{below}" for number in range(5) for below in range(3)]
        paths = paths if into else [f"base/{path}" for path in reversed(paths)]
        results.append(folders.ensure(paths, by=user, into=into))
        connections.close_all()

    threads = [threading.Thread(target=make, args=pair) for pair in [(alice, None), (bob, base)] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(isinstance(folder, Folder) for result in results for folder in result.values())
    assert Folder.objects.count() == 1 + 5 + 15
    assert recount() == []


def test_request_over_the_time_limit_stops() -> None:
    with pytest.raises(OperationalError), deadline(-1):
        Folder.objects.count()
    with deadline(9):
        assert Folder.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_starting_uploads_times_out(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = importlib.import_module("amalga.db.timeouts")
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr(timeouts, "time", type("Clock", (), {"monotonic": staticmethod(lambda: next(clock))}))
    upload_client.client.raise_request_exception = False
    response = upload_client.announce(*items(upload_client, "a", "b/c"))
    assert response.status_code == 503
    assert not File.objects.exists()


# --- limits per user -----------------------------------------------------------------------------


def test_folders_over_the_quota_are_rejected(upload_client: UploadClient, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FOLDERS = 3
    ensure_folder("a/b", alice)
    response = upload_client.announce(*items(upload_client, "a/b", "c/d", "e"))
    items_ = response.json()["files"]
    assert [entry.get("error", {}).get("code") for entry in items_] == [None, "over_quota", None]
    assert "limit of 3 folders" in items_[1]["error"]["message"]
    assert upload_client.client.post("/folders/", {"name": "f"}).status_code == 413
    assert counted(alice) == (3, 0)


@pytest.mark.django_db(transaction=True)
def test_concurrent_calls_never_exceed_the_folder_quota(alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FOLDERS = 6
    start = threading.Barrier(8)

    def make(number: int) -> None:
        start.wait()
        folders.ensure([f"{number}/a"], by=alice)
        connections.close_all()

    threads = [threading.Thread(target=make, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (folders_created_by(alice), counted(alice)) == (6, (6, 0))


def test_folders_of_others_do_not_count(alice: User, bob: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FOLDERS = 1
    ensure_folder("a", alice)
    assert ensure_folder("a/b", bob).created_by == bob
    assert (counted(alice), counted(bob)) == ((1, 0), (1, 0))


def test_statistics_of_folders_and_tags_are_recounted(alice: User) -> None:
    ensure_folder("a/b", alice)
    actions.tag_files([create_row(alice, State.AVAILABLE).pk], add=["x"], by=alice)
    assert recount() == []
    Usage.objects.update(folders=7, tags=0, bytes=5)
    differences = {
        (difference.status, difference.stored_files, difference.files, difference.stored_bytes, difference.bytes)
        for difference in recount(apply=True)
    }
    assert differences == {("folders", 7, 2, 0, 0), ("tags", 0, 1, 0, 0), ("files", 1, 1, 5, 1)}
    assert recount() == []
    assert counted(alice) == (2, 1)


# --- tags and versions --------------------------------------------------------------------------


def test_new_tags_over_the_quota_are_rejected_and_existing_ones_allowed(
    as_alice: Client, alice: User, bob: User, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_TAGS = 2
    file = create_row(alice, State.AVAILABLE)
    actions.tag_files([create_row(bob, State.AVAILABLE).pk], add=["of bob"], by=bob)
    actions.tag_files([file.pk], add=["one", "two"], by=alice)
    response = as_alice.post(f"/files/{file.pk}/tag", {"add": "three"})
    assert response.status_code == 413
    assert "limit of 2 tags" in response.content.decode()
    actions.tag_files([file.pk], add=["of bob", "ONE"], by=alice)
    assert (counted(alice), Tag.objects.count()) == ((0, 2), 3)


def test_deleted_tag_frees_quota(alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_TAGS = 1
    file = create_row(alice, State.AVAILABLE)
    actions.tag_files([file.pk], add=["one"], by=alice)
    with pytest.raises(OverQuota):
        actions.tag_files([file.pk], add=["two"], by=alice)
    Tag.objects.all().delete()
    actions.tag_files([file.pk], add=["two"], by=alice)
    assert counted(alice) == (0, 1)


def test_tags_over_the_limit_of_a_file_are_rejected(alice: User) -> None:
    with pytest.raises(ValidationFailed, match="50 tags"):
        actions.tag_files([create_row(alice, State.AVAILABLE).pk], add=[str(number) for number in range(51)], by=alice)
    assert not Tag.objects.exists()


def test_versions_over_the_limit_of_a_file_are_rejected(
    upload_client: UploadClient, as_alice: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("uploads.services.start"), "MAX_VERSIONS", 3)
    file = upload_client.send(b"x")
    upload_client.send(b"y", replaces=file.pk)
    response = upload_client.announce(
        *(upload_client.item(b"z", replaces=file.pk, token=uuid4()) for _number in range(2))
    )
    results = response.json()["files"]
    assert ["error" in entry for entry in results] == [False, True]
    assert "at most 3 versions" in results[1]["error"]["message"]


def test_deleting_a_user_keeps_their_folders(alice: User, bob: User) -> None:
    ensure_folder("a/b", alice)
    alice.delete()
    assert Folder.objects.filter(created_by=None).count() == 2
    assert not Usage.objects.filter(owner_id=alice.pk).exists()


def test_create_raises_a_problem(alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FOLDERS = 1
    folders.create("a", parent=None, by=alice)
    with pytest.raises(Problem):
        folders.create("b", parent=None, by=alice)
