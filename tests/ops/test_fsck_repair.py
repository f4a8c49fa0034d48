"""fsck --repair repairs the provable findings of an earlier run, and never loses a byte."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tests.support.commands import CommandResult
from tests.support.factories import create_file
from tests.support.fsck_runs import LONG_AGO, key, run_fsck, stored
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite, sha256
from uploads import s3
from uploads.errors import Conflict
from uploads.models import (
    ChecksumStatus,
    Event,
    File,
    Finding,
    Installation,
    Origin,
    Preview,
    PreviewKind,
    PreviewState,
    Report,
    State,
)
from uploads.services.finish import assemble

pytestmark = pytest.mark.slow

BODY = b"0123456789abcdefghijKLM"


def repair(*args: str) -> CommandResult:
    """Run `fsck`, then `fsck --repair` for any number of findings."""
    run_fsck()
    count = Finding.objects.filter(report=Report.objects.first()).count()
    return run_fsck("--repair", f"--max-repairs={count}", *args)


def test_completed_upload_is_published(upload_client: UploadClient, marked: Bucket, small_parts: None) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=composite(upload.pieces))
    assemble(upload.row(), upload.digests)
    File.objects.update(lease_until=timezone.now() - LONG_AGO)
    assert repair().status == 0
    assert upload.row().state == State.AVAILABLE
    assert marked.read(upload.row().key) == BODY
    assert Finding.objects.get().repaired_by == "published"
    assert run_fsck().status == 0


def test_upload_with_missing_parts_is_reopened(upload_client: UploadClient, marked: Bucket, small_parts: None) -> None:
    upload = upload_client.start(BODY)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=composite(upload.pieces))
    File.objects.update(lease_until=timezone.now() - LONG_AGO)
    assert repair().status == 0
    assert upload.row().state == State.UPLOADING


def test_a_missing_object_is_marked_and_unmarked_when_it_is_back(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked, b"hello")
    marked.delete(file.key)
    run_fsck()
    ended = Report.objects.get().ended_at
    assert run_fsck("--repair", "--max-repairs=1").status == 0
    assert (Report.objects.get().ended_at, Report.objects.get().summary["repaired"]) == (ended, 1)
    assert File.objects.get().checksum_status == ChecksumStatus.MISSING
    assert Event.objects.get(action="repair").file_id == file.permanent_id
    assert run_fsck().status == 0
    marked.write(file.key, b"hello")
    assert repair().status == 0
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED


def test_restored_imported_file_is_unverified(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked, key="photos/a.jpg", origin=Origin.IMPORTED, checksum="")
    File.objects.update(checksum_status=ChecksumStatus.MISSING)
    assert repair().status == 0
    assert File.objects.get(pk=file.pk).checksum_status == ChecksumStatus.UNVERIFIED


def test_orphan_is_moved_to_quarantine_unchanged(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked)
    marked.write(key(1), BODY)
    assert repair().status == 0
    assert set(marked.objects()) == {file.key, f"quarantine/{key(1)}"}
    assert marked.read(f"quarantine/{key(1)}") == BODY
    assert run_fsck().status == 0


@pytest.mark.parametrize("point", ["quarantine", "delete"])
def test_killed_repair_is_completed_by_the_next_run(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    stored(alice, marked)
    marked.write(key(1), BODY)
    run_fsck()
    with monkeypatch.context() as patch:
        patch.setattr(s3, point, lambda *_args, **_kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run_fsck("--repair", "--max-repairs=1").status == 1
    assert marked.read(key(1)) == BODY
    assert run_fsck("--repair", "--max-repairs=1").status == 0
    assert marked.read(f"quarantine/{key(1)}") == BODY
    assert key(1) not in marked.objects()


def test_object_with_a_new_row_is_not_repaired(alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row appears between the copy and the deletion."""
    stored(alice, marked)
    marked.write(key(1), b"hello")
    run_fsck()
    set_aside = s3.quarantine

    def add_row_after_copy(item: s3.ObjectInfo, **kwargs: Any) -> str:
        place = set_aside(item, **kwargs)
        stored(alice, marked, key=key(1))
        return place

    monkeypatch.setattr(s3, "quarantine", add_row_after_copy)
    assert run_fsck("--repair", "--max-repairs=1").status == 1
    assert marked.read(key(1)) == b"hello"
    assert Finding.objects.get().repaired_by == ""


