"""`move_store`: files stay readable during the move and end in the new storage with the same bytes."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from tests.support import factories, storage_proxies
from tests.support.stores import Bucket
from tests.support.two_stores import PART, TwoStores, downloaded, imported, run_move_store, second_bucket, two_stores
from tests.support.upload_client import UploadClient, composite, cut, web
from tests.support.verification import verify_file
from uploads import actions, s3, services
from uploads.models import ChecksumStatus, File, Installation, Origin, Preview, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.s3 import streams
from uploads.services import move_store
from uploads.services.move_store import copy

pytestmark = pytest.mark.slow

ROUTES = [
    "one endpoint", "to digests", pytest.param("from digests", marks=pytest.mark.faults),
    pytest.param("digests, one endpoint", marks=pytest.mark.faults),
]  # fmt: skip


@pytest.fixture
def stores(
    request: pytest.FixtureRequest, bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoStores]:
    """From one bucket to another at the same endpoint, unless parametrized otherwise."""
    route = getattr(request, "param", "one endpoint")
    if route == "one endpoint":
        first, second = bucket, second_bucket(bucket.address)
    else:
        digest_bucket = Bucket(request.getfixturevalue("digest_store"))
        digest_bucket.empty()
        first, second = {
            "to digests": (bucket, digest_bucket),
            "from digests": (digest_bucket, bucket),
            "digests, one endpoint": (digest_bucket, second_bucket(digest_bucket.address)),
        }[route]
    with two_stores(first, second, settings, monkeypatch) as both:
        yield both


@pytest.fixture
def upload_client(as_alice: Client, stores: TwoStores, settings: Settings) -> UploadClient:
    settings.UPLOAD_PART_BYTES = PART
    return UploadClient(as_alice)


BODIES = {
    "empty": b"",
    "small": b"hello",
    "parts": factories.binary_content(2 * PART + 7),
    "exact": factories.binary_content(2 * PART),
}


@pytest.mark.parametrize("stores", ROUTES, indirect=True)
def test_every_file_ends_in_the_new_store_with_its_bytes_and_its_checksum(
    upload_client: UploadClient, as_alice: Client, stores: TwoStores
) -> None:
    files = {name: upload_client.send(body, name=f"{name}.bin") for name, body in BODIES.items()}
    stores.swap()
    assert run_move_store("--apply")[0] == 0
    call_command("fsck", "--min-age", "0", stdout=io.StringIO(), stderr=io.StringIO())
    stores.alone()
    for name, body in BODIES.items():
        file = File.objects.get(pk=files[name].pk)
        assert (file.store, file.checksum, file.size) == ("new", composite(cut(body, PART)), len(body))
        assert file.checksum_status == (
            ChecksumStatus.VERIFIED_BY_STORAGE if s3.keeps_digests() else ChecksumStatus.UNVERIFIED
        )
        assert stores.second.client.head_object(Bucket=stores.second.name, Key=file.key)["ETag"].strip('"') == file.etag
        assert downloaded(as_alice, file) == body
        assert verify_file(file) == ChecksumStatus.VERIFIED


@pytest.mark.parametrize(
    "stores", ["one endpoint", pytest.param("digests, one endpoint", marks=pytest.mark.faults)], indirect=True
)
def test_move_within_one_endpoint_copies_on_the_server(
    upload_client: UploadClient, stores: TwoStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_client.send(b"hello")
    if stores.first.address.checksums == "sha256":  # rclone copies whole objects, and no parts
        upload_client.send(BODIES["parts"])
    stores.swap()
    monkeypatch.setattr(streams, "stream", lambda *_, **__: pytest.fail("it was read"))
    assert run_move_store("--apply")[0] == 0


def test_a_dry_run_counts_and_writes_nothing(upload_client: UploadClient, stores: TwoStores) -> None:
    upload_client.send(b"hello")
    stores.swap()
    before, objects = factories.database_rows(), stores.second.objects()
    code, summary = run_move_store()
    assert (code, summary["files"], summary["bytes"], summary["applied"]) == (1, 1, 5, False)
    assert (factories.database_rows(), stores.second.objects()) == (before, objects)


def test_run_with_nothing_to_move_succeeds(stores: TwoStores, db: None) -> None:
    stores.swap()
    assert run_move_store()[0] == 0
    assert run_move_store("--apply")[0] == 0


def test_files_in_both_stores_can_be_downloaded(
    upload_client: UploadClient, as_alice: Client, stores: TwoStores
) -> None:
    old = upload_client.send(b"before")
    stores.swap()
    new = upload_client.send(b"after")
    assert (old.store, new.store) == ("", "new")
    assert (downloaded(as_alice, old), downloaded(as_alice, new)) == (b"before", b"after")
    assert new.key in stores.second.objects()
    assert new.key not in stores.first.objects()


def test_running_upload_completes_in_the_old_store_and_moves_later(
    upload_client: UploadClient, as_alice: Client, stores: TwoStores
) -> None:
    body = factories.binary_content(PART + 1)
    upload = upload_client.start(body)
    upload_client.put(upload, 1)
    stores.swap()
    assert run_move_store("--apply")[1]["remaining"]["in_progress"] == 1
    upload_client.put(upload, 2)
    file = upload_client.finished(upload)
    assert (file.store, downloaded(as_alice, file)) == ("", body)
    assert run_move_store("--apply")[0] == 0
    assert downloaded(as_alice, File.objects.get()) == body


def test_previews_move_too(upload_client: UploadClient, as_alice: Client, stores: TwoStores) -> None:
    file = upload_client.send(b"some words", name="a.txt")
    services.make_previews(file)
    stores.swap()
    assert run_move_store("--apply")[0] == 0
    preview = Preview.objects.get()
    assert (preview.store, preview.state) == ("new", PreviewState.READY)
    response = as_alice.get(f"/files/{file.permanent_id}/preview")
    assert web.request("GET", response["Location"]).data == b"some words"


def test_preview_without_object_is_created_again(upload_client: UploadClient, stores: TwoStores) -> None:
    file = upload_client.send(b"some words", name="a.txt")
    services.make_previews(file)
    stores.first.delete(Preview.objects.get().key)
    stores.swap()
    assert run_move_store("--apply")[0] == 0
    assert services.make_previews(file)
    preview = Preview.objects.get()
    assert (preview.store, preview.state) == ("new", PreviewState.READY)


@pytest.mark.parametrize("stores", ["one endpoint", "to digests"], indirect=True)
def test_corrupted_object_stays_and_is_reported(upload_client: UploadClient, stores: TwoStores) -> None:
    file = upload_client.send(b"hello")
    stores.first.write(file.key, b"hullo")
    stores.swap()
    assert run_move_store("--apply")[1]["corrupted"] == 1
    file.refresh_from_db()
    assert (file.store, file.checksum_status) == ("", ChecksumStatus.CORRUPTED)
    assert file.key not in stores.second.objects()


def test_corrupted_object_moves_on_request(upload_client: UploadClient, stores: TwoStores) -> None:
    corrupted, missing = upload_client.send(b"hello"), upload_client.send(b"missing")
    stores.first.write(corrupted.key, b"hullo")
    stores.first.delete(missing.key)
    File.objects.filter(pk=corrupted.pk).update(checksum_status=ChecksumStatus.CORRUPTED)
    stores.swap()
    assert run_move_store("--apply")[0] == 1
    assert run_move_store("--apply", "--include-corrupted")[0] == 0
    for file, status in ((corrupted, ChecksumStatus.CORRUPTED), (missing, ChecksumStatus.MISSING)):
        file.refresh_from_db()
        assert (file.store, file.checksum_status) == ("new", status)
    assert stores.second.read(corrupted.key) == b"hullo"
    assert missing.key not in stores.second.objects()


def test_the_trash_moves_too_and_can_be_restored(
    upload_client: UploadClient, alice: User, as_alice: Client, stores: TwoStores
) -> None:
    file = upload_client.send(b"hello")
    actions.trash_file(file, by=alice)
    stores.swap()
    assert run_move_store("--apply")[0] == 0
    stores.alone()
    file.refresh_from_db()
    actions.restore_file(file, by=alice)
    assert downloaded(as_alice, file) == b"hello"


@pytest.mark.parametrize("stores", ["one endpoint", "to digests"], indirect=True)
def test_imported_file_moves_under_its_key_and_gets_a_checksum(
    alice: User, as_alice: Client, stores: TwoStores
) -> None:
    body = factories.binary_content(PART + 3)
    file = imported(alice, stores.first, "photos/Sommer 2020/é#%?.jpg", body)
    stores.swap()
    assert run_move_store("--apply")[0] == 0
    file.refresh_from_db()
    assert (file.store, file.key, file.checksum) == ("new", "photos/Sommer 2020/é#%?.jpg", composite(cut(body, PART)))
    assert (file.origin, downloaded(as_alice, file)) == (Origin.IMPORTED, body)


def test_object_overwritten_after_import_stays_and_is_reported(alice: User, stores: TwoStores) -> None:
    file = imported(alice, stores.first, "photos/a.jpg", b"hello")
    stores.first.write("photos/a.jpg", b"other")
    stores.swap()
    assert run_move_store("--apply")[1]["changed"] == 1
    file.refresh_from_db()
    assert (file.store, stores.second.objects().get("photos/a.jpg")) == ("", None)


def test_foreign_object_in_the_new_bucket_is_not_overwritten(alice: User, stores: TwoStores) -> None:
    imported(alice, stores.first, "photos/a.jpg", b"hello")
    stores.second.write("photos/a.jpg", b"somebody else's")
    stores.swap()
    assert run_move_store("--apply")[1]["taken"] == 1
    assert stores.second.read("photos/a.jpg") == b"somebody else's"


def test_copy_of_a_killed_run_is_replaced(alice: User, stores: TwoStores) -> None:
    file = imported(alice, stores.first, "photos/a.jpg", b"hello")
    stores.swap()
    mark = {"amalga-moved": str(Installation.objects.own_id())}
    stores.second.client.put_object(Bucket=stores.second.name, Key=file.key, Body=b"older", Metadata=mark)
    assert run_move_store("--apply")[0] == 0
    assert stores.second.read(file.key) == b"hello"


def after_each_copy(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Call `act` between each copy and the update of its row."""
    copy_object = copy.copy_object

    def copy_then_act(job: Any, route: Any) -> Any:
        result = copy_object(job, route)
        act()
        return result

    monkeypatch.setattr(move_store, "copy_object", copy_then_act)
    monkeypatch.setattr(move_store, "ThreadPoolExecutor", SameThreadExecutor)


