"""fsck finds every difference between bucket and database, and nothing else."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from tests.support.factories import create_file
from tests.support.fsck_runs import LONG_AGO, findings, key, run_fsck, skipped, stored
from tests.support.stores import Bucket
from uploads import s3
from uploads.models import (
    ChecksumStatus,
    File,
    Finding,
    FindingKind,
    Heartbeat,
    Installation,
    Origin,
    Preview,
    PreviewKind,
    PreviewState,
    Report,
    State,
)  # fmt: skip
from uploads.services.fsck import diff, lines


def test_rows_and_objects_in_sync_have_equal_digests(alice: User, marked: Bucket) -> None:
    files = [stored(alice, marked, body) for body in (b"", b"a", b"bb", b"ccc")]
    code, out, _errors = run_fsck()
    assert code == 0
    assert "in sync: yes\n" in out
    lines = "".join(sorted(f"{file.key}\t{file.size}\t{file.etag}\n" for file in files))
    assert out.count(hashlib.sha256(lines.encode()).hexdigest()) == 2
    assert Report.objects.get().summary["rows"] == Report.objects.get().summary["objects"]
    assert Heartbeat.objects.last_of("fsck") is not None


def test_missing_objects_are_reported_and_rows_stay(alice: User, marked: Bucket) -> None:
    files = [stored(alice, marked, bytes([number])) for number in range(9)]
    for file in files[:3]:
        marked.delete(file.key)
    before = list(File.objects.order_by("pk").values())
    code, out, _errors = run_fsck()
    assert code == 1
    assert findings() == sorted((FindingKind.MISSING, file.key) for file in files[:3])
    assert list(File.objects.order_by("pk").values()) == before
    assert all(str(file.pk) in out for file in files[:3])


def test_orphans_are_reported(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    for name in (key(1), "p/" + "2" * 32, "f/what is this"):
        marked.write(name, b"x")
    assert run_fsck().status == 1
    assert findings() == [("foreign", "f/what is this"), ("orphan", key(1)), ("orphan", "p/" + "2" * 32)]


def test_recent_rows_and_objects_are_skipped(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    marked.write(key(1), b"x")
    create_file(alice, b"no object")
    assert run_fsck(grace=3600).status == 0
    assert Report.objects.get().summary["skipped"] == {"young": 2}
    assert run_fsck().status == 1


def test_changed_object_of_the_same_size_is_found_by_etag(alice: User, marked: Bucket) -> None:
    file, longer = stored(alice, marked, b"hello"), stored(alice, marked, b"hello")
    marked.write(file.key, b"jello")
    marked.write(longer.key, b"hello, world")
    assert run_fsck().status == 1
    assert findings() == sorted([("etag_mismatch", file.key), ("size_mismatch", longer.key)])
    detail = Finding.objects.get(kind="etag_mismatch").detail
    assert detail["row"]["etag"] == file.etag != detail["object"]["etag"]


def test_digests_differ_by_exactly_the_findings(alice: User, marked: Bucket) -> None:
    intact, missing = stored(alice, marked), stored(alice, marked)
    marked.delete(missing.key)
    run_fsck()
    summary = Report.objects.get().summary
    line = {file.key: f"{file.key}\t{file.size}\t{file.etag}\n" for file in (intact, missing)}
    assert summary["objects"]["sha256"] == hashlib.sha256(line[intact.key].encode()).hexdigest()
    assert summary["rows"]["sha256"] == hashlib.sha256("".join(line[key] for key in sorted(line)).encode()).hexdigest()


@pytest.mark.parametrize("block", [1, 2, 7])
def test_block_size_does_not_change_the_result(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    files = [stored(alice, marked, bytes([number])) for number in range(12)]
    for file in files[::5]:
        marked.delete(file.key)
    for number in range(3):
        marked.write(key(number), b"x")
    marked.write("f/" + "f" * 32, b"last")
    run_fsck()
    expected, report = findings(), Report.objects.first()
    monkeypatch.setattr("uploads.services.fsck.lines.read_block.__kwdefaults__", {"limit": block})
    monkeypatch.setattr("uploads.s3.bucket_listing.PAGE_KEYS", max(1, block - 1))
    monkeypatch.setattr(lines, "BATCH_PAGES", 1)
    run_fsck()
    again = Report.objects.first()
    assert report
    assert again
    assert findings() == expected
    assert [again.summary[side] for side in ("rows", "objects")] == [
        report.summary[side] for side in ("rows", "objects")
    ]


# --- no differences ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.UPLOADING, State.COMPLETING, State.DELETING])
def test_row_in_an_intermediate_state_is_no_difference(alice: User, marked: Bucket, state: State) -> None:
    create_file(alice, bucket=marked, state=state)
    create_file(alice, state=state)
    assert run_fsck(grace=3600).status == 0
    assert skipped() == {"moving": 1}


def test_files_in_the_trash_are_compared_like_others(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked, state=State.TRASHED, purge_after=timezone.now() + LONG_AGO)
    assert run_fsck().status == 0
    assert Report.objects.get().summary["rows"]["count"] == 1
    marked.delete(file.key)
    run_fsck()
    assert findings() == [("missing", file.key)]


def test_file_uploaded_during_the_run_is_no_difference(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows were read before the upload; the recheck sees both row and object."""
    stored(alice, marked)
    block = lines.read_block
    uploaded: list[File] = []

    def read_then_upload(*args: Any, **kwargs: Any) -> lines.Block:
        read = block(*args, **kwargs)
        if not uploaded:
            uploaded.append(stored(alice, marked, key=key(7)))
        return read

    monkeypatch.setattr(diff, "read_block", read_then_upload)
    marked.write(key(7), b"hello")
    assert run_fsck().status == 0
    assert skipped() == {"changed": 1}


