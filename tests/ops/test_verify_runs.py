"""Runs of `verify` over many files: metadata only, samples, rates, concurrency, interruption and reports."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from tests.conftest import PROJECT
from tests.faults.processes import environment
from tests.support.commands import run_command
from tests.support.file_rows import create_row
from tests.support.pictures import as_file, two_halves
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite, cut
from tests.support.verification import verify_file
from uploads import actions, s3
from uploads.errors import StorageUnavailable
from uploads.models import ChecksumStatus, File, Finding, FindingKind, Heartbeat, Origin, Report, RunOutcome, State
from uploads.models.querysets import seconds_from_now
from uploads.s3 import RateLimiter, ReadStopped, streams
from uploads.services import verify
from uploads.services.verify import Run, least_recent, unverified_checksums

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes

pytestmark = [pytest.mark.usefixtures("small_parts"), pytest.mark.slow]


def etag_of(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def selected_ids(selected: verify.Selection) -> list[Any]:
    return [file.pk for file in iter(lambda: next(selected.files, None), None)]


def add_files(owner: User, bucket: Bucket, count: int, **facts: Any) -> list[File]:
    """Available files with their objects."""
    rows = [create_row(owner, State.AVAILABLE, **facts) for _ in range(count)]
    for row in rows:
        bucket.write(row.key, b"x")
    File.objects.update(etag=etag_of(b"x"))
    return rows


def findings() -> set[tuple[str, Any]]:
    return set(Finding.objects.values_list("kind", "file_id"))


# --- --metadata-only --------------------------------------------------------------------------


def test_metadata_check_skips_matching_objects(upload_client: UploadClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for body in (BODY, b"small", b""):
        upload_client.send(body)
    monkeypatch.setattr(streams, "stream", lambda *_, **__: pytest.fail("it was read"))
    assert run_command("verify", "--metadata-only", "--json") == (
        0, '{"problems": [], "verified": 0, "corrupted": 0, "missing": 0, "failed": 0, "unchanged": 3}\n', "",
    )  # fmt: skip
    assert set(File.objects.values_list("verified_at", flat=True)) == {None}


def test_metadata_check_downloads_objects_that_differ(upload_client: UploadClient, bucket: Bucket) -> None:
    overwritten, cut_off, gone, other_etag = (upload_client.send(BODY) for _ in range(4))
    bucket.write(overwritten.key, BODY[::-1])
    bucket.write(cut_off.key, BODY[:9])
    bucket.delete(gone.key)
    File.objects.filter(pk=other_etag.pk).update(etag="0" * 32)
    code, out, _errors = run_command("verify", "--metadata-only")
    assert code == 1
    assert out.endswith("verified: 0\ncorrupted: 2\nmissing: 1\nfailed: 0\netag mismatch: 1\n")
    assert findings() == {
        (FindingKind.CORRUPTED, overwritten.pk), (FindingKind.SIZE_MISMATCH, cut_off.pk),
        (FindingKind.MISSING, gone.pk),
        (FindingKind.ETAG_MISMATCH, other_etag.pk),
    }  # fmt: skip
    assert File.objects.get(pk=other_etag.pk).checksum_status == ChecksumStatus.VERIFIED


def test_metadata_check_downloads_files_that_were_missing(upload_client: UploadClient) -> None:
    file = upload_client.send(BODY)
    File.objects.update(checksum_status=ChecksumStatus.MISSING)
    assert run_command("verify", "--metadata-only").status == 0
    file.refresh_from_db()
    assert file.checksum_status == ChecksumStatus.VERIFIED


def test_metadata_check_compares_the_checksums_of_storage(upload_client: UploadClient, digest_bucket: Bucket) -> None:
    file, good = upload_client.send(b"small"), upload_client.send(b"other")
    digest_bucket.client.put_object(Bucket=digest_bucket.name, Key=file.key, Body=b"SMALL", ChecksumAlgorithm="SHA256")
    File.objects.filter(pk=file.pk).update(etag=etag_of(b"SMALL"))
    assert run_command("verify", "--metadata-only", "--json").status == 1
    assert findings() == {(FindingKind.CORRUPTED, file.pk)}
    assert File.objects.get(pk=good.pk).checksum_status == ChecksumStatus.VERIFIED_BY_STORAGE


# --- all and samples --------------------------------------------------------------------------


@pytest.mark.parametrize(("files", "nights"), [(7, 3), (3, 30)])
def test_samples_cover_every_file_in_the_given_nights(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, files: int, nights: int
) -> None:
    monkeypatch.setattr(verify, "BATCH_SIZE", 2)
    add_files(alice, bucket, files)
    unverified = []
    for _night in range(nights):
        assert run_command("verify", "--sample", f"1/{nights}").status == 0
        unverified.append(set(File.objects.filter(verified_at__isnull=True)))
    assert unverified[-1] == set()
    assert Report.objects.filter(scope=f"1/{nights} of all files").count() == nights


def test_never_verified_files_come_first_then_the_least_recent(alice: User, bucket: Bucket) -> None:
    never, recent, old = add_files(alice, bucket, 3)
    File.objects.filter(pk=recent.pk).update(verified_at=seconds_from_now(-10))
    File.objects.filter(pk=old.pk).update(verified_at=seconds_from_now(-1000))
    assert selected_ids(least_recent()) == [never.pk, old.pk, recent.pk]
    assert selected_ids(least_recent(Fraction(2, 3))) == [never.pk, old.pk]


def test_unreadable_file_does_not_count_toward_the_sample(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    files = add_files(alice, bucket, 4)
    first = min(files, key=lambda file: file.pk)
    stream = s3.stream

    def failing_stream(key: str, **options: Any) -> s3.Stream | None:
        if key == first.key:
            raise StorageUnavailable
        return stream(key, **options)

    monkeypatch.setattr(streams, "stream", failing_stream)
    assert run_command("verify", "--sample", "1/2").status == 1
    assert File.objects.filter(verified_at__isnull=False).count() == 2
    assert findings() == {(FindingKind.FAILED, first.pk)}


def test_run_saves_its_findings_in_a_report(upload_client: UploadClient, bucket: Bucket) -> None:
    corrupted, missing = upload_client.send(BODY), upload_client.send(b"small")
    bucket.write(corrupted.key, BODY[::-1])
    bucket.delete(missing.key)
    upload_client.send(b"good")
    assert run_command("verify", "--all").status == 1
    report = Report.objects.get()
    assert (report.command, report.scope, report.outcome) == ("verify", "all files", RunOutcome.DIFFERENCES)
    assert report.summary == {"verified": 1, "corrupted": 1, "missing": 1, "failed": 0, "bytes": len(BODY) + 4}
    assert findings() == {(FindingKind.CORRUPTED, corrupted.pk), (FindingKind.MISSING, missing.pk)}
    assert Heartbeat.objects.last_of("verify") is not None


def test_default_runs_and_single_files_save_no_report(upload_client: UploadClient) -> None:
    file = upload_client.send(BODY)
    run_command("verify")
    run_command("verify", str(file.pk))
    assert not Report.objects.exists()


def test_second_verification_does_not_change_updated_at(upload_client: UploadClient) -> None:
    upload_client.send(BODY)
    run_command("verify", "--all")
    before = File.objects.get()
    run_command("verify", "--all")
    after = File.objects.get()
    assert after.updated_at == before.updated_at
    assert before.verified_at is not None
    assert after.verified_at is not None
    assert after.verified_at > before.verified_at


# --- files that change during a run, imported files ---------------------------------------------


def test_file_deleted_while_it_is_read_is_no_finding(
    upload_client: UploadClient, alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, stream = upload_client.send(BODY), s3.stream

    def stream_of_deleted(key: str, **options: Any) -> s3.Stream | None:
        actions.trash_file(File.objects.get(), by=alice)
        bucket.delete(key)
        return stream(key, **options)

    monkeypatch.setattr(streams, "stream", stream_of_deleted)
    report = Report.objects.create(command="verify")
    counts = Run(selection_of(file), report=report, parallel=1, limiter=run_in_this_thread(monkeypatch)).run()
    assert counts.total() == 0
    assert findings() == set()
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED


def selection_of(file: File) -> verify.Selection:
    return verify.Selection(iter([file]))


def run_in_this_thread(monkeypatch: pytest.MonkeyPatch) -> RateLimiter:
    """Run in the thread of the test, which sees the rows of its transaction."""

    class SameThreadExecutor(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **options: Any) -> Any:
            future = super().submit(lambda: None)
            future.result()
            result: Any = type(future)()
            try:
                result.set_result(fn(*args, **options))
            except Exception as fault:
                result.set_exception(fault)
            return result

    monkeypatch.setattr(verify, "ThreadPoolExecutor", SameThreadExecutor)
    return RateLimiter()


@pytest.mark.parametrize(
    ("body", "kind"), [(as_file(two_halves()), "image/png"), (b"words", "text/plain")], ids=["png", "text"]
)
def test_verify_sets_checksum_and_type_of_an_imported_file(alice: User, bucket: Bucket, body: bytes, kind: str) -> None:
    file = create_row(
        alice, State.AVAILABLE, origin=Origin.IMPORTED, key="photos/a b.png", size=len(body), checksum="",
        checksum_status=ChecksumStatus.UNVERIFIED, etag=etag_of(body),
    )  # fmt: skip
    bucket.write(file.key, body)
    assert run_command("verify", "--all").status == 0
    file.refresh_from_db()
    assert (file.checksum, file.checksum_status) == (composite(cut(body, 10)), ChecksumStatus.VERIFIED)
    assert file.detected_type == kind


def test_overwritten_imported_object_is_corrupted(alice: User, bucket: Bucket) -> None:
    file = create_row(
        alice, State.AVAILABLE, origin=Origin.IMPORTED, key="photos/a", size=5, checksum="",
        checksum_status=ChecksumStatus.UNVERIFIED, etag=etag_of(b"first"),
    )  # fmt: skip
    bucket.write(file.key, b"other")
    assert verify_file(file) == ChecksumStatus.CORRUPTED
    file.refresh_from_db()
    assert (file.checksum, file.checksum_status) == ("", ChecksumStatus.CORRUPTED)


# --- rate, interruption, concurrency ------------------------------------------------------------


def test_rate_limit_applies_to_all_threads_together() -> None:
    limiter = RateLimiter(200_000)
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(limiter.spend, [10_000] * 10))
    assert 0.45 < time.monotonic() - started < 1.5
    assert limiter.bytes == 100_000


def test_slow_rate_uses_small_chunks() -> None:
    assert RateLimiter(100_000).chunk_bytes == 25_000
    assert RateLimiter().chunk_bytes == 1024**2


def test_stopped_run_does_not_count_partially_read_files(upload_client: UploadClient) -> None:
    upload_client.send(BODY)
    limiter = RateLimiter(stop=lambda: limiter.bytes > 0)
    counts = Run(unverified_checksums(), limiter=limiter).run()
    assert counts.total() == 0
    assert File.objects.get().checksum_status == ChecksumStatus.UNVERIFIED
    with pytest.raises(ReadStopped):
        limiter.spend(0)


def test_stopped_limiter_does_not_wait() -> None:
    limiter = RateLimiter(1, stop=lambda: limiter.bytes > 0)
    started = time.monotonic()
    with pytest.raises(ReadStopped):
        limiter.spend(1000)
    assert time.monotonic() - started < 10


@pytest.mark.django_db(transaction=True)
def test_sigterm_stops_the_run_and_keeps_its_results(alice: User, bucket: Bucket) -> None:
    add_files(alice, bucket, 30, size=1, checksum=composite([b"x"]))
    command = [sys.executable, "-W", "error", "manage.py", "verify", "--all", "--rate", "4", "--parallel", "1"]
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not File.objects.filter(verified_at__isnull=False).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "Stopped. Results so far are saved" in errors
    assert "Traceback" not in errors
    verified = File.objects.filter(checksum_status=ChecksumStatus.VERIFIED, verified_at__isnull=False).count()
    assert 0 < verified < 30
    assert out.startswith(f"verified: {verified}\n")
    assert Report.objects.get().outcome == RunOutcome.STOPPED


@pytest.mark.django_db(transaction=True)
def test_concurrent_runs_give_correct_results(alice: User, bucket: Bucket) -> None:
    files = add_files(alice, bucket, 30)
    bucket.write(files[0].key, b"y")

    def run_once(_number: int) -> Any:
        try:
            return Run(least_recent(), parallel=2).run()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for counts in pool.map(run_once, range(2)):
            assert counts["failed"] == counts["missing"] == 0
    assert File.objects.filter(checksum_status=ChecksumStatus.VERIFIED).count() == 29
    assert File.objects.get(checksum_status=ChecksumStatus.CORRUPTED).pk == files[0].pk


def test_unavailable_storage_ends_the_run_with_one_sentence(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_files(alice, bucket, 50)
    requested: list[str] = []

    def fail(key: str = "", **_: Any) -> None:
        requested.append(key)
        raise StorageUnavailable

    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(streams, "stream", fail)
    monkeypatch.setattr(s3, "ping", fail)
    with pytest.raises(CommandError, match="Storage is unavailable"):
        call_command("verify", "--all", stdout=io.StringIO(), stderr=io.StringIO())
    # the files that were queued before the first one failed, each with its attempts, and a ping; not all fifty
    assert len(requested) < 50
    assert len(set(requested)) <= verify.QUEUED_PER_THREAD * 4 + 1  # four at once, by default
    assert Report.objects.get().outcome == RunOutcome.STOPPED


@pytest.mark.parametrize("fault", [OperationalError("gone"), RuntimeError("a bug of ours"), KeyboardInterrupt()])
def test_report_of_an_interrupted_run_is_stopped(
    alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    monkeypatch.setattr(Run, "run", lambda self: (_ for _ in ()).throw(fault))
    with pytest.raises((CommandError, RuntimeError, KeyboardInterrupt)):
        call_command("verify", "--all", stdout=io.StringIO(), stderr=io.StringIO())
    assert Report.objects.get().outcome == RunOutcome.STOPPED


# --- options and output -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [("--all", "--sample", "1/2"), ("--every", "5", "--all"), ("--every", "5", "--metadata-only"),
     ("--metadata-only", "--sample", "1/2")],
)  # fmt: skip
def test_conflicting_options_are_refused(args: tuple[str, ...]) -> None:
    assert run_command("verify", *args).status == 2


@pytest.mark.parametrize(
    "args", [("--sample", "2/1"), ("--sample", "0/3"), ("--sample", "x"), ("--rate", "0"), ("--rate", "5T"),
             ("--parallel", "0"), ("--parallel", "1000"), ("--every", "-1")],
)  # fmt: skip
def test_invalid_options_are_rejected(args: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        call_command("verify", *args)


def test_progress_prints_bytes_and_json_prints_one_object(alice: User, bucket: Bucket) -> None:
    add_files(alice, bucket, 2)
    out, err = io.StringIO(), io.StringIO()
    call_command("verify", "--all", "--json", stdout=out, stderr=err)
    assert json.loads(out.getvalue())["verified"] == 2
    assert err.getvalue() == ""


def test_totals_come_from_stored_statistics(alice: User, bucket: Bucket) -> None:
    add_files(alice, bucket, 3)
    selected = least_recent()
    assert (selected.total, selected.total_bytes) == (3, 3)