class SameThreadExecutor(ThreadPoolExecutor):
    """Run in the calling thread, which sees the rows of this test."""

    def submit(self, fn: Any, /, *args: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **options))
        return future


def test_file_trashed_during_the_move_is_moved(
    upload_client: UploadClient, alice: User, stores: TwoStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload_client.send(b"hello")
    stores.swap()
    after_each_copy(monkeypatch, lambda: actions.trash_file(file, by=alice))
    assert run_move_store("--apply")[0] == 0
    file.refresh_from_db()
    assert (file.store, file.state) == ("new", State.TRASHED)


@pytest.mark.parametrize("erased", [False, True], ids=["going", "gone"])
def test_file_deleted_during_the_move_leaves_no_copy(
    upload_client: UploadClient, alice: User, stores: TwoStores, monkeypatch: pytest.MonkeyPatch, erased: bool
) -> None:
    file = upload_client.send(b"hello")
    actions.trash_file(file, by=alice)
    stores.swap()

    def erase() -> None:
        File.objects.filter(pk=file.pk).update(signed_until=None)
        File.objects.filter(pk=file.pk).discard(owner_id=alice.pk)
        if erased:
            services.erase(File.objects.get(pk=file.pk))

    after_each_copy(monkeypatch, erase)
    assert run_move_store("--apply")[1]["gone"] == 1
    assert file.key not in stores.second.objects()
    assert (file.key in stores.first.objects()) is not erased


def test_move_with_lost_lease_does_not_change_the_row(
    upload_client: UploadClient, stores: TwoStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload_client.send(b"hello")
    stores.swap()
    after_each_copy(monkeypatch, lambda: File.objects.filter(pk=file.pk).update(lease_until=seconds_from_now(1)))
    monkeypatch.setattr(move_store, "WAIT_SECONDS", 0.1)
    assert run_move_store("--apply")[1]["failed"] == 1
    file.refresh_from_db()
    assert file.store == ""


def test_one_bucket_under_two_names_is_refused(
    upload_client: UploadClient, stores: TwoStores, settings: Settings
) -> None:
    upload_client.send(b"hello")
    stores.swap()
    settings.SECONDARY_S3 = {**settings.SECONDARY_S3, "bucket": stores.second.name}
    before = factories.database_rows()
    assert run_move_store("--apply")[0] == 2
    assert run_move_store("--remove-originals", "--apply")[0] == 2
    assert factories.database_rows() == before
    assert set(stores.second.objects()) <= {"amalga.json"}


@pytest.mark.parametrize("owner", ["nobody", "another's"])
def test_bucket_without_our_marker_is_refused(upload_client: UploadClient, stores: TwoStores, owner: str) -> None:
    upload_client.send(b"hello")
    stores.swap()
    stores.first.delete("amalga.json")
    if owner == "another's":
        stores.first.write("amalga.json", json.dumps({"installation": str(uuid.uuid4())}).encode())
    assert run_move_store("--apply")[0] == 2
    assert File.objects.get().store == ""


def test_move_without_secondary_storage_is_refused(stores: TwoStores, db: None) -> None:
    stores.alone()
    assert run_move_store()[0] == 2


@pytest.mark.parametrize(
    "args", [["--parallel", "0"], ["--older-than", "0"], ["--include-imported"], ["--parallel", "1000"]]
)
def test_invalid_arguments_are_rejected(args: list[str], db: None) -> None:
    assert run_move_store(*args)[0] == 2


def test_unavailable_storage_is_reported_and_next_run_continues(
    upload_client: UploadClient, stores: TwoStores, settings: Settings, no_backoff: None
) -> None:
    for _ in range(3):
        upload_client.send(b"hello")
    stores.swap()
    with storage_proxies.proxy_of_app(settings, stores.second) as proxy:
        proxy.rules["put"] = storage_proxies.status(503, "SlowDown")
        assert run_move_store("--apply")[0] == 1
    stores.swap()
    assert File.objects.filter(store="new").count() == 0
    assert run_move_store("--apply")[0] == 0