def test_file_deleted_before_the_recheck_is_no_difference(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = stored(alice, marked, state=State.TRASHED, purge_after=timezone.now() + LONG_AGO)
    marked.delete(file.key)
    head = s3.head

    def head_after_delete(*args: Any, **kwargs: Any) -> s3.ObjectInfo | None:
        File.objects.discard(owner_id=alice.pk)
        return head(*args, **kwargs)

    # other threads do not see the open transaction of a test
    monkeypatch.setattr("uploads.services.fsck.diff.ThreadPoolExecutor", Inline)
    monkeypatch.setattr(s3, "head", head_after_delete)
    assert run_fsck().status == 0


class Inline:
    """A thread pool that runs everything in the calling thread."""

    def __init__(self, *_: Any) -> None:
        self.map = map

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: Any) -> None:
        return


def name_old_store(settings: Settings) -> None:
    settings.SECONDARY_S3 = {
        "name": "old", "bucket": "amalga-old", "endpoint": settings.S3_ENDPOINT, "region": "", "addressing": "path",
        "checksums": "off", "access_key_id": "", "secret_access_key": "",
    }  # fmt: skip


def test_rows_of_an_unknown_store_are_refused(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    lost = stored(alice, marked)
    File.objects.filter(pk=lost.pk).update(store="old")
    assert run_fsck().status == 2
    assert run_fsck("--prefix", lost.key).status == 2
    assert "named “old”" in Report.objects.latest("pk").summary["reason"]


def test_object_of_a_file_in_another_store_is_no_difference(alice: User, marked: Bucket, settings: Settings) -> None:
    name_old_store(settings)
    stored(alice, marked)
    File.objects.filter(pk=stored(alice, marked).pk).update(store="old")
    assert run_fsck().status == 0
    assert skipped() == {"elsewhere": 1}


def test_restored_object_of_a_missing_file_is_reported(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked)
    marked.delete(file.key)
    File.objects.filter(pk=file.pk).update(checksum_status=ChecksumStatus.MISSING)
    assert run_fsck().status == 0
    assert skipped() == {"marked": 1}
    marked.write(file.key, b"hello")
    assert run_fsck().status == 1
    assert findings() == [("stuck", file.key)]


def test_objects_outside_our_prefixes_are_ignored(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    for name in ("quarantine/f/x", "manifests/a.gz", "backup.tar"):
        marked.write(name, b"x")
    assert run_fsck().status == 0


# --- imported files, previews, multipart uploads ----------------------------------------------

IMPORTED = [r"photos/a\b.jpg", "photos/a//b.jpg", "photos/tab\there", "photos/new\nline", "photos/ü é.jpg", "zz", "a"]


def test_imported_files_are_compared_under_any_key(alice: User, digest_bucket: Bucket) -> None:
    s3.write_marker(Installation.objects.own_id())
    files = [stored(alice, digest_bucket, key=name, origin=Origin.IMPORTED) for name in IMPORTED]
    files.append(stored(alice, digest_bucket))
    digest_bucket.write("photos/not ours", b"x")
    assert run_fsck().status == 0
    assert Report.objects.get().summary["objects"]["count"] == len(files)
    for file in files:
        digest_bucket.delete(file.key)
    run_fsck()
    assert findings() == sorted(("missing", file.key) for file in files)


def test_previews_are_compared_by_size(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked)
    facts = {"file": file, "state": PreviewState.READY, "size": 5, "lease_until": timezone.now() - LONG_AGO}
    thumbnail = Preview.objects.create(kind=PreviewKind.THUMBNAIL, **facts)
    picture = Preview.objects.create(kind=PreviewKind.PICTURE, **facts)
    marked.write(thumbnail.key, b"small")
    marked.write(picture.key, b"small")
    assert run_fsck().status == 0
    assert Report.objects.get().summary["rows"]["count"] == 3
    marked.delete(thumbnail.key)
    marked.write(picture.key, b"larger")
    run_fsck()
    assert findings() == sorted([("missing", thumbnail.key), ("size_mismatch", picture.key)])


def test_orphaned_multipart_uploads_are_reported(alice: User, marked: Bucket) -> None:
    moving, done = create_file(alice, state=State.UPLOADING), stored(alice, marked)
    ids = {}
    for name in (moving.key, done.key, key(1), "others/own"):
        ids[name] = marked.client.create_multipart_upload(Bucket=marked.name, Key=name)["UploadId"]
    File.objects.filter(pk=moving.pk).update(multipart_id=ids[moving.key])
    assert run_fsck(grace=3600).status == 0
    run_fsck()
    assert findings() == sorted([("orphaned_multipart", done.key), ("orphaned_multipart", key(1))])
    File.objects.filter(pk=moving.pk).update(multipart_id="another")
    run_fsck()
    assert ("orphaned_multipart", moving.key) in findings()


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        (State.COMPLETING, {"lease_until": timezone.now() - LONG_AGO}),
        (State.UPLOADING, {"expires_at": timezone.now() - LONG_AGO}),
        (State.TRASHED, {"purge_after": timezone.now() - LONG_AGO}),
        (State.DELETING, {"updated_at": timezone.now() - LONG_AGO}),
    ],
)
def test_stuck_uploads_are_reported(alice: User, marked: Bucket, state: State, facts: dict[str, Any]) -> None:
    late = stored(alice, marked, state=state)
    File.objects.filter(pk=late.pk).update(**facts)
    create_file(alice, state=state)
    assert run_fsck(grace=3600).status == 1
    assert findings() == [("stuck", late.key)]
    assert Finding.objects.get().detail["row"]["state"] == state


