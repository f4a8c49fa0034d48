"""Permissions are checked at the end as at the beginning of uploads, restores and ZIP downloads."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from tests.support.file_rows import create_row, ensure_folder, move_folder, stored_usage
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient
from uploads import actions, services
from uploads.errors import Forbidden, InvalidTransition, OverQuota
from uploads.models import AccessLevel, Action, Event, File, Folder, State, Visibility
from uploads.services import folders, zips
from uploads.services.after_restore import after_restore
from uploads.services.finish import FinishRequest
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db

Withdraw = Callable[[User, Folder, User], None]


def close_folder(alice: User, folder: Folder, root: User) -> None:
    folders.set_access(folder, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=root)


def allow_viewing_only(alice: User, folder: Folder, root: User) -> None:
    team = Group.objects.create(name="lookers")
    alice.groups.add(team)
    levels = {team: AccessLevel.VIEW, Group.objects.create(name="few"): AccessLevel.MANAGE}
    folders.set_access(folder, levels, by=root)


def close_above(alice: User, folder: Folder, root: User) -> None:
    assert folder.parent
    close_folder(alice, folder.parent, root)


def move_into_closed(alice: User, folder: Folder, root: User) -> None:
    closed = folders.create("Closed", parent=None, by=root)
    close_folder(alice, closed, root)
    move_folder(folder, closed, by=root)


WITHDRAWALS = [close_folder, allow_viewing_only, close_above, move_into_closed]


@pytest.fixture
def folder(alice: User) -> Folder:
    return ensure_folder("Team/Brand", alice)


@pytest.fixture
def upload(upload_client: UploadClient, folder: Folder) -> Upload:
    """An upload into the folder whose bytes are all in the bucket."""
    upload = upload_client.start(b"hello", folder="Team/Brand")
    upload_client.put(upload)
    return upload


def assert_refused(upload_client: UploadClient, upload: Upload) -> None:
    response = upload_client.finish(upload)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert upload.row().state == State.DELETING


@pytest.mark.parametrize("withdraw", WITHDRAWALS)
def test_upload_is_rejected_and_removed_after_folder_access_is_lost(
    withdraw: Withdraw,
    upload_client: UploadClient,
    upload: Upload,
    folder: Folder,
    alice: User,
    admin_user: User,
    bucket: Bucket,
) -> None:
    withdraw(alice, folder, admin_user)
    assert_refused(upload_client, upload)
    assert stored_usage(alice) == (0, 0)
    File.objects.update(signed_until=None)
    sweep()
    assert not File.objects.exists()
    assert bucket.objects() == {}


def test_parts_of_a_refused_upload_are_aborted(
    upload_client: UploadClient, folder: Folder, alice: User, admin_user: User, bucket: Bucket, small_parts: None
) -> None:
    upload = upload_client.start(b"x" * 25, folder="Team/Brand")
    upload_client.put(upload)
    close_folder(alice, folder, admin_user)
    assert_refused(upload_client, upload)
    File.objects.update(signed_until=None)
    sweep()
    assert (bucket.objects(), bucket.multipart_uploads()) == ({}, [])


@pytest.mark.parametrize("withdraw", WITHDRAWALS)
def test_signing_and_renewal_are_refused_after_folder_access_is_lost(
    withdraw: Withdraw, upload_client: UploadClient, upload: Upload, folder: Folder, alice: User, admin_user: User
) -> None:
    expires_at = upload.row().expires_at
    withdraw(alice, folder, admin_user)
    response = upload_client.request_parts(upload.id, [{"number": 1, "sha256": upload.digests[0]}])
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    again = upload_client.announce(upload_client.item(b"hello", token=upload.token, folder="Team/Brand"))
    assert again.status_code == 403
    assert upload.row().expires_at == expires_at


def test_finish_is_rejected_after_leaving_the_group_of_a_folder(
    upload_client: UploadClient, folder: Folder, alice: User, admin_user: User
) -> None:
    team = Group.objects.create(name="team")
    alice.groups.add(team)
    folders.set_access(folder, {team: AccessLevel.MANAGE}, by=admin_user)
    upload = upload_client.start(b"hello", folder="Team/Brand")
    upload_client.put(upload)
    alice.groups.remove(team)
    assert_refused(upload_client, upload)


def test_only_uploads_into_the_restricted_folder_are_rejected(
    upload_client: UploadClient, upload: Upload, folder: Folder, alice: User, admin_user: User
) -> None:
    other = upload_client.start(b"hello")
    upload_client.put(other)
    close_folder(alice, folder, admin_user)
    response = upload_client.finish(upload, other)
    assert response.status_code == 200
    assert [entry.get("state") for entry in response.json()["files"]] == [None, "available"]
    assert (upload.row().state, other.row().state) == (State.DELETING, State.AVAILABLE)


def lose_role(alice: User) -> None:
    alice.groups.set([Group.objects.get(name="viewers")])


def close_account(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)


@pytest.mark.parametrize("lose", [lose_role, close_account])
def test_finish_at_the_top_level_is_rejected_after_losing_permission(
    lose: Callable[[User], None], upload_client: UploadClient, alice: User
) -> None:
    """Call the service as a slow request would, with permissions loaded at its start."""
    upload = upload_client.start(b"hello")
    upload_client.put(upload)
    before = User.objects.get(pk=alice.pk)
    assert before.has_perm("uploads.add_file")
    lose(alice)
    (result,) = services.finish(before, [FinishRequest(upload.id, upload.digests)])
    assert isinstance(result, Forbidden)
    assert upload.row().state == State.DELETING


def test_finish_is_rejected_and_the_upload_removed_after_losing_the_role(
    upload_client: UploadClient, upload: Upload, alice: User
) -> None:
    lose_role(alice)
    assert_refused(upload_client, upload)


def test_interrupted_completion_is_not_resumed_without_permission(
    upload: Upload, folder: Folder, alice: User, admin_user: User
) -> None:
    File.objects.filter(pk=upload.id).acquire_lease(checksum=upload.digests[0])
    File.objects.update(lease_until="2020-01-01T00:00:00Z")
    close_folder(alice, folder, admin_user)
    services.resume_completion(upload.row())
    assert upload.row().state == State.DELETING


def test_upload_is_rejected_if_access_is_lost_during_completion(
    upload_client: UploadClient,
    upload: Upload,
    folder: Folder,
    alice: User,
    admin_user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finishing = importlib.import_module("uploads.services.finish")
    assemble = finishing.assemble

    def slowly(*args: Any) -> Any:
        facts = assemble(*args)
        close_folder(alice, folder, admin_user)
        return facts

    monkeypatch.setattr(finishing, "assemble", slowly)
    assert_refused(upload_client, upload)


@pytest.mark.parametrize("withdraw", WITHDRAWALS)
def test_form_is_rejected_if_folder_access_is_lost_during_upload(
    withdraw: Withdraw, as_alice: Client, alice: User, folder: Folder, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiving = importlib.import_module("uploads.services.form_upload")
    finish = receiving.finish

    def late(*args: Any, **options: Any) -> Any:
        withdraw(alice, folder, admin_user)
        return finish(*args, **options)

    monkeypatch.setattr(receiving, "finish", late)
    sent = {"submission": uuid4(), "folder": folder.pk, "files": SimpleUploadedFile("a.txt", b"hello")}
    assert as_alice.post("/upload/", sent).status_code == 403
    assert not File.objects.available().exists()
    assert stored_usage(alice) == (0, 0)


def test_after_restore_neither_finishes_nor_removes_without_permission(
    upload: Upload, folder: Folder, alice: User, admin_user: User
) -> None:
    close_folder(alice, folder, admin_user)
    done = after_restore(apply=True)
    assert (done.arrived, done.finished, done.failed) == (1, 0, 1)
    assert upload.row().state == State.UPLOADING


# --- the trash ----------------------------------------------------------------------------------


@pytest.mark.parametrize("withdraw", WITHDRAWALS)
def test_file_is_not_restored_into_a_restricted_folder(
    withdraw: Withdraw, as_alice: Client, alice: User, folder: Folder, admin_user: User
) -> None:
    file = create_row(alice, State.AVAILABLE, folder=folder)
    actions.trash_file(file, by=alice)
    withdraw(alice, folder, admin_user)
    assert as_alice.post(f"/files/{file.pk}/restore").status_code == 403
    as_alice.post("/trash/undo", {"event": Event.objects.get(action=Action.TRASH).pk})
    as_alice.post("/files/bulk", {"do": "restore", "file": str(file.pk)})
    assert actions.restore_files([file.pk], by=alice).refused == [file.name]
    file.refresh_from_db()
    assert file.state == State.TRASHED
    assert actions.restore_files([file.pk], by=admin_user).files == [file]


def test_folder_manager_without_upload_role_can_restore_files(
    viewer: User, alice: User, folder: Folder, admin_user: User
) -> None:
    team = Group.objects.create(name="team")
    viewer.groups.add(team)
    file = create_row(alice, State.TRASHED, folder=folder)
    folders.set_access(folder, {team: AccessLevel.MANAGE}, by=admin_user)
    assert actions.restore_files([file.pk], by=viewer).files == [file]


def test_restore_of_file_outside_the_trash_is_not_forbidden(alice: User) -> None:
    with pytest.raises(InvalidTransition):
        actions.restore_file(create_row(alice), by=alice)


# --- zips ---------------------------------------------------------------------------------------


def test_zip_is_aborted_when_folder_access_is_lost(
    upload_client: UploadClient,
    alice: User,
    bob: User,
    folder: Folder,
    admin_user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [upload_client.send(b"x" * size, name=f"{size}.txt", folder="Team/Brand") for size in (1, 2, 3)]
    monkeypatch.setattr(zips, "RECHECK_SECONDS", 0)
    zip_file = services.open_zip(services.bundle(bob, [file.pk for file in files]), by=bob)
    next(zip_file)
    close_folder(bob, folder, admin_user)
    with pytest.raises(zips.DownloadAborted, match="forbidden"):
        list(zip_file)
    zip_file.close()


def test_zip_continues_when_a_file_is_trashed_or_replaced(
    upload_client: UploadClient, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [upload_client.send(b"x" * size, name=f"{size}.txt") for size in (1, 2, 3)]
    monkeypatch.setattr(zips, "RECHECK_SECONDS", 0)
    bundle = services.bundle(bob, [file.pk for file in files])
    zip_file = services.open_zip(bundle, by=bob)
    first = next(zip_file)
    actions.trash_file(files[1], by=alice)
    upload_client.send(b"new", replaces=files[2].pk)
    assert len(first) + sum(map(len, zip_file)) == bundle.length
    zip_file.close()


# --- quota of versions ----------------------------------------------------------------


@pytest.fixture
def full(upload_client: UploadClient, settings: Settings) -> File:
    """Alice has used 12 bytes of a quota of 20."""
    settings.UPLOAD_QUOTA_BYTES = 20
    return upload_client.send(b"x" * 12)


def test_version_over_the_quota_of_the_owner_is_rejected_at_the_start(
    full: File, as_manager: Client, manager: User
) -> None:
    upload_client = UploadClient(as_manager)
    response = upload_client.announce(upload_client.item(b"y" * 9, replaces=full.pk))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "over_quota")
    assert stored_usage(manager) == (0, 0)


def test_versions_of_one_call_share_the_quota_of_the_owner(full: File, as_manager: Client) -> None:
    upload_client = UploadClient(as_manager)
    response = upload_client.announce(*(upload_client.item(b"y" * 5, replaces=full.pk) for _number in range(2)))
    assert ["error" in entry for entry in response.json()["files"]] == [False, True]


def test_only_versions_that_fit_the_quota_finish(full: File, as_manager: Client, alice: User, manager: User) -> None:
    upload_client = UploadClient(as_manager)
    uploads = [upload_client.start(b"y" * 5, replaces=full.pk, name=f"{number}.txt") for number in range(3)]
    for upload in uploads:
        upload_client.put(upload)
    response = upload_client.finish(*uploads)
    assert sorted(entry.get("state", entry.get("error", {}).get("code")) for entry in response.json()["files"]) == [
        "available", "over_quota", "over_quota"
    ]  # fmt: skip
    assert (stored_usage(alice), stored_usage(manager)) == ((2, 17), (0, 0))
    assert upload_client.finish(*uploads).status_code == 200, "repeating returns the same status"


def test_file_quota_of_the_owner_applies_to_versions_by_others(
    full: File, as_manager: Client, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_FILES = 1
    upload_client = UploadClient(as_manager)
    assert upload_client.announce(upload_client.item(b"y", replaces=full.pk)).status_code == 413


def test_resumed_version_over_the_quota_of_the_owner_is_rejected(
    full: File, as_manager: Client, alice: User, manager: User
) -> None:
    upload_client = UploadClient(as_manager)
    upload = upload_client.start(b"y" * 5, replaces=full.pk)
    upload_client.put(upload)
    create_row(alice, State.AVAILABLE, size=8)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=upload.digests[0])
    File.objects.filter(pk=upload.id).update(lease_until="2020-01-01T00:00:00Z")
    services.resume_completion(upload.row())
    assert upload.row().state == State.DELETING
    assert (stored_usage(alice), stored_usage(manager)) == ((2, 20), (0, 0))


def test_restoring_a_version_of_another_owner_needs_quota(full: File, manager: User, alice: User) -> None:
    older = create_row(manager, State.AVAILABLE, size=9, series=full.pk, current=False)
    File.objects.filter(pk=full.pk).update(series=full.pk)
    full.refresh_from_db()
    with pytest.raises(OverQuota):
        services.restore_version(full, older, by=alice)
    assert (stored_usage(alice), stored_usage(manager)) == ((1, 12), (1, 9))


def test_private_files_can_be_replaced_only_by_the_owner(full: File, as_manager: Client, alice: User) -> None:
    upload_client = UploadClient(as_manager)
    upload = upload_client.start(b"y", replaces=full.pk)
    actions.set_visibility([full.pk], Visibility.PRIVATE, by=alice)
    response = upload_client.request_parts(upload.id, [{"number": 1, "sha256": upload.digests[0]}])
    assert response.status_code == 403
