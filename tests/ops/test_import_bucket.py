"""`import_bucket`: existing objects become files, and the bucket does not change."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import Settings

from tests.support.commands import run_command
from tests.support.factories import database_rows
from tests.support.file_rows import (
    create_row,
    ensure_folder,
    folder_of,
    path_of,
    stored_usage,
    trash_folder,
    usage_by_rows,
)
from tests.support.stores import Bucket
from tests.support.verification import verify_file
from uploads import actions, s3, services
from uploads.models import (
    Action,
    ChecksumStatus,
    Event,
    File,
    Finding,
    Folder,
    Installation,
    Origin,
    Report,
    RunOutcome,
    State,
)
from uploads.names import normalize_for_search
from uploads.s3 import bucket_listing
from uploads.services import imports
from uploads.services.imports import copy_rows
from uploads.services.recount import recount
from uploads.services.sweep import sweep

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

MODIFIED = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def photos(bucket: Bucket) -> Bucket:
    """A bucket with our marker and photos that were not uploaded through Amalga."""
    s3.write_marker(Installation.objects.own_id())
    for number in range(25):
        bucket.write(f"photos/{number // 10}/pic {number:02}.jpg", b"x" * number)
    return bucket


@pytest.fixture
def odd(digest_bucket: Bucket) -> Bucket:
    """An empty bucket with our marker; its storage accepts any key."""
    s3.write_marker(Installation.objects.own_id())
    return digest_bucket


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and batches have five keys."""
    monkeypatch.setattr(bucket_listing, "PAGE_KEYS", 5)
    monkeypatch.setattr(imports, "BATCH_KEYS", 5)


def run_import(prefix: str, *arguments: str, owner: str = "alice", apply: bool = True) -> tuple[int, str]:
    """Return the exit status and the text of both streams."""
    status, output, errors = run_command(
        "import_bucket", prefix, "--owner", owner, *(["--apply"] if apply else []), *arguments
    )
    return status, output + errors


def import_stats(prefix: str, *arguments: str, **how: Any) -> dict[str, Any]:
    _status, output = run_import(prefix, *arguments, "--json", **how)
    document: dict[str, Any] = json.JSONDecoder().raw_decode(output)[0]
    return document


def is_consistent() -> bool:
    """Return whether usage and statistics match the rows."""
    return recount() == [] and all(stored_usage(owner) == usage_by_rows(owner) for owner in User.objects.all())


# --- imported files -----------------------------------------------------------------------------


def test_objects_become_files_in_the_folders_of_their_keys(photos: Bucket, alice: User) -> None:
    before = photos.objects()
    assert run_import("photos/")[0] == 0
    files = {path_of(file): file for file in File.objects.all()}
    assert len(files) == 25
    file = files["2/pic 24.jpg"]
    assert (file.key, file.size, file.owner, file.state) == ("photos/2/pic 24.jpg", 24, alice, State.AVAILABLE)
    assert (file.origin, file.checksum, file.checksum_status) == (Origin.IMPORTED, "", ChecksumStatus.UNVERIFIED)
    assert (file.declared_type, file.detected_type, file.category) == ("image/jpeg", "", "image")
    head = photos.client.head_object(Bucket=photos.name, Key=file.key)
    assert file.etag == head["ETag"].strip('"')
    assert file.modified is not None
    assert file.modified.replace(microsecond=0) == head["LastModified"]
    assert photos.objects() == before


def test_import_updates_usage_and_statistics(photos: Bucket, alice: User) -> None:
    run_import("photos/")
    assert stored_usage(alice) == (25, sum(range(25)))
    assert is_consistent()


def test_dry_run_writes_nothing_and_prints_the_same(photos: Bucket, alice: User) -> None:
    before, objects = database_rows(), photos.objects()
    summary = import_stats("photos/", apply=False)
    assert (database_rows(), photos.objects()) == (before, objects)
    done = import_stats("photos/")
    assert (summary.pop("applied"), done.pop("applied")) == (False, True)
    assert summary == done
    assert (done["files"], done["bytes"]) == (25, 300)


