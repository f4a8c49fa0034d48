"""Deletion of moved originals: only with a correct copy in the main storage, and only after a delay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support.stores import Bucket
from tests.support.two_stores import TwoStores, downloaded, imported, run_move_store, second_bucket, two_stores
from tests.support.upload_client import UploadClient
from uploads import services
from uploads.models import File, Preview
from uploads.models.querysets import seconds_from_now


@pytest.fixture
def stores(bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoStores]:
    with two_stores(bucket, second_bucket(bucket.address), settings, monkeypatch) as both:
        yield both


@pytest.fixture
def upload_client(as_alice: Client, stores: TwoStores) -> UploadClient:
    return UploadClient(as_alice)


def test_originals_are_deleted_on_request_after_a_delay(
    upload_client: UploadClient, as_alice: Client, stores: TwoStores
) -> None:
    file = upload_client.send(b"some words", name="a.txt")
    services.make_previews(file)
    stores.swap()
    run_move_store("--apply")
    later = upload_client.send(b"only here")
    assert file.key in stores.first.objects()
    assert run_move_store("--remove-originals", "--apply")[1]["young"] == 2
    age_rows()
    assert run_move_store("--remove-originals")[1]["removed"] == 2
    assert {file.key, Preview.objects.get().key} <= set(stores.first.objects())
    assert run_move_store("--remove-originals", "--apply")[0] == 0
    assert set(stores.first.objects()) <= {"amalga.json"}
    assert (downloaded(as_alice, file), downloaded(as_alice, later)) == (b"some words", b"only here")


def age_rows() -> None:
    File.objects.update(updated_at=seconds_from_now(-25 * 3600))
    Preview.objects.update(lease_until=seconds_from_now(-25 * 3600))


def test_original_stays_while_its_copy_differs_from_the_row(upload_client: UploadClient, stores: TwoStores) -> None:
    gone, other = upload_client.send(b"hello"), upload_client.send(b"world")
    stores.swap()
    run_move_store("--apply")
    age_rows()
    stores.second.delete(gone.key)
    stores.second.write(other.key, b"wurld")
    assert run_move_store("--remove-originals", "--apply")[1]["failed"] == 2
    assert {gone.key, other.key} <= set(stores.first.objects())


def test_cleanup_keeps_unmoved_imported_and_unknown_objects(
    upload_client: UploadClient, alice: User, stores: TwoStores
) -> None:
    photo = imported(alice, stores.first, "photos/a.jpg", b"hello")
    stores.first.write("f/" + "0" * 32, b"nobody's")
    stores.swap()
    run_move_store("--apply")
    waiting = upload_client.send(b"hello")
    stores.first.write(waiting.key, b"hello")
    File.objects.filter(pk=waiting.pk).update(store="")
    age_rows()
    code, summary = run_move_store("--remove-originals", "--apply")
    assert (code, summary["here"], summary["orphan"], summary["removed"]) == (1, 1, 1, 0)
    assert run_move_store("--remove-originals", "--apply", "--include-imported")[1]["removed"] == 1
    assert set(stores.first.objects()) - {"amalga.json"} == {"f/" + "0" * 32, waiting.key}
    assert photo.key in stores.second.objects()


def test_other_object_under_an_imported_key_is_kept(alice: User, stores: TwoStores) -> None:
    stores.swap()
    stores.first.write("photos/x.txt", b"somebody else's, only copy")
    file = imported(alice, stores.second, "photos/x.txt", b"another thing", store="new")
    age_rows()
    summary = run_move_store("--remove-originals", "--apply", "--include-imported")[1]
    assert (summary["kept"], summary["removed"]) == (1, 0)
    assert stores.first.read(file.key) == b"somebody else's, only copy"


def test_an_imported_original_that_was_overwritten_after_the_move_stays(alice: User, stores: TwoStores) -> None:
    photo = imported(alice, stores.first, "photos/a.jpg", b"hello")
    stores.swap()
    run_move_store("--apply")
    age_rows()
    stores.first.write(photo.key, b"newer")
    summary = run_move_store("--remove-originals", "--apply", "--include-imported")[1]
    assert (summary["kept"], summary["removed"]) == (1, 0)
    assert stores.first.read(photo.key) == b"newer"
