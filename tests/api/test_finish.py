"""Finish: complete uploads become available exactly once, whatever the order and number of requests."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tests.support.file_rows import create_row
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient, composite, put_bytes, sha256
from uploads import services
from uploads.errors import UploadNotFound
from uploads.models import File, PartDigest, State
from uploads.services.finish import FinishRequest, assemble

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(60)


pytestmark = pytest.mark.usefixtures("small_parts")


def error_of(response: Any) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    return error


# --- what becomes available -------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 19, 20, 21, 100])
def test_file_of_any_size_is_stored_byte_for_byte(upload_client: UploadClient, bucket: Bucket, size: int) -> None:
    body = bytes(n * 7 % 256 for n in range(size))
    file = upload_client.send(body)
    assert (file.state, file.size) == (State.AVAILABLE, size)
    assert bucket.read(file.key) == body
    assert bucket.objects() == {file.key: size}
    assert not bucket.multipart_uploads()


def test_available_row_matches_the_stored_object(upload_client: UploadClient, bucket: Bucket) -> None:
    file = upload_client.send(BODY)
    head = bucket.client.head_object(Bucket=bucket.name, Key=file.key)
    assert (file.size, file.etag) == (head["ContentLength"], head["ETag"].strip('"'))
    assert file.checksum == composite([BODY[:10], BODY[10:20], BODY[20:]])
    assert file.checksum_status == "unverified"
    assert file.available_at is not None
    assert (file.multipart_id, file.lease_until) == ("", None)


def test_finish_response_contains_the_receipt(upload_client: UploadClient) -> None:
    upload = upload_client.start(b"hello", name="a.txt")
    upload_client.put(upload)
    (item,) = upload_client.finish(upload).json()["files"]
    assert item == {
        "id": str(upload.id), "state": "available", "name": "a.txt", "size": 5, "checksum": sha256(b"hello"),
        "checksum_status": "unverified", "url": f"/files/{upload.id}/",
    }  # fmt: skip


def test_type_is_detected_from_the_stored_bytes(upload_client: UploadClient) -> None:
    file = upload_client.send(b"<!doctype html><html><script>alert(1)</script>", name="x.png", type="image/png")
    assert (file.detected_type, file.declared_type) == ("text/html", "image/png")


def test_correctly_declared_type_is_detected_too(upload_client: UploadClient) -> None:
    assert upload_client.send(PNG, name="x.png", type="").detected_type == "image/png"


def test_parts_can_be_sent_in_any_order(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 3, 1, 2)
    assert bucket.read(upload_client.finished(upload).key) == BODY


def test_a_part_sent_twice_counts_once(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    upload_client.put(upload, 2)
    assert bucket.read(upload_client.finished(upload).key) == BODY


def test_files_of_one_call_are_listed_in_the_order_of_their_names(upload_client: UploadClient) -> None:
    uploads = [upload_client.start(b"x", name=name) for name in ("IMG 10.jpg", "IMG 2.jpg", "a.txt")]
    for upload in uploads:
        upload_client.put(upload)
    upload_client.finish(*uploads)
    names = File.objects.order_by("-available_at").values_list("name", flat=True)
    assert list(names) == ["a.txt", "IMG 2.jpg", "IMG 10.jpg"]


def test_a_hundred_files_finish_in_one_call_in_order(upload_client: UploadClient, bucket: Bucket) -> None:
    items = [upload_client.item(b"%03d" % n) for n in range(100)]
    started = upload_client.announce(*items).json()["files"]
    uploads = [
        Upload(uuid.UUID(t["id"]), uuid.UUID(t["token"]), b"%03d" % n, 10, 1, "uploading", {1: t["parts"][0]})
        for n, t in enumerate(started)
    ]
    for upload in uploads:
        upload_client.put(upload)
    response = upload_client.finish(*uploads)
    assert [t["id"] for t in response.json()["files"]] == [str(upload.id) for upload in uploads]
    assert {bucket.read(key) for key in bucket.objects()} == {b"%03d" % n for n in range(100)}
    assert File.objects.available().count() == 100


def test_part_digests_are_deleted_after_finish(upload_client: UploadClient) -> None:
    upload_client.send(BODY)
    assert not PartDigest.objects.exists()


# --- repeated and concurrent calls --------------------------------------------------------------------------


def test_repeated_finish_returns_the_same_response(upload_client: UploadClient, bucket: Bucket) -> None:
    for body in (BODY, b"small"):
        upload = upload_client.start(body)
        upload_client.put(upload)
        first = upload_client.finish(upload)
        before = File.objects.filter(pk=upload.id).values().get()
        again = upload_client.finish(upload)
        assert (again.status_code, again.content) == (200, first.content)
        assert File.objects.filter(pk=upload.id).values().get() == before
        assert bucket.read(upload.row().key) == body


def test_repeated_finish_with_other_digests_changes_nothing(upload_client: UploadClient) -> None:
    upload = upload_client.start(b"small")
    upload_client.put(upload)
    first = upload_client.finish(upload)
    again = upload_client.finish(upload, digests=[sha256(b"other")])
    assert again.content == first.content
    assert upload.row().checksum == sha256(b"small")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("callers", [2, 50])
@pytest.mark.parametrize("body", [BODY, b"small"], ids=["parts", "small"])
def test_concurrent_finishes_create_one_object_and_return_the_same(
    upload_client: UploadClient, bucket: Bucket, caplog: pytest.LogCaptureFixture, callers: int, body: bytes
) -> None:
    caplog.set_level("INFO", "uploads")
    upload = upload_client.start(body)
    upload_client.put(upload)
    barrier = threading.Barrier(callers)
    responses: list[list[tuple[int, bytes]]] = [[] for _ in range(callers)]

    def race(results: list[tuple[int, bytes]]) -> None:
        barrier.wait(20)
        while not results or results[-1][0] == 202:
            response = upload_client.finish(upload)
            results.append((response.status_code, response.content))
        connection.close()

    threads = [threading.Thread(target=race, args=[results]) for results in responses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {results[-1][0] for results in responses} == {200}
    assert len({results[-1][1] for results in responses}) == 1
    assert {code for results in responses for code, _body in results[:-1]} <= {202}
    assert bucket.objects() == {upload.row().key: len(body)}
    assert bucket.read(upload.row().key) == body
    assert sum("upload_available" in record.message for record in caplog.records) == 1


def test_finish_of_leased_upload_is_202_with_retry_after(upload_client: UploadClient, alice: User) -> None:
    file = create_row(alice, State.COMPLETING)
    upload = Upload(file.pk, file.token, b"x", 10, 1, "completing")
    response = upload_client.finish(upload)
    assert (response.status_code, response["Retry-After"]) == (202, "2")
    assert response.json() == {"files": [{"id": str(file.pk), "state": "completing", "retry_after": 2}]}
    assert upload.row().lease_until == file.lease_until


def test_finish_succeeds_after_the_lease_expires(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=composite(upload.pieces))  # then the process crashed
    assert upload_client.finish(upload).status_code == 202
    File.objects.filter(pk=upload.id).update(lease_until=timezone.now())
    assert bucket.read(upload_client.finished(upload).key) == BODY


def test_finish_after_crash_uses_the_completed_object(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    File.objects.filter(pk=upload.id).acquire_lease(checksum=composite(upload.pieces))
    assemble(upload.row(), upload.digests)  # the object exists, but the row was not updated
    File.objects.filter(pk=upload.id).update(lease_until=timezone.now())
    file = upload_client.finished(upload)
    assert file.state == State.AVAILABLE
    assert bucket.objects() == {file.key: len(BODY)}


# --- what does not become available -----------------------------------------------------------


def test_missing_parts_are_listed_and_the_upload_can_continue(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload, 2)
    response = upload_client.finish(upload)
    assert response.status_code == 409
    assert (error_of(response)["code"], error_of(response)["missing"]) == ("parts_missing", [1, 3])
    assert upload.row().state == State.UPLOADING
    upload_client.put(upload, 1, 3)
    assert bucket.read(upload_client.finished(upload).key) == BODY


def test_finish_before_any_part_reports_all_as_missing(upload_client: UploadClient) -> None:
    for upload in (upload_client.start(BODY), upload_client.start(b"small")):
        response = upload_client.finish(upload)
        assert (response.status_code, error_of(response)["missing"]) == (409, list(upload.numbers))
        assert upload.row().state == State.UPLOADING


def test_short_part_is_reported_as_missing(upload_client: UploadClient, bucket: Bucket) -> None:
    """Sent without the presigned URL, as if storage did not check lengths."""
    upload = upload_client.start(BODY)
    upload_client.put(upload, 1, 3)
    row = upload.row()
    bucket.client.upload_part(
        Bucket=bucket.name, Key=row.key, UploadId=row.multipart_id, PartNumber=2, Body=b"only nine"
    )
    response = upload_client.finish(upload)
    assert (response.status_code, error_of(response)["missing"]) == (409, [2])
    assert not bucket.objects()


def test_parts_of_the_wrong_size_are_reported_as_missing(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.sign(upload)
    row = upload.row()
    for number, body in enumerate([BODY[:9], BODY[9:20], BODY[20:]], start=1):
        bucket.client.upload_part(
            Bucket=bucket.name, Key=row.key, UploadId=row.multipart_id, PartNumber=number, Body=body
        )
    assert error_of(upload_client.finish(upload))["missing"] == [1, 2]


@pytest.mark.parametrize("foreign", [b"", b"four", b"sixsix"])
def test_an_object_of_another_size_never_becomes_available(
    upload_client: UploadClient, bucket: Bucket, foreign: bytes
) -> None:
    upload = upload_client.start(b"fives")
    bucket.write(upload.row().key, foreign)
    response = upload_client.finish(upload)
    assert (response.status_code, error_of(response)["code"]) == (410, "gone")
    assert upload.row().state == State.DELETING


def test_the_wrong_number_of_digests_is_refused_and_changes_nothing(upload_client: UploadClient) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    for digests in ([sha256(b"1")], [*upload.digests, sha256(b"4")]):
        response = upload_client.finish(upload, digests=digests)
        assert (response.status_code, error_of(response)["code"]) == (400, "bad_digest")
    assert upload.row().state == State.UPLOADING
    assert upload_client.finished(upload).state == State.AVAILABLE


def test_an_expired_upload_does_not_finish(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    response = upload_client.finish(upload)
    assert (response.status_code, error_of(response)["code"]) == (410, "expired")
    assert not bucket.objects()


@pytest.mark.parametrize("state", [State.TRASHED, State.DELETING])
def test_a_removed_file_does_not_finish(upload_client: UploadClient, alice: User, state: State) -> None:
    file = create_row(alice, state)
    response = upload_client.finish(Upload(file.pk, file.token, b"x", 10, 1, state))
    assert (response.status_code, error_of(response)["code"]) == (410, "gone")
    assert File.objects.get(pk=file.pk).state == state


def test_upload_with_lost_parts_is_removed_and_frees_its_quota(
    upload_client: UploadClient, alice: User, bucket: Bucket
) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    row = upload.row()
    bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=row.key, UploadId=row.multipart_id)
    assert upload_client.finish(upload).status_code == 410
    assert upload.row().state == State.DELETING
    assert alice.usage.files == 0


def test_failed_file_does_not_stop_the_others(upload_client: UploadClient, alice: User) -> None:
    whole, empty = upload_client.start(b"whole"), upload_client.start(b"never sent")
    upload_client.put(whole)
    busy = create_row(alice, State.COMPLETING)
    unknown = Upload(uuid.uuid4(), uuid.uuid4(), b"?", 10, 1, "")
    response = upload_client.finish(empty, whole, Upload(busy.pk, busy.token, b"x", 10, 1, ""), unknown)
    assert response.status_code == 200
    outcomes = [(t.get("state"), t.get("error", {}).get("code")) for t in response.json()["files"]]
    assert outcomes == [(None, "parts_missing"), ("available", None), ("completing", None), (None, "not_found")]


def test_first_error_is_the_status_when_all_files_fail(upload_client: UploadClient) -> None:
    empty, unknown = upload_client.start(b"never sent"), Upload(uuid.uuid4(), uuid.uuid4(), b"?", 10, 1, "")
    response = upload_client.finish(unknown, empty)
    assert response.status_code == 404
    assert [t["error"]["code"] for t in response.json()["files"]] == ["not_found", "parts_missing"]
    assert error_of(response)["code"] == "not_found"


def test_finished_multipart_upload_accepts_no_parts(upload_client: UploadClient, bucket: Bucket) -> None:
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    file = upload_client.finished(upload)
    assert put_bytes(upload.signed[1], b"X" * 10).status == 404
    assert bucket.read(file.key) == BODY


def test_finish_of_a_batch_has_a_bounded_query_count(
    upload_client: UploadClient, django_assert_max_num_queries: Any
) -> None:
    uploads = [upload_client.start(b"%d" % n) for n in range(10)]
    for upload in uploads:
        upload_client.put(upload)
    with django_assert_max_num_queries(15 + 3 * len(uploads)):
        assert upload_client.finish(*uploads).status_code == 200


def test_finish_service_refuses_files_of_other_owners(bob: User, alice: User) -> None:
    file = create_row(alice)
    (outcome,) = services.finish(bob, [FinishRequest(file.pk, [sha256(b"x")])])
    assert isinstance(outcome, UploadNotFound)