def test_a_second_run_changes_nothing(photos: Bucket, alice: User) -> None:
    run_import("photos/")
    before = list(File.objects.order_by("pk").values())
    photos.write("photos/new.jpg", b"new")
    again = import_stats("photos/")
    assert (again["files"], again["known"]) == (1, 25)
    assert list(File.objects.exclude(key="photos/new.jpg").order_by("pk").values()) == before
    assert is_consistent()


def test_changes_by_users_survive_a_second_run(photos: Bucket, alice: User) -> None:
    run_import("photos/")
    folder = ensure_folder("Kept", alice)
    actions.move_files([file.permanent_id for file in File.objects.all()], folder, by=alice)
    services.rename(File.objects.first(), "mine.jpg", by=alice)  # type: ignore[arg-type]
    trash_folder(Folder.objects.get(name="0"), by=alice)
    run_import("photos/")
    assert {folder_of(file) for file in File.objects.all()} == {"Kept"}
    assert File.objects.filter(name="mine.jpg").count() == 1
    assert Folder.objects.get(name="0").removed_at is not None


def test_folder_owner_and_visibility_options_apply(photos: Bucket, alice: User, as_bob: Client, bob: User) -> None:
    run_import("photos/0/", "--folder", " Old stuff/../2019 ", "--visibility", "private")
    file = File.objects.get(key="photos/0/pic 03.jpg")
    assert path_of(file) == "Old stuff/2019/pic 03.jpg"
    assert not File.objects.visible_to(bob).exists()
    assert as_bob.get(file.get_absolute_url()).status_code == 404
    assert File.objects.visible_to(alice).count() == 10


def test_import_records_one_event_per_batch(photos: Bucket, alice: User, small_batches: None) -> None:
    run_import("photos/")
    events = Event.objects.filter(action=Action.IMPORT)
    assert [event.detail["files"] for event in events] == [5] * 5
    assert {(event.actor, event.name) for event in events} == {("alice", "photos/")}
    assert not any("pic" in str(event.detail) for event in events)  # managers read it, so no private names


def test_an_imported_file_is_downloaded_as_an_attachment(photos: Bucket, alice: User, as_alice: Client) -> None:
    run_import("photos/")
    file = File.objects.get(key="photos/2/pic 24.jpg")
    response = as_alice.get(f"/files/{file.permanent_id}/download?inline=1")
    with urllib.request.urlopen(response["Location"]) as download:
        assert download.read() == b"x" * 24
        assert download.headers["Content-Disposition"].startswith("attachment")


def test_page_of_an_imported_file_says_it_is_never_deleted(photos: Bucket, alice: User, as_alice: Client) -> None:
    run_import("photos/")
    page = as_alice.get(File.objects.first().get_absolute_url())  # type: ignore[union-attr]
    assert "never deleted from storage" in page.content.decode()


def test_admin_filters_imported_files(photos: Bucket, alice: User, as_admin: Client) -> None:
    create_row(alice, State.AVAILABLE, name="uploaded.txt")
    run_import("photos/2/")
    page = as_admin.get("/admin/uploads/file/?origin=imported").content.decode()
    assert ("pic 24.jpg" in page, "uploaded.txt" in page) == (True, False)


def test_imported_file_can_be_verified(photos: Bucket, alice: User) -> None:
    run_import("photos/")
    file = File.objects.get(key="photos/1/pic 12.jpg")
    assert verify_file(file) == ChecksumStatus.VERIFIED
    file.refresh_from_db()
    assert file.checksum != ""


# --- odd keys -----------------------------------------------------------------------------------

