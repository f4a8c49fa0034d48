"""Runs of fsck: by prefix, resumed, concurrent and refused."""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone

from tests.support.factories import database_rows
from tests.support.fsck_runs import LONG_AGO, findings, key, run_fsck, stored
from tests.support.stores import Bucket
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import (
    Report,
    RunOutcome,
)  # fmt: skip
from uploads.s3 import bucket_listing
from uploads.services.fsck import RunObserver, Scope, diff, fsck, lines

# --- prefixes and --resume --------------------------------------------------------------------


def test_runs_by_prefix_add_up_to_the_full_run(alice: User, marked: Bucket) -> None:
    files = [stored(alice, marked, bytes([number])) for number in range(20)]
    for file in files[::7]:
        marked.delete(file.key)
    run_fsck()
    expected, counts = findings(), []
    together: list[tuple[str, str]] = []
    for digit in "0123456789abcdef":
        run_fsck(f"--prefix=f/{digit}")
        together += findings()
        counts.append(Report.objects.all()[0].summary["rows"]["count"])
    assert sorted(together) == expected
    assert sum(counts) == 20


def test_run_stopped_by_an_outage_continues_where_it_was(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((stored(alice, marked, bytes([number])) for number in range(12)), key=lambda file: file.key)
    for file in (files[1], files[10]):
        marked.delete(file.key)
    listing = s3.list_objects

    def breaks_off(prefix: str, **kwargs: Any) -> Iterator[s3.ListingPage]:
        yield next(listing(prefix, **kwargs))
        raise StorageUnavailable("ListObjectsV2: 500")

    monkeypatch.setattr("uploads.s3.bucket_listing.PAGE_KEYS", 4)
    monkeypatch.setattr(lines, "BATCH_PAGES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(s3, "list_objects", breaks_off)
        assert run_fsck().status == 1
    report = Report.objects.get()
    assert (report.outcome, report.cursor) == (RunOutcome.STOPPED, files[4].key)
    assert findings() == [("missing", files[1].key)]
    code, out, _errors = run_fsck("--resume")
    assert code == 1
    assert f"since: {files[4].key}" in out
    assert findings() == [("missing", files[1].key), ("missing", files[10].key)]
    assert Report.objects.get().outcome == RunOutcome.DIFFERENCES
    assert run_fsck("--resume").status == 2


def test_killed_run_is_continued(alice: User, marked: Bucket) -> None:
    files = sorted((stored(alice, marked, bytes([number])) for number in range(3)), key=lambda file: file.key)
    marked.delete(files[2].key)
    report = Report.objects.create(command="fsck", cursor=files[0].key)
    assert run_fsck("--resume").status == 2  # it may still be running
    Report.objects.filter(pk=report.pk).update(ended_at=timezone.now() - LONG_AGO)
    assert run_fsck("--resume").status == 1
    assert Report.objects.get().summary["rows"]["count"] == 2


def compared(_number: int) -> Report:
    try:
        return fsck(Scope("", grace=0), RunObserver())
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_concurrent_runs_find_the_same(alice: User, marked: Bucket) -> None:
    for number in range(30):
        file = stored(alice, marked, bytes([number]))
        if number % 10 == 0:
            marked.delete(file.key)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(compared, range(2))
    assert first.summary["rows"] == second.summary["rows"]
    assert first.findings.count() == second.findings.count() == 3


# --- refused and stopped runs -----------------------------------------------------------------


@pytest.mark.parametrize("marker", [None, uuid.uuid4()])
def test_foreign_bucket_is_not_compared(alice: User, bucket: Bucket, marker: uuid.UUID | None) -> None:
    stored(alice, bucket)
    bucket.mark(marker) if marker else bucket.unmark()
    assert run_fsck().status == 2
    assert Report.objects.get().outcome == RunOutcome.REFUSED
    assert "bucket" in Report.objects.get().summary["reason"]


def test_an_empty_database_over_a_full_bucket_is_refused(marked: Bucket) -> None:
    assert run_fsck().status == 0
    marked.write(key(1), b"x")
    assert run_fsck().status == 2
    assert run_fsck("--allow-empty-database").status == 1
    assert findings() == [("orphan", key(1))]


def test_a_listing_out_of_order_is_refused(alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        stored(alice, marked, key=key(number))
    read = bucket_listing._parse_page

    def backwards(text: str) -> tuple[s3.ListingPage, str]:
        page, token = read(text)
        return s3.ListingPage(page.keys[::-1], page.sizes, page.etags, page.moments), token

    monkeypatch.setattr(bucket_listing, "_parse_page", backwards)
    assert run_fsck().status == 2
    assert Report.objects.get().outcome == RunOutcome.REFUSED


def test_unavailable_database_is_reported_in_one_sentence(marked: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "read_block", lambda *_args, **_kwargs: (_ for _ in ()).throw(OperationalError("gone")))
    with pytest.raises(CommandError, match="database is unavailable") as error:
        call_command("fsck", stdout=io.StringIO())
    assert error.value.returncode == 1
    assert Report.objects.get().outcome == RunOutcome.STOPPED


def test_no_thread_is_left_behind(alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(alice, marked)
    monkeypatch.setattr(diff, "read_block", lambda *_args, **_kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run_fsck().status == 1
    for thread in threading.enumerate():
        if thread.name == "fsck-listing":
            thread.join(5)
            assert not thread.is_alive()


def test_json_is_one_document_with_the_findings_and_the_totals(alice: User, marked: Bucket) -> None:
    marked.delete(stored(alice, marked).key)
    code, out, _errors = run_fsck("--json")
    document = json.loads(out)
    assert code == 1
    assert [finding["kind"] for finding in document["findings"]] == ["missing"]
    assert (document["in_sync"], document["totals"]) == (False, {"missing": 1})


def test_the_last_hundred_reports_are_kept(marked: Bucket) -> None:
    Report.objects.bulk_create([Report(command="fsck") for _ in range(105)] + [Report(command="verify")])
    run_fsck()
    assert Report.objects.filter(command="fsck").count() == 100
    assert Report.objects.filter(command="verify").count() == 1


def test_nothing_is_written_but_the_report(alice: User, marked: Bucket) -> None:
    marked.delete(stored(alice, marked).key)
    marked.write(key(1), b"x")
    before, objects_before = database_rows(), marked.objects()
    run_fsck()
    after = database_rows()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"uploads.Report", "uploads.Finding"} | ({"uploads.Heartbeat"} & changed)
    assert marked.objects() == objects_before


def test_outage_during_the_recheck_leaves_the_batch_to_the_next_run(
    alice: User, marked: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        marked.delete(stored(alice, marked, bytes([number])).key)
    with monkeypatch.context() as patch:
        patch.setattr(
            s3, "head", lambda *_args, **_kwargs: (_ for _ in ()).throw(StorageUnavailable("HeadObject: 500"))
        )
        assert run_fsck().status == 1
    assert (Report.objects.get().outcome, findings()) == (RunOutcome.STOPPED, [])
    assert run_fsck("--resume").status == 1
    assert len(findings()) == 20


@pytest.mark.parametrize("args", [["--min-age=-1"], ["--min-age=nan"], ["--min-age=1e300"], ["--prefix=" + "f" * 1001],
                                  ["--storage=nowhere"], ["--prefix=\0"]], ids=str)  # fmt: skip
def test_invalid_arguments_are_rejected(marked: Bucket, args: list[str]) -> None:
    with pytest.raises(CommandError) as error:
        call_command("fsck", *args, stdout=io.StringIO(), stderr=io.StringIO())
    assert error.value.returncode == 2
    assert not Report.objects.exists()
