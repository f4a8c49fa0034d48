"""A wrong setting names another bucket: what is not there says nothing, and no row and no object is lost over it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests import shelf
from tests.senders import Sender
from tests.stores import Bucket
from tests.two_stores import second_bucket
from uploads import services
from uploads.errors import StoreUnavailable
from uploads.models import File, Look, Preview, State
from uploads.models.queries import in_seconds

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes
PAST = in_seconds(-3600)

pytestmark = pytest.mark.usefixtures("small_parts")


@pytest.fixture(params=["another's", "nobody's"])
def wrong(request: pytest.FixtureRequest, bucket: Bucket) -> Bucket:
    other = second_bucket(bucket.address)
    if request.param == "another's":
        other.mark(uuid4())
    return other


@contextmanager
def named(bucket: Bucket, settings: Settings) -> Iterator[None]:
    """As if AWS_STORAGE_BUCKET_NAME said so."""
    right, settings.S3_BUCKET = settings.S3_BUCKET, bucket.name
    yield
    settings.S3_BUCKET = right


def run(*args: str) -> tuple[int, str]:
    """Exit status, and what was said at the end."""
    try:
        call_command(*args, stdout=io.StringIO(), stderr=io.StringIO())
    except CommandError as error:
        return error.returncode, str(error)
    return 0, ""


# --- sweep --------------------------------------------------------------------------------------


def all_that_is_due(alice: User, bucket: Bucket) -> None:
    """One row of each kind that a sweep would do something about, with its object."""
    shelf.add_file(alice, b"due", bucket=bucket, state=State.TRASHED, purge_after=PAST)
    shelf.add_file(alice, b"overdue", bucket=bucket, state=State.UPLOADING, expires_at=PAST)
    shelf.add_file(alice, b"going", bucket=bucket, state=State.DELETING)
    finished = shelf.add_file(alice, BODY, bucket=bucket, state=State.COMPLETING, part_size=10, lease_until=PAST)
    File.objects.filter(pk=finished.pk).update(multipart_id="completed", checksum="x")


def test_a_sweep_leaves_every_row_and_object(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    all_that_is_due(alice, bucket)
    before, objects = list(File.objects.order_by("pk").values()), bucket.objects()
    with named(wrong, settings):
        code, told = run("sweep")
    assert code == 2
    assert "marker" in told
    assert "\n" not in told
    assert (list(File.objects.order_by("pk").values()), bucket.objects()) == (before, objects)
    assert run("sweep")[0] == 0
    assert not File.objects.exclude(state=State.AVAILABLE).exists()


def test_a_sweep_with_nothing_to_do_asks_nothing(
    alice: User, bucket: Bucket, wrong: Bucket, settings: Settings
) -> None:
    shelf.add_file(alice, bucket=bucket)
    with named(wrong, settings):
        assert run("sweep") == (0, "")


def test_half_made_previews_are_left(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    file = shelf.add_file(alice, bucket=bucket, state=State.TRASHED)
    Preview.objects.create(file=file, look=Look.EXCERPT, lease_until=PAST)
    with named(wrong, settings):
        assert run("sweep")[0] == 2
    assert Preview.objects.count() == 1


def test_the_other_store_is_swept_all_the_same(alice: User, bucket: Bucket, wrong: Bucket, settings: Settings) -> None:
    at = wrong.address
    settings.OTHER_S3 = {
        "name": "old", "bucket": at.bucket, "endpoint": at.endpoint, "region": at.region, "addressing": "path",
        "checksums": at.checksums, "access_key_id": at.key, "secret_access_key": at.secret,
    }  # fmt: skip
    here, there = (shelf.add_file(alice, state=State.DELETING, store=store) for store in ("", "old"))
    told: list[str] = []
    assert services.sweep(refused=told.append)["erased"] == 1
    assert len(told) == 1
    assert [file.pk for file in File.objects.all()] == [there.pk] != [here.pk]


# --- people who wait ----------------------------------------------------------------------------


def test_a_finish_of_parts_is_not_answered_with_gone(
    sender: Sender, bucket: Bucket, wrong: Bucket, settings: Settings
) -> None:
    upload = sender.start(BODY)
    sender.put(upload)
    with named(wrong, settings):
        assert sender.finish(upload).status_code == 503
    assert upload.row().state == State.COMPLETING
    assert sender.finished(upload).state == State.AVAILABLE


def test_an_upload_in_parts_is_not_begun_anew(
    sender: Sender, bucket: Bucket, wrong: Bucket, settings: Settings
) -> None:
    upload = sender.start(BODY)
    sender.put(upload, 1)
    begun = upload.row().multipart_id
    with named(wrong, settings), pytest.raises(StoreUnavailable):
        services.parts_of(upload.row())
    assert upload.row().multipart_id == begun


def test_a_cancelled_upload_keeps_its_row_until_its_object_can_go(
    sender: Sender, bucket: Bucket, wrong: Bucket, settings: Settings, alice: User
) -> None:
    upload = sender.start(b"small")
    sender.put(upload)
    File.objects.update(signed_until=PAST)
    with named(wrong, settings):
        services.cancel(upload.row(), by=alice)
    assert upload.row().state == State.DELETING
    assert run("sweep")[0] == 0
    assert (File.objects.count(), bucket.objects()) == (0, {})
