"""Trash, restore and purge: objects are deleted when due, and rows only after their objects."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support.file_rows import create_row, stored_usage, usage_by_rows
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions, s3, services
from uploads.errors import InvalidTransition, StorageUnavailable
from uploads.models import File, Folder, State
from uploads.services import folders
from uploads.services.sweep import sweep

FIELDS = ["key", "etag", "checksum", "checksum_status", "size", "available_at", "detected_type"]


@pytest.fixture
def file(as_alice: Client, bucket: Bucket) -> File:
    return UploadClient(as_alice).send(b"hello")


def test_trash_hides_the_file_and_keeps_its_bytes(file: File, alice: User, bucket: Bucket, settings: Settings) -> None:
    actions.trash_file(file, by=alice)
    file.refresh_from_db()
    assert file.state == State.TRASHED
    assert file.purge_after is not None
    assert abs(file.purge_after - timezone.now() - timedelta(days=settings.TRASH_RETENTION_DAYS)) < timedelta(minutes=1)
    assert bucket.read(file.key) == b"hello"


def test_trashing_twice_keeps_the_purge_date(file: File, alice: User) -> None:
    actions.trash_file(file, by=alice)
    due = File.objects.get(pk=file.pk).purge_after
    actions.trash_file(file, by=alice)
    assert File.objects.get(pk=file.pk).purge_after == due


def test_restore_returns_the_file_unchanged(file: File, alice: User, bucket: Bucket) -> None:
    before = File.objects.values(*FIELDS).get()
    actions.trash_file(file, by=alice)
    actions.restore_file(file, by=alice)
    actions.restore_file(file, by=alice)
    assert File.objects.values(*FIELDS).get() == before
    assert (File.objects.get().state, File.objects.get().purge_after) == (State.AVAILABLE, None)
    assert bucket.read(file.key) == b"hello"


def test_each_row_of_the_trash_is_restored_by_its_own_button(file: File, alice: User, as_alice: Client) -> None:
    folder = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(folder, Folder)
    inside = create_row(alice, State.AVAILABLE, name="logo.png", folder=folder)
    as_alice.post("/files/bulk", {"do": "trash", "folders": folder.pk, "file": file.pk, "go": "1"})
    page = as_alice.get("/trash/").text
    for url in (f"/folders/{folder.pk}/restore", f"/files/{file.pk}/restore"):
        assert f'formaction="{url}"' in page
        assert as_alice.post(url, {"next": "/trash/?q=a"})["Location"] == "/trash/?q=a"
    again = as_alice.post(f"/folders/{folder.pk}/restore", follow=True)  # it was restored in another tab
    assert "“Brand” is no longer in the trash." in again.text
    assert set(File.objects.available()) == {file, inside}
    assert Folder.objects.living().get() == folder


@pytest.mark.parametrize("view", ["table", "grid"])
def test_end_of_a_long_name_is_shown_in_the_trash(view: str, alice: User, as_alice: Client) -> None:
    create_row(alice, State.TRASHED, name="a very long name of a trashed file in the list.pdf")
    page = as_alice.get(f"/trash/?view={view}").text
    assert "<span>list.pdf</span>" in page
    assert 'title="a very long name' in page


@pytest.mark.parametrize("state", [State.UPLOADING, State.COMPLETING, State.DELETING])
def test_unavailable_files_cannot_be_trashed_or_restored(alice: User, state: State) -> None:
    file = create_row(alice, state)
    with pytest.raises(InvalidTransition):
        actions.trash_file(file, by=alice)
    with pytest.raises(InvalidTransition):
        actions.restore_file(file, by=alice)
    assert File.objects.get().state == state


def test_a_file_is_purged_when_it_is_due_and_not_before(file: File, alice: User, bucket: Bucket) -> None:
    actions.trash_file(file, by=alice)
    assert sweep().total() == 0
    assert bucket.objects()
    File.objects.update(purge_after=timezone.now(), signed_until=timezone.now() - timedelta(hours=1))
    counts = sweep()
    assert (counts["purged"], counts["erased"]) == (1, 1)
    assert not bucket.objects()
    assert not File.objects.exists()
    assert stored_usage(alice) == usage_by_rows(alice) == (0, 0)


def test_restored_file_is_not_purged(file: File, alice: User, bucket: Bucket) -> None:
    actions.trash_file(file, by=alice)
    File.objects.update(purge_after=timezone.now())
    actions.restore_file(file, by=alice)
    sweep()
    assert File.objects.get().state == State.AVAILABLE
    assert bucket.read(file.key) == b"hello"


def test_file_being_purged_cannot_be_restored(file: File, alice: User) -> None:
    actions.trash_file(file, by=alice)
    File.objects.update(purge_after=timezone.now())
    sweep()
    with pytest.raises(InvalidTransition):
        actions.restore_file(file, by=alice)


def test_row_is_kept_until_the_object_is_deleted(
    file: File, alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions.trash_file(file, by=alice)
    File.objects.update(purge_after=timezone.now(), signed_until=None)
    with monkeypatch.context() as patch:
        patch.setattr(s3, "delete", lambda key, **where: (_ for _ in ()).throw(StorageUnavailable()))
        assert sweep()["failed"] == 1
    assert File.objects.get().state == State.DELETING
    assert bucket.objects()
    assert sweep()["erased"] == 1
    assert not bucket.objects()
    assert not File.objects.exists()


def test_erasing_deletes_object_multipart_upload_and_row(alice: User, bucket: Bucket) -> None:
    file = create_row(alice, State.DELETING, size=100)
    bucket.write(file.key, b"late")
    s3.create_multipart(file.key)
    assert services.erase(file)
    assert not bucket.objects()
    assert not bucket.multipart_uploads()
    assert not File.objects.exists()


def test_erasing_twice_is_harmless(alice: User, bucket: Bucket) -> None:
    file = create_row(alice, State.DELETING)
    assert services.erase(file)
    assert not services.erase(file)


@pytest.mark.parametrize("minutes", [1, -1])
def test_row_outlives_its_presigned_urls_by_the_clock_skew(alice: User, bucket: Bucket, minutes: int) -> None:
    file = create_row(alice, State.DELETING, signed_until=timezone.now() + timedelta(minutes=minutes))
    bucket.write(file.key, b"late")
    assert not services.erase(file)
    assert not bucket.objects()
    assert File.objects.exists()


@pytest.mark.parametrize("state", [state for state in State if state != State.DELETING])
def test_erasing_never_deletes_a_row_that_is_not_being_deleted(alice: User, bucket: Bucket, state: State) -> None:
    file = create_row(alice, state)
    bucket.write(file.key, b"x")
    services.erase(file)
    assert File.objects.get().state == state
    assert bucket.read(file.key) == b"x"


def test_other_objects_are_left_alone(file: File, as_alice: Client, alice: User, bucket: Bucket) -> None:
    other = UploadClient(as_alice).send(b"other")
    bucket.write("foreign/object", b"not ours")
    actions.trash_file(file, by=alice)
    File.objects.filter(pk=file.pk).update(purge_after=timezone.now(), signed_until=None)
    sweep()
    assert bucket.objects() == {other.key: 5, "foreign/object": 8}
