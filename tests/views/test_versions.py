"""New versions: the link stays, earlier versions can be seen and restored, and storage use is right."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client

from tests.support.file_rows import create_row, stored_usage, usage_by_rows
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, services
from uploads.errors import Forbidden, InvalidTransition
from uploads.models import Action, Event, File, State, Tag, Visibility
from uploads.services import folders
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db


def current_file(link: uuid.UUID) -> File:
    return File.objects.listed().by_permanent_id(link).get()


@pytest.fixture
def first(upload_client: UploadClient, alice: User) -> File:
    """Alice's file in a folder, with a tag."""
    file = upload_client.send(b"one", name="logo.txt", folder="Brand")
    actions.tag_files([file.pk], add=["final"], by=alice)
    return file


def test_new_version_replaces_the_old_one_and_keeps_the_link(
    upload_client: UploadClient, first: File, bucket: Bucket
) -> None:
    second = upload_client.send(b"second", name="other.txt", replaces=first.pk)
    current = current_file(first.permanent_id)
    assert (current, current.permanent_id) == (second, first.pk)
    assert (current.name, current.folder, current.visibility) == ("logo.txt", first.folder, "team")
    assert Tag.objects.get(taggings__file=current).name == "final"
    assert File.objects.listed().count() == 1
    assert bucket.read(current.key) == b"second"
    assert bucket.read(first.key) == b"one"


def test_unfinished_new_version_changes_nothing(upload_client: UploadClient, first: File) -> None:
    upload = upload_client.start(b"second", replaces=first.pk)
    upload_client.put(upload)
    assert current_file(first.permanent_id) == first
    upload_client.cancel(upload)
    assert current_file(first.permanent_id) == first
    assert File.objects.versions_of(current_file(first.permanent_id)).count() == 1


def test_repeated_replacements_are_one_series(upload_client: UploadClient, first: File) -> None:
    for number in range(3):
        upload_client.send(f"version {number}".encode(), replaces=first.pk)
    assert File.objects.versions_of(current_file(first.pk)).available().count() == 4
    assert File.objects.listed().count() == 1


def test_restored_version_keeps_the_name_and_tags_of_the_file(
    upload_client: UploadClient, alice: User, first: File
) -> None:
    second = upload_client.send(b"second", replaces=first.pk)
    services.rename(current_file(first.pk), "renamed.txt", by=alice)
    services.restore_version(second, first, by=alice)
    current = current_file(first.pk)
    assert (current.pk, current.name) == (first.pk, "renamed.txt")
    assert Tag.objects.get(taggings__file=current).name == "final"
    assert services.restore_version(current, first, by=alice) == current, "restoring again changes nothing"
    assert Event.objects.filter(action=Action.VERSION_RESTORED).count() == 1


def test_a_version_of_another_file_is_refused(upload_client: UploadClient, alice: User, first: File) -> None:
    with pytest.raises(InvalidTransition):
        services.restore_version(first, upload_client.send(b"x"), by=alice)


def test_versions_of_other_owners_cannot_be_replaced_or_restored(as_bob: Client, bob: User, first: File) -> None:
    response = UploadClient(as_bob).announce(UploadClient(as_bob).item(b"evil", replaces=first.pk))
    assert response.json()["files"][0]["error"]["code"] == "forbidden"
    with pytest.raises(Forbidden):
        services.restore_version(first, first, by=bob)
    assert stored_usage(bob) == (0, 0)


@pytest.mark.parametrize("replaces", [7, "x", [], {}, "\x00"])
def test_invalid_replaces_value_is_rejected(upload_client: UploadClient, replaces: object) -> None:
    assert upload_client.announce(upload_client.item(b"x", replaces=replaces)).status_code == 400


def test_missing_trashed_or_unfinished_file_cannot_be_replaced(upload_client: UploadClient, alice: User) -> None:
    for link in (uuid.uuid4(), create_row(alice, State.TRASHED).pk, create_row(alice).pk):
        assert upload_client.announce(upload_client.item(b"x", replaces=link)).status_code == 403


def test_version_uploaded_by_a_manager_belongs_to_the_owner(
    as_manager: Client, manager: User, alice: User, first: File
) -> None:
    upload_client = UploadClient(as_manager)
    second = upload_client.start(b"by the manager", replaces=first.pk)
    upload_client.put(second)
    assert upload_client.finish(second).status_code == 200
    assert upload_client.finish(second).json()["files"][0]["state"] == "available", "repeating returns the same state"
    current = current_file(first.pk)
    assert (current.owner, current.uploaded_by) == (alice, manager)
    assert stored_usage(alice) == usage_by_rows(alice) == (2, 17)
    assert stored_usage(manager) == usage_by_rows(manager) == (0, 0)