ODD = {
    "in/a b+c%20&<d>.txt": "a b+c%20&<d>.txt",
    "in/été/日本語 ملف 🎈.txt": "été/日本語 ملف 🎈.txt",
    "in/a//b.txt": "a/b.txt",
    "in//c.txt": "c.txt",
    "in/Ａ＼": "Ａ＼",
    "in/Ａ＼Ｎ.txt": "Ａ＼Ｎ.txt",
    "in/AC\\DC/back\\slash.txt": "AC_DC/back_slash.txt",
    "in/می\u200cخواهم.txt": "می\u200cخواهم.txt",
    "in/line\nend\ttab\u202etxt": "lineendtabtxt",
    "in/ spaces / around .txt ": "spaces/around .txt",
    "in/\u200b": "unnamed",
    f"in/{'d' * 300}/{'n' * 300}.txt": f"{'d' * 255}/{'n' * 251}.txt",
    f"in/{'d/' * 30}x": f"{'d/' * 30}x",
}
DOTS = ["in/a/../b.txt", "in/./b.txt", "in/.."]


def test_odd_keys_become_clean_paths_and_are_downloaded(odd: Bucket, alice: User, as_alice: Client) -> None:
    for key in ODD:
        odd.write(key, key.encode())
    assert run_import("in/")[0] == 0
    assert {file.key: path_of(file) for file in File.objects.all()} == ODD
    assert all(file.normalized_name == normalize_for_search(file.name) for file in File.objects.all())
    for file in File.objects.all():
        response = as_alice.get(f"/files/{file.permanent_id}/download")
        with urllib.request.urlopen(response["Location"]) as download:
            assert download.read() == file.key.encode()


def test_keys_that_browsers_cannot_request_are_refused(odd: Bucket, alice: User) -> None:
    for key in [*DOTS, "in/good.txt"]:
        odd.write(key, b"odd")
    status, output = run_import("in/")
    assert (status, File.objects.get().name) == (1, "good.txt")
    assert all(f"rejected: {key}: " in output for key in DOTS)
    assert {finding.key for finding in Finding.objects.all()} == set(DOTS)
    assert Report.objects.get().outcome == RunOutcome.DIFFERENCES


def test_keys_that_become_one_folder_share_it(odd: Bucket, alice: User) -> None:
    for key in ("in/a/1.txt", "in/a\u200b/1.txt", "in/ a /2.txt"):
        odd.write(key, b"x")
    run_import("in/")
    assert sorted(path_of(file) for file in File.objects.all()) == ["a/1.txt", "a/1.txt", "a/2.txt"]
    assert Folder.objects.count() == 1


def test_a_placeholder_becomes_a_folder_once(odd: Bucket, alice: User) -> None:
    odd.write("in/empty/", b"")
    odd.write("in/empty/below/", b"")
    odd.write("in/not empty/", b"has bytes")
    assert import_stats("in/")["empty_folders"] == 2
    assert set(Folder.objects.values_list("name", "parent__name")) == {("empty", None), ("below", "empty")}
    trash_folder(Folder.objects.get(name="empty"), by=alice)
    run_import("in/")
    assert not Folder.objects.living().exists()


# --- refusals and errors ------------------------------------------------------------------------


def test_reserved_prefix_is_refused(photos: Bucket, alice: User) -> None:
    for prefix in ("f/", "f/0", "p/x", "quarantine/", "manifests/2026", "amalga.json"):
        status, output = run_import(prefix)
        assert (status, File.objects.count()) == (2, 0)
        assert "reserved for Amalga" in output


def test_empty_prefix_imports_all_but_reserved_keys(photos: Bucket, alice: User, small_batches: None) -> None:
    for folder in ("f", "p", "quarantine", "manifests"):
        for _time in range(7):
            photos.write(f"{folder}/{uuid4().hex}", b"ours")
    photos.write("final.txt", b"not ours")
    summary = import_stats("")
    assert (summary["files"], summary["own"] > 0) == (26, True)
    assert not File.objects.filter(key__regex=r"^(f|p|quarantine|manifests)/|amalga").exists()


def test_owner_who_is_unknown_or_cannot_upload_is_refused(photos: Bucket, charlie: User) -> None:
    for who in ("nobody", "charlie", "no\udcff"):
        status, output = run_import("photos/", owner=who)
        assert (status, File.objects.count()) == (2, 0)
        assert f"“{who}”" in output


def test_a_bucket_of_another_database_is_refused(photos: Bucket, alice: User) -> None:
    s3.write_marker(uuid4())
    assert run_import("photos/")[0] == 2
    assert run_import("photos/", apply=False)[0] == 2
    assert not File.objects.exists()