# --- everything at once -----------------------------------------------------------------------

# (row, object): expected finding; without a grace period, every pending deletion is stuck
TABLE = {
    ("none", "none"): None, ("none", "same"): "orphan", ("none", "longer"): "orphan",
    ("available", "none"): "missing", ("available", "same"): None, ("available", "other"): "etag_mismatch",
    ("available", "longer"): "size_mismatch",
    ("trashed", "none"): "missing", ("trashed", "same"): None, ("trashed", "other"): "etag_mismatch",
    ("uploading", "none"): None, ("uploading", "other"): None, ("completing", "same"): None,
    ("deleting", "none"): "stuck", ("deleting", "longer"): "stuck",
    ("marked", "none"): None, ("marked", "same"): "stuck", ("marked", "other"): "etag_mismatch",
    ("elsewhere", "none"): None, ("elsewhere", "same"): None,
}  # fmt: skip
BODIES = {"same": b"hello", "other": b"jello", "longer": b"hello, world"}


def test_combinations_of_problems_match_the_table(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    name_old_store(settings)
    shuffled = random.Random(4)
    expected = set()
    for row, object_kind in [*TABLE, *TABLE, *TABLE]:
        name = f"f/{shuffled.getrandbits(128):032x}"
        if row != "none":
            state = State.AVAILABLE if row in {"marked", "elsewhere"} else State(row)
            file = create_file(alice, b"hello", key=name, state=state)
            facts = {"etag": hashlib.md5(b"hello", usedforsecurity=False).hexdigest()}
            facts |= {"checksum_status": ChecksumStatus.MISSING} if row == "marked" else {}
            facts |= {"store": "old"} if row == "elsewhere" else {}
            File.objects.filter(pk=file.pk).update(**facts)
        if object_kind != "none":
            marked.write(name, BODIES[object_kind])
        if kind := TABLE[row, object_kind]:
            expected.add((kind, name))
    monkeypatch.setattr("uploads.services.fsck.lines.read_block.__kwdefaults__", {"limit": 3})
    monkeypatch.setattr("uploads.s3.bucket_listing.PAGE_KEYS", 4)
    monkeypatch.setattr(lines, "BATCH_PAGES", 1)
    File.objects.update(updated_at=timezone.now() - LONG_AGO)
    run_fsck(grace=0)
    assert set(findings()) == expected
    assert skipped()["marked"] == 3
