"""Answers that no store gives when it is asked to: whatever the store says, nothing is available or deleted wrongly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, cast

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support import fronts
from tests.support.fronts import FAULTS, Answer, Front, Request, broken, lost, midway, page, status
from tests.support.rows import make_row
from tests.support.senders import Sender, Upload
from tests.support.stores import Bucket
from uploads import s3, services
from uploads.errors import StorageUnavailable
from uploads.models import File, State
from uploads.s3 import client as s3_client
from uploads.s3 import streams

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


@pytest.fixture
def front(settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """The app asks the store through it, `bucket` does not. boto3's pause before a second attempt is left out."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0)
    settings.UPLOAD_PART_BYTES = 10
    with fronts.in_front_of(bucket.address.endpoint) as front:
        settings.S3_ENDPOINT = front.url
        forget_clients()
        yield front
    forget_clients()


def forget_clients() -> None:
    """Less than `s3.reset()`: the session, which is slow to make, stays."""
    s3_client.forget_clients()
    s3_client.http.cache_clear()


@pytest.fixture
def sender(as_alice: Client, front: Front) -> Sender:
    return Sender(as_alice)


def sent(sender: Sender, body: bytes = BODY) -> Upload:
    """An upload whose bytes are all in the store."""
    upload = sender.start(body)
    sender.put(upload)
    return upload


def unavailable(answer: Any) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert int(answer["Retry-After"]) > 0


def heals(sender: Sender, upload: Upload, front: Front, bucket: Bucket) -> None:
    """Once the store is itself again, the same finish succeeds."""
    front.rules.clear()
    file = sender.finished(upload)
    assert file.state == State.AVAILABLE
    assert bucket.objects() == {file.key: len(upload.body)}
    assert bucket.read(file.key) == upload.body


# --- the outcome of Complete ------------------------------------------------------------------


def test_200_with_an_error_inside_is_no_success(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)
    front.rules["complete"] = status(200, "InternalError")
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert not bucket.objects()
    heals(sender, upload, front, bucket)


def test_a_lost_answer_after_complete_did_its_work_is_found_out(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)

    def lost_once(request: Request) -> Answer | None:
        answer = request.forward()
        return None if front.seen.count("complete") == 1 else answer

    front.rules["complete"] = lost_once
    file = sender.finished(upload)
    assert front.seen.count("complete") == 2
    assert bucket.objects() == {file.key: len(BODY)}


def test_when_every_answer_of_complete_is_lost_the_next_finish_finds_the_object(
    sender: Sender, front: Front, bucket: Bucket
) -> None:
    upload = sent(sender)
    front.rules["complete"] = lost
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert bucket.objects()
    heals(sender, upload, front, bucket)


def test_the_sweep_finds_the_object_as_well(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)
    front.rules["complete"] = lost
    sender.finish(upload)
    front.rules.clear()
    assert services.sweep()["resolved"] == 1
    assert upload.row().state == State.AVAILABLE
    assert bucket.read(upload.row().key) == BODY


@pytest.mark.parametrize("again", [200, 404], ids=["as AWS", "as others"])
def test_a_second_complete_is_fine_whatever_the_store_says(
    sender: Sender, front: Front, bucket: Bucket, again: int
) -> None:
    """The list of parts comes from before, so that Complete is asked for a second time."""
    upload = sent(sender)
    row = upload.row()
    listed = s3.list_parts(row.key, row.multipart_id)
    old = fronts.store.request("GET", _signed_list(row))
    assert listed
    s3.complete_multipart(row.key, row.multipart_id, listed, size=row.size)
    front.rules["list"] = lambda _request: Answer(200, {"Content-Type": "application/xml"}, old.data)
    if again == 200:
        told = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        front.rules["complete"] = lambda _request: Answer(200, {"Content-Type": "application/xml"}, told)
    file = sender.finished(upload)
    assert front.seen.count("complete") == 2
    assert bucket.objects() == {file.key: len(BODY)}


def _signed_list(row: File) -> str:
    return s3_client.client().generate_presigned_url(
        "list_parts", Params={"Bucket": settings.S3_BUCKET, "Key": row.key, "UploadId": row.multipart_id}
    )


def test_no_such_upload_and_no_object_is_gone(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)
    front.rules["list"] = status(404, "NoSuchUpload")
    answer = sender.finish(upload)
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "gone")
    assert upload.row().state == State.DELETING