def test_trash_restore_and_purge_apply_to_every_version(
    upload_client: UploadClient, alice: User, first: File, bucket: Bucket
) -> None:
    upload_client.send(b"second", replaces=first.pk)
    actions.trash_file(current_file(first.pk), by=alice)
    assert set(File.objects.values_list("state", flat=True)) == {State.TRASHED}
    actions.restore_file(File.objects.by_permanent_id(first.pk).get(), by=alice)
    assert set(File.objects.values_list("state", flat=True)) == {State.AVAILABLE}
    actions.trash_file(current_file(first.pk), by=alice)
    File.objects.update(purge_after="2020-01-01T00:00:00Z", signed_until=None)
    sweep()
    sweep()
    assert not File.objects.exists()
    assert bucket.objects() == {}
    assert stored_usage(alice) == (0, 0)


def test_version_finished_while_its_file_is_trashed_is_trashed_too(
    upload_client: UploadClient, alice: User, first: File
) -> None:
    upload = upload_client.start(b"second", replaces=first.pk)
    upload_client.put(upload)
    actions.trash_file(first, by=alice)
    assert upload_client.finish(upload).status_code == 410
    assert not File.objects.listed().exists()
    actions.restore_files([first.pk], by=alice)
    assert current_file(first.pk) == upload.row()
    assert File.objects.versions_of(current_file(first.pk)).available().count() == 2


def test_version_of_a_purged_file_is_abandoned(upload_client: UploadClient, alice: User, first: File) -> None:
    upload = upload_client.start(b"second", replaces=first.pk)
    upload_client.put(upload)
    actions.trash_file(first, by=alice)
    File.objects.filter(pk=first.pk).update(purge_after="2020-01-01T00:00:00Z", signed_until=None)
    sweep()
    sweep()
    assert upload_client.finish(upload).status_code == 410
    assert stored_usage(alice) == (0, 0)


def test_version_is_rejected_after_permission_is_lost(
    as_manager: Client, manager: User, alice: User, first: File
) -> None:
    upload_client = UploadClient(as_manager)
    upload = upload_client.start(b"too late", replaces=first.pk)
    upload_client.put(upload)
    actions.set_visibility([first.pk], Visibility.PRIVATE, by=alice)
    assert upload_client.finish(upload).json()["files"][0]["error"]["code"] == "forbidden"
    assert current_file(first.pk) == first
    assert stored_usage(manager) == (0, 0)


def test_uploader_of_version_sees_nothing_of_hidden_file(as_manager: Client, alice: User, first: File) -> None:
    upload_client = UploadClient(as_manager)
    upload = upload_client.start(b"second", replaces=first.pk)
    upload_client.put(upload)
    assert upload_client.finish(upload).json()["files"][0]["name"] == "logo.txt"
    actions.set_visibility([first.pk], Visibility.PRIVATE, by=alice)
    assert upload_client.finish(upload).json()["files"][0] == {"id": str(upload.id), "state": "available"}


def test_move_visibility_and_rename_apply_to_every_version(
    upload_client: UploadClient, alice: User, first: File
) -> None:
    upload_client.send(b"second", replaces=first.pk)
    folder = folders.create("New", parent=None, by=alice)
    actions.move_files([first.pk], folder, by=alice)
    actions.set_visibility([first.pk], Visibility.PRIVATE, by=alice)
    services.rename(current_file(first.pk), "now.txt", by=alice)
    assert set(File.objects.values_list("folder", "visibility", "name")) == {(folder.pk, "private", "now.txt")}


def test_database_allows_one_current_version_per_series(upload_client: UploadClient, first: File) -> None:
    upload_client.send(b"second", replaces=first.pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        File.objects.update(current=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        File.objects.filter(series__isnull=False).update(series=None)


def test_activity_lists_uploads_and_versions(upload_client: UploadClient, first: File) -> None:
    upload_client.send(b"second", name="two.txt", replaces=first.pk)
    events = Event.objects.about(first.pk).filter(action__in=[Action.UPLOAD, Action.VERSION])
    assert list(events.values_list("action", "actor", "detail__size")) == [
        ("version", "alice", 6), ("upload", "alice", 3)
    ]  # fmt: skip
