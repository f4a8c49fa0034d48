"""A wrong bucket in the settings: missing objects prove nothing, and no row or object is lost."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from tests.support import factories, storage_proxies
from tests.support.commands import run_command
from tests.support.stores import Bucket
from tests.support.two_stores import second_bucket
from tests.support.upload_client import UploadClient
from uploads import services
from uploads.errors import StorageUnavailable
from uploads.management.commands import verify as verify_command
from uploads.models import ChecksumStatus, File, Preview, PreviewKind, Report, RunOutcome, State
from uploads.models.querysets import seconds_from_now
from uploads.s3 import RateLimiter
from uploads.services import task_queue, verify
from uploads.services.sweep import sweep
from uploads.services.verify import Run, Selection
from uploads.services.verify.fixity import FixityVerdict

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes
PAST = seconds_from_now(-3600)

pytestmark = [pytest.mark.usefixtures("small_parts"), pytest.mark.slow]


@pytest.fixture(params=["another's", "nobody's"])
def wrong(request: pytest.FixtureRequest, bucket: Bucket) -> Bucket:
    other = second_bucket(bucket.address)
    if request.param == "another's":
        other.mark(uuid4())
    return other


@contextmanager
def named(bucket: Bucket, settings: Settings) -> Iterator[None]:
    """Use this bucket as if AWS_STORAGE_BUCKET_NAME named it."""
    right, settings.S3_BUCKET = settings.S3_BUCKET, bucket.name
    yield
    settings.S3_BUCKET = right


# --- sweep --------------------------------------------------------------------------------------


def create_overdue_files(alice: User, bucket: Bucket) -> None:
    """Create one row of each kind that a sweep acts on, with its object."""
    factories.create_file(alice, b"due", bucket=bucket, state=State.TRASHED, purge_after=PAST)
    factories.create_file(alice, b"overdue", bucket=bucket, state=State.UPLOADING, expires_at=PAST)
    factories.create_file(alice, b"going", bucket=bucket, state=State.DELETING)
    finished = factories.create_file(alice, BODY, bucket=bucket, state=State.COMPLETING, part_size=10, lease_until=PAST)
    File.objects.filter(pk=finished.pk).update(multipart_id="completed", checksum="x")


def test_a_sweep_leaves_every_row_and_object(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    create_overdue_files(alice, bucket)
    before, objects = list(File.objects.order_by("pk").values()), bucket.objects()
    with named(wrong, settings):
        code, _output, errors = run_command("sweep")
    assert code == 2
    assert "marker" in errors
    assert "\n" not in errors
    assert (list(File.objects.order_by("pk").values()), bucket.objects()) == (before, objects)
    assert run_command("sweep").status == 0
    assert not File.objects.exclude(state=State.AVAILABLE).exists()


def test_sweep_with_nothing_to_do_succeeds(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    factories.create_file(alice, bucket=bucket)
    with named(wrong, settings):
        assert run_command("sweep").status == 0


def test_unfinished_previews_are_kept(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    file = factories.create_file(alice, bucket=bucket, state=State.TRASHED)
    Preview.objects.create(file=file, kind=PreviewKind.EXCERPT, lease_until=PAST)
    with named(wrong, settings):
        assert run_command("sweep").status == 2
    assert Preview.objects.count() == 1


def test_only_the_wrong_bucket_is_not_swept(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    at = wrong.address
    settings.SECONDARY_S3 = {
        "name": "old", "bucket": at.bucket, "endpoint": at.endpoint, "region": at.region, "addressing": "path",
        "checksums": at.checksums, "access_key_id": at.key, "secret_access_key": at.secret,
    }  # fmt: skip
    own, foreign = (factories.create_file(alice, state=State.DELETING, store=store) for store in ("", "old"))
    refusals: list[str] = []
    assert sweep(on_refusal=refusals.append)["erased"] == 1
    assert len(refusals) == 1
    assert [file.pk for file in File.objects.all()] == [foreign.pk] != [own.pk]


@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "page 200", "broken"])
def test_bucket_without_marker_stays_unchanged(alice: User, bucket: Bucket, settings: Settings, fault: str) -> None:
    create_overdue_files(alice, bucket)
    objects = bucket.objects()
    with storage_proxies.proxy_of_app(settings, bucket) as proxy:
        proxy.rules["get"] = storage_proxies.FAULTS[fault]
        assert run_command("sweep").status == (2 if fault == "page 200" else 1)
    assert (File.objects.count(), bucket.objects()) == (4, objects)
    assert File.objects.filter(state=State.COMPLETING).exists()
    assert run_command("sweep").status == 0
    assert not File.objects.exclude(state=State.AVAILABLE).exists()


# --- uploads ----------------------------------------------------------------------------


def test_finish_of_multipart_upload_in_wrong_bucket_is_not_410(
    upload_client: UploadClient, bucket: Bucket, wrong: Bucket, settings: Settings
) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    with named(wrong, settings):
        assert upload_client.finish(upload).status_code == 503
    assert upload.row().state == State.COMPLETING
    assert upload_client.finished(upload).state == State.AVAILABLE


def test_multipart_upload_is_not_started_again(
    upload_client: UploadClient, bucket: Bucket, wrong: Bucket, settings: Settings
) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1)
    begun = upload.row().multipart_id
    with named(wrong, settings), pytest.raises(StorageUnavailable):
        services.parts_of(upload.row())
    assert upload.row().multipart_id == begun


def test_canceled_upload_keeps_its_row_until_its_object_is_deleted(
    upload_client: UploadClient, bucket: Bucket, wrong: Bucket, settings: Settings, alice: User
) -> None:
    upload = upload_client.start(b"small")
    upload_client.put(upload)
    File.objects.update(signed_until=PAST)
    with named(wrong, settings):
        services.cancel(upload.row(), by=alice)
    assert upload.row().state == State.DELETING
    assert run_command("sweep").status == 0
    assert (File.objects.count(), bucket.objects()) == (0, {})


# --- verify -------------------------------------------------------------------------------------


def read_files(alice: User, bucket: Bucket, count: int) -> list[File]:
    """Return stored files that are verified already."""
    files = [
        factories.create_file(alice, b"%d" % n, bucket=bucket, checksum_status=ChecksumStatus.VERIFIED)
        for n in range(count)
    ]
    for file in files:
        etag = bucket.client.head_object(Bucket=bucket.name, Key=file.key)["ETag"].strip('"')
        File.objects.filter(pk=file.pk).update(etag=etag)
    return files


@pytest.mark.parametrize("options", [("--metadata-only",), ("--all",)])
def test_verify_in_the_wrong_bucket_marks_nothing_missing(
    alice: User, bucket: Bucket, wrong: Bucket, settings: Settings, options: tuple[str, ...]
) -> None:
    read_files(alice, bucket, 5)
    before = list(File.objects.order_by("pk").values())
    with named(wrong, settings):
        code, _output, errors = run_command("verify", *options)
    assert code == 2
    assert "marker" in errors
    assert list(File.objects.order_by("pk").values()) == before
    assert Report.objects.get().outcome == RunOutcome.REFUSED
    assert run_command("verify", *options).status == 0


def test_verify_succeeds_in_a_bucket_without_a_marker(alice: User, unmarked: Bucket) -> None:
    read_files(alice, unmarked, 2)
    assert run_command("verify", "--all").status == 0


def test_verify_does_not_read_a_bucket_of_another_installation(alice: User, bucket: Bucket) -> None:
    read_files(alice, bucket, 2)
    bucket.mark(uuid4())
    assert run_command("verify", "--all").status == 2
    assert not File.objects.filter(verified_at__isnull=False).exists()


def test_verify_loop_warns_and_continues(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    for file in read_files(alice, bucket, 2):
        File.objects.filter(pk=file.pk).update(checksum_status=ChecksumStatus.UNVERIFIED)
    err = io.StringIO()
    command = verify_command.Command(stderr=err)
    with named(wrong, settings):
        command._verify_claims({"parallel": 1, "max_missing": None}, RateLimiter())
    assert "marker" in err.getvalue()
    assert set(File.objects.values_list("checksum_status", flat=True)) == {ChecksumStatus.UNVERIFIED}


def test_worker_leaves_files_unverified_and_retries_later(
    upload_client: UploadClient, bucket: Bucket, wrong: Bucket, settings: Settings
) -> None:
    files = [str(upload_client.send(body).pk) for body in (b"one", b"two")]
    task_queue.results_of(services.verify_files).delete()
    with named(wrong, settings):
        assert services.verify_files.call(files) == 0
    later = task_queue.results_of(services.verify_files).get()
    assert later.args_kwargs["args"] == [files, [], 1]
    assert set(File.objects.values_list("checksum_status", flat=True)) == {ChecksumStatus.UNVERIFIED}
    assert services.verify_files.call(files) == 2


def test_too_many_missing_files_stop_a_run(alice: User, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "SAVE_SECONDS", 1e9)  # all at once
    files = read_files(alice, bucket, 13)
    for file in files[:11]:
        bucket.delete(file.key)
    code, _output, errors = run_command("verify", "--metadata-only")
    assert (code, "At least 11 files are missing" in errors) == (2, True)
    assert not File.objects.filter(checksum_status=ChecksumStatus.MISSING).exists()
    assert run_command("verify", "--metadata-only", "--max-missing", "10").status == 2
    assert run_command("verify", "--metadata-only", "--max-missing", "11").status == 1
    assert File.objects.filter(checksum_status=ChecksumStatus.MISSING).count() == 11
    bucket.delete(files[11].key)  # files already known as missing don't count
    assert run_command("verify", "--metadata-only").status == 1
    assert File.objects.filter(checksum_status=ChecksumStatus.MISSING).count() == 12


def test_run_stops_after_a_few_mismatches(alice: User, bucket: Bucket) -> None:
    for file in read_files(alice, bucket, 13):
        bucket.delete(file.key)
    assert run_command("verify", "--metadata-only").status == 2
    assert File.objects.filter(checksum_status=ChecksumStatus.MISSING).count() <= verify.MIN_ALLOWED_MISSING


def test_up_to_one_percent_of_many_files_can_be_missing() -> None:
    run = Run(Selection(iter(()), total=1_200))
    lost = [FixityVerdict(File(checksum_status=ChecksumStatus.VERIFIED), ChecksumStatus.MISSING) for _ in range(13)]
    run._refuse_too_many(lost[:12])
    with pytest.raises(verify.TooManyMissing, match="more than the limit of 12"):
        run._refuse_too_many(lost[12:])