# --- whatever else goes wrong -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "fault"), [*product(["list", "complete", "get"], FAULTS), ("*", "redirect"), ("*", "broken")]
)
def test_a_fault_at_the_finish_changes_nothing_for_good(
    sender: Sender, front: Front, bucket: Bucket, operation: str, fault: str
) -> None:
    upload = sent(sender)
    front.rules[operation] = FAULTS[fault]
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    services.sweep()  # finds the same fault
    assert upload.row().state == State.COMPLETING
    heals(sender, upload, front, bucket)


@pytest.mark.parametrize("operation", ["list", "get"])
def test_half_an_answer_is_none(sender: Sender, front: Front, bucket: Bucket, operation: str) -> None:
    upload = sent(sender)
    front.rules[operation] = midway
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    heals(sender, upload, front, bucket)


def test_half_an_answer_of_complete_is_settled_by_a_look(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)
    front.rules["complete"] = midway
    sender.finish(upload)
    services.sweep()
    assert upload.row().state == State.AVAILABLE
    assert bucket.read(upload.row().key) == BODY


@pytest.mark.parametrize("fault", ["500", "503", "page 502", "broken"])
@pytest.mark.parametrize("operation", ["list", "complete", "get"])
def test_a_fault_is_met_twice_and_no_more(
    sender: Sender, front: Front, bucket: Bucket, operation: str, fault: str
) -> None:
    upload = sent(sender)
    front.rules[operation] = FAULTS[fault]
    front.seen.clear()
    sender.finish(upload)
    assert front.seen.count(operation) == s3_client.ATTEMPTS


@pytest.mark.parametrize("fault", [*FAULTS, "404 without words", "page 404"])
def test_a_fault_at_the_look_never_removes_a_small_file(
    sender: Sender, front: Front, bucket: Bucket, fault: str
) -> None:
    upload = sent(sender, b"small")
    front.rules["get"] = {**FAULTS, "404 without words": status(404), "page 404": page(404)}[fault]
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert bucket.read(upload.row().key) == b"small"
    heals(sender, upload, front, bucket)


@pytest.mark.parametrize("answer", [status(404), page(404)], ids=["no words", "page"])
def test_a_404_of_something_in_between_is_not_the_stores_word(
    sender: Sender, front: Front, bucket: Bucket, answer: fronts.Rule
) -> None:
    upload = sent(sender)
    front.rules["*"] = answer
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    heals(sender, upload, front, bucket)


def test_an_object_that_is_there_and_then_not_is_looked_for_again(
    sender: Sender, front: Front, bucket: Bucket, settings: Settings
) -> None:
    """GET finds it, the HEAD for its checksum says 404: nothing is decided on that."""
    upload = sent(sender)
    settings.S3_CHECKSUMS = "sha256"
    front.rules["head"] = status(404)
    unavailable(sender.finish(upload))
    assert upload.row().state == State.COMPLETING
    settings.S3_CHECKSUMS = "off"
    heals(sender, upload, front, bucket)


def test_a_size_of_zero_in_a_broken_list_completes_nothing(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)
    front.rules["list"] = lambda request: _with(request.forward(), b"<Size>10</Size>", b"<Size>0</Size>")
    answer = sender.finish(upload)
    assert (answer.status_code, answer.json()["error"]["missing"]) == (409, [1, 2])
    assert upload.row().state == State.UPLOADING
    heals(sender, upload, front, bucket)


def _with(answer: Answer, old: bytes, new: bytes) -> Answer:
    assert old in answer.body
    return replace(answer, body=answer.body.replace(old, new))


@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "page 200", "broken"])
def test_a_fault_while_signing_leaves_the_upload_open(sender: Sender, front: Front, bucket: Bucket, fault: str) -> None:
    upload = sender.start(BODY)
    front.rules["create"] = FAULTS[fault]
    unavailable(sender.ask_parts(upload.id, [{"number": 1, "sha256": upload.digests[0]}]))
    assert (upload.row().state, upload.row().multipart_id) == (State.UPLOADING, "")
    front.rules.clear()
    sender.put(upload)
    heals(sender, upload, front, bucket)


@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "page 200", "broken"])
def test_a_fault_while_resuming_forgets_nothing(sender: Sender, front: Front, bucket: Bucket, fault: str) -> None:
    upload = sent(sender)
    before = upload.row().multipart_id
    front.rules["list"] = FAULTS[fault]
    unavailable(sender.look(upload))
    assert upload.row().multipart_id == before
    heals(sender, upload, front, bucket)