def test_prefix_without_objects_is_reported(photos: Bucket, alice: User) -> None:
    status, output = run_import("phtos/")
    assert status == 2
    assert "“phtos/”" in output


def test_exceeded_quota_is_reported_and_does_not_stop_the_import(
    photos: Bucket, alice: User, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 100
    status, output = run_import("photos/")
    assert (status, File.objects.count()) == (0, 25)
    assert "quota used bytes: 300\nquota bytes: 100\n" in output


def test_refused_types_are_not_imported(photos: Bucket, alice: User, settings: Settings) -> None:
    settings.UPLOAD_REFUSED_TYPES = [".exe", "video/*"]
    refused = ["game.EXE", "game.exe.", "game.exe::$DATA", ".exe", "clip.mp4", "clip.mp4. ."]
    for name in refused:
        photos.write(f"photos/{name}", b"MZ")
    assert import_stats("photos/")["refused"] == len(refused)


def test_unavailable_database_is_one_sentence(photos: Bucket, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_error(*_: Any, **__: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(User.objects, "filter", raise_error)
    status, output = run_import("photos/")
    assert status == 1
    assert "The database is unavailable" in output


def test_unavailable_storage_is_one_sentence(photos: Bucket, alice: User, settings: Settings) -> None:
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    s3.reset()
    status, output = run_import("photos/")
    settings.S3_ENDPOINT = photos.address.endpoint
    s3.reset()
    assert status == 1
    assert "Run this command again" in output


# --- interrupted and concurrent runs ------------------------------------------------------------


def test_killed_run_is_continued(
    photos: Bucket, alice: User, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, notes = imports._note, []

    def interrupt_second(*args: Any) -> imports.ImportProgress:
        notes.append(note(*args))
        if len(notes) == 2:
            raise KeyboardInterrupt
        return notes[-1]

    monkeypatch.setattr(imports, "_note", interrupt_second)
    assert run_import("photos/", "--parallel", "1")[0] == 1
    monkeypatch.setattr(imports, "_note", note)
    stopped = Report.objects.get()
    assert (stopped.outcome, stopped.cursor) == (RunOutcome.STOPPED, "photos/0/pic 09.jpg")
    assert is_consistent()
    summary = import_stats("photos/")
    assert (summary["after"], summary["objects"]) == (stopped.cursor, 15)
    assert File.objects.count() == 25
    assert is_consistent()
    assert import_stats("photos/")["objects"] == 25


def test_concurrent_imports_import_objects_once(photos: Bucket, alice: User, bob: User, small_batches: None) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = [step.stats for step in pool.map(in_a_thread, [alice, bob])]
    assert [(stats.objects, stats.files + stats.known) for stats in done] == [(25, 25)] * 2
    assert sum(stats.files for stats in done) == File.objects.count() == 25
    assert is_consistent()


def in_a_thread(owner: User) -> imports.ImportProgress:
    try:
        return list(imports.import_objects(imports.ImportPlan(prefix="photos/", owner=owner)))[-1]
    finally:
        connection.close()


def test_row_rejected_by_the_database_does_not_stop_the_import(
    photos: Bucket, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_rows, "part_size_for", lambda size, **_: 0 if size == 7 else 16)
    summary = import_stats("photos/")
    assert (summary["files"], summary["refused"]) == (24, 1)
    assert Finding.objects.get().key == "photos/0/pic 07.jpg"
    assert is_consistent()


# --- ownership of objects -----------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "stays"), [([], True), (["--adopt"], False)])
def test_purge_keeps_the_object_unless_it_was_adopted(
    photos: Bucket, alice: User, arguments: list[str], stays: bool
) -> None:
    run_import("photos/", *arguments)
    file = File.objects.get(key="photos/1/pic 12.jpg")
    actions.trash_file(file, by=alice)
    File.objects.filter(pk=file.pk).update(purge_after=MODIFIED)
    sweep()
    assert not File.objects.filter(pk=file.pk).exists()
    assert (file.key in photos.objects()) is stays
    assert is_consistent()