def test_object_that_changes_during_repair_is_kept(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(alice, marked)
    marked.write(key(1), b"hello")
    run_fsck()
    set_aside = s3.quarantine

    def overwrite_after_copy(item: s3.ObjectInfo, **kwargs: Any) -> str:
        place = set_aside(item, **kwargs)
        marked.write(key(1), b"jello")
        return place

    monkeypatch.setattr(s3, "quarantine", overwrite_after_copy)
    assert run_fsck("--repair", "--max-repairs=1").status == 1
    assert marked.read(key(1)) == b"jello"


def test_quarantined_copy_keeps_its_checksum(alice: User, digest_bucket: Bucket) -> None:
    s3.write_marker(Installation.objects.own_id())
    stored(alice, digest_bucket)
    digest_bucket.write(key(1), BODY)
    assert repair().status == 0
    copy = s3.head(f"quarantine/{key(1)}")
    assert copy is not None
    assert copy.checksum == sha256(BODY)


def test_object_too_large_to_copy_is_reported_and_stays(alice: User, marked: Bucket) -> None:
    item = s3.ObjectInfo(key(1), 5 * 1024**3 + 1, "e" * 32, timezone.now())
    with pytest.raises(Conflict, match="5 GiB"):
        s3.quarantine(item)


def test_another_object_in_quarantine_is_not_overwritten(alice: User, marked: Bucket) -> None:
    stored(alice, marked)
    marked.write(key(1), b"hello")
    marked.write(f"quarantine/{key(1)}", b"somebody else's")
    code, out, _errors = repair()
    assert code == 1
    assert "exists with other content" in out
    assert marked.read(f"quarantine/{key(1)}") == b"somebody else's"
    assert marked.read(key(1)) == b"hello"


def test_missing_preview_becomes_pending(alice: User, marked: Bucket) -> None:
    preview = Preview.objects.create(
        file=stored(alice, marked), kind=PreviewKind.THUMBNAIL, state=PreviewState.READY, size=5,
        lease_until=timezone.now() - LONG_AGO,
    )  # fmt: skip
    assert repair().status == 0
    preview.refresh_from_db()
    assert preview.state == PreviewState.PENDING


def test_mismatches_and_foreign_keys_are_reported_and_stay(alice: User, marked: Bucket) -> None:
    other, longer = stored(alice, marked), stored(alice, marked)
    marked.write(other.key, b"jello")
    marked.write(longer.key, b"hello, world")
    marked.write("f/foreign", b"x")
    before, rows = marked.objects(), list(File.objects.order_by("pk").values())
    run_fsck()
    assert run_fsck("--repair").status == 1
    assert marked.objects() == before
    assert list(File.objects.order_by("pk").values()) == rows


def test_difference_that_disappeared_is_noted(alice: User, marked: Bucket) -> None:
    file = stored(alice, marked)
    marked.delete(file.key)
    run_fsck()
    marked.write(file.key, b"hello")
    assert run_fsck("--repair", "--max-repairs=1").status == 0
    assert Finding.objects.get().repaired_by == "no longer differs"
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED


# --- refusals ---------------------------------------------------------------------------------


def test_repair_requires_a_complete_run_of_the_last_day(alice: User, marked: Bucket) -> None:
    marked.delete(stored(alice, marked).key)
    assert run_fsck("--repair", "--max-repairs=1").status == 2
    run_fsck()
    assert run_fsck("--repair", "--max-repairs=1", "--prefix=f/0").status == 2
    Report.objects.update(outcome="stopped")
    assert run_fsck("--repair", "--max-repairs=1").status == 2
    Report.objects.update(outcome="differences", ended_at=timezone.now() - timedelta(hours=25))
    assert run_fsck("--repair", "--max-repairs=1").status == 2
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED


def test_repair_of_more_than_a_hundredth_requires_the_number(alice: User, marked: Bucket) -> None:
    for number in range(5):
        marked.delete(stored(alice, marked, bytes([number])).key)
    run_fsck()
    for refused in ([], ["--max-repairs=4"], ["--max-repairs=0"]):
        assert run_fsck("--repair", *refused).status == 2
    assert not File.objects.filter(checksum_status=ChecksumStatus.MISSING).exists()
    assert run_fsck("--repair", "--max-repairs=5").status == 0
    assert File.objects.filter(checksum_status=ChecksumStatus.MISSING).count() == 5


def test_repair_of_up_to_a_hundredth_needs_no_number(alice: User, marked: Bucket) -> None:
    """One of the 100 files in the database is within the limit."""
    files = [stored(alice, marked, bytes([number])) for number in range(2)]
    for _ in range(98):
        create_file(alice)
    marked.delete(files[0].key)
    File.objects.exclude(pk__in=[file.pk for file in files]).update(checksum_status=ChecksumStatus.MISSING)
    run_fsck()
    assert run_fsck("--repair").status == 0


def test_repair_with_an_empty_database_requires_the_number(alice: User, marked: Bucket) -> None:
    marked.write(key(1), b"x")
    run_fsck("--allow-empty-database")
    assert run_fsck("--repair").status == 2
    assert marked.read(key(1)) == b"x"


def test_foreign_bucket_is_not_repaired(alice: User, marked: Bucket) -> None:
    marked.delete(stored(alice, marked).key)
    run_fsck()
    s3.write_marker(uuid.uuid4())
    assert run_fsck("--repair", "--max-repairs=1").status == 2