@pytest.mark.parametrize("operation", ["ids", "abort", "delete"])
@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "broken"])
def test_a_fault_while_erasing_keeps_the_row(
    sender: Sender, front: Front, bucket: Bucket, alice: User, operation: str, fault: str
) -> None:
    upload = sent(sender)
    front.rules[operation] = FAULTS[fault]
    assert sender.cancel(upload).status_code == 204
    File.objects.update(signed_until=timezone.now() - timedelta(hours=1))
    assert services.sweep()["failed"] in {1, 2}  # the search for strays asks for the same list
    assert upload.row().state == State.DELETING
    front.rules.clear()
    assert services.sweep()["erased"] == 1
    assert not File.objects.exists()
    assert not bucket.multipart_uploads()


def test_a_delete_whose_answer_is_lost_is_repeated(front: Front, bucket: Bucket, alice: User) -> None:
    file = make_row(alice, State.DELETING)
    bucket.write(file.key, b"x")
    front.rules["delete"] = lost
    assert services.sweep()["failed"] == 1
    assert File.objects.exists()
    front.rules.clear()
    assert services.sweep()["erased"] == 1


def test_one_store_fault_ends_a_batch_instead_of_being_met_a_hundred_times(
    sender: Sender, front: Front, bucket: Bucket
) -> None:
    uploads = [sent(sender, b"%d" % n) for n in range(40)]
    front.seen.clear()
    front.rules["get"] = status(503, "SlowDown")
    unavailable(sender.finish(*uploads))
    assert front.seen.count("get") <= 2 * s3_client.ATTEMPTS * 8
    assert set(File.objects.values_list("state", flat=True)) == {State.COMPLETING}
    front.rules.clear()
    assert sender.finish(*uploads).status_code == 200
    assert File.objects.available().count() == 40


# --- a store that is away, or says nothing ----------------------------------------------------


def test_a_store_that_hangs_is_answered_for_within_ten_seconds(sender: Sender, front: Front, bucket: Bucket) -> None:
    upload = sent(sender)
    front.rules["complete"] = front.hang
    begun = time.monotonic()
    unavailable(sender.finish(upload))
    assert time.monotonic() - begun < 10
    assert upload.row().state == State.COMPLETING
    heals(sender, upload, front, bucket)


@pytest.mark.parametrize("operation", ["list", "get", "*"])
def test_a_hang_anywhere_else_is_a_fault_as_well(
    sender: Sender, front: Front, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    upload = sent(sender)
    monkeypatch.setattr(s3_client, "READ_SECONDS", 0.2)
    monkeypatch.setitem(cast(dict[str, Any], s3_client.config.__kwdefaults__), "read_seconds", 0.2)
    forget_clients()
    front.rules[operation] = front.hang
    unavailable(sender.finish(upload))
    heals(sender, upload, front, bucket)


def test_while_the_store_is_away_everything_that_needs_none_works(sender: Sender, front: Front, bucket: Bucket) -> None:
    file, upload = sender.send(b"there"), sent(sender)
    front.rules["*"] = broken
    for path in ("/", "/upload/", "/unfinished/", "/trash/", file.get_absolute_url()):
        assert sender.client.get(path).status_code == 200
    assert sender.start(b"small").signed
    assert len(sender.unfinished().json()["uploads"]) == 2
    assert sender.client.get(f"{file.get_absolute_url()}download").status_code == 302
    assert sender.cancel(upload).status_code == 204


def test_while_the_store_is_away_nothing_becomes_available(sender: Sender, front: Front, bucket: Bucket) -> None:
    uploads = [sent(sender), sent(sender, b"small"), sender.start(b"unsent")]
    front.rules["*"] = broken
    unavailable(sender.finish(*uploads))
    assert not File.objects.available().exists()
    front.rules.clear()
    answer = sender.finish(*uploads)
    assert [t.get("state") for t in answer.json()["files"]] == ["available", "available", None]


def test_verify_says_nothing_about_a_file_it_could_not_read_to_the_end(
    sender: Sender, front: Front, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    file = sender.send(BODY)
    for fault in (midway, broken, status(403, "AccessDenied"), status(404, "NoSuchBucket"), page(404)):
        front.rules["get"] = fault
        with pytest.raises(StorageUnavailable):
            services.verify(file)
        assert File.objects.get().checksum_status == "unverified"


def test_no_signature_ever_gets_into_a_log(
    sender: Sender, front: Front, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "uploads")
    caplog.set_level("INFO", "django")
    upload = sent(sender)
    for operation in ("get", "*"):
        for fault in FAULTS.values():
            front.rules = {operation: fault}
            sender.finish(upload)
    assert "s3_error" in caplog.text
    assert "X-Amz" not in caplog.text
    assert "Signature" not in caplog.text.replace("SignatureDoesNotMatch", "")
