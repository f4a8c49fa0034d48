"""Injected responses of storage: whatever it returns, nothing becomes available or is deleted wrongly."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, cast

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from tests.support import storage_proxies
from tests.support.file_rows import create_row
from tests.support.storage_proxies import FAULTS, Request, Response, StorageProxy, broken, lost, midway, page, status
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient
from tests.support.verification import verify_file
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import File, State
from uploads.s3 import client as s3_client
from uploads.s3 import streams
from uploads.services.sweep import sweep

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_parts", "no_backoff", "storage_proxy")]

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


def sent(upload_client: UploadClient, body: bytes = BODY) -> Upload:
    """Return an upload whose bytes are all in storage."""
    upload = upload_client.start(body)
    upload_client.put(upload)
    return upload


def assert_unavailable(response: Any) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert int(response["Retry-After"]) > 0


def assert_finishes(upload_client: UploadClient, upload: Upload, storage_proxy: StorageProxy, bucket: Bucket) -> None:
    """Assert that the same finish succeeds once storage works again."""
    storage_proxy.rules.clear()
    file = upload_client.finished(upload)
    assert file.state == State.AVAILABLE
    assert bucket.objects() == {file.key: len(upload.body)}
    assert bucket.read(file.key) == upload.body


# --- the outcome of Complete ------------------------------------------------------------------


def test_error_in_a_200_response_of_complete_is_not_success(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["complete"] = status(200, "InternalError")
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert not bucket.objects()
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def test_lost_response_of_successful_complete_is_detected(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)

    def lost_once(request: Request) -> Response | None:
        response = request.forward()
        return None if storage_proxy.seen.count("complete") == 1 else response

    storage_proxy.rules["complete"] = lost_once
    file = upload_client.finished(upload)
    assert storage_proxy.seen.count("complete") == 2
    assert bucket.objects() == {file.key: len(BODY)}


def test_finish_after_lost_responses_of_complete_finds_the_object(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["complete"] = lost
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert bucket.objects()
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def test_sweep_resolves_a_lost_completion(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["complete"] = lost
    upload_client.finish(upload)
    storage_proxy.rules.clear()
    assert sweep()["resolved"] == 1
    assert upload.row().state == State.AVAILABLE
    assert bucket.read(upload.row().key) == BODY


@pytest.mark.parametrize("again", [200, 404], ids=["as AWS", "as others"])
def test_second_complete_succeeds_for_any_response(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, again: int
) -> None:
    """Return an old list of parts, so that CompleteMultipartUpload is sent again."""
    upload = sent(upload_client)
    row = upload.row()
    listed = s3.list_parts(row.key, row.multipart_id)
    old = storage_proxies.store.request("GET", _signed_list(row))
    assert listed
    s3.complete_multipart(row.key, row.multipart_id, listed, size=row.size)
    storage_proxy.rules["list"] = lambda _request: Response(200, {"Content-Type": "application/xml"}, old.data)
    if again == 200:
        xml = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
        storage_proxy.rules["complete"] = lambda _request: Response(200, {"Content-Type": "application/xml"}, xml)
    file = upload_client.finished(upload)
    assert storage_proxy.seen.count("complete") == 2
    assert bucket.objects() == {file.key: len(BODY)}


def _signed_list(row: File) -> str:
    return s3_client.client().generate_presigned_url(
        "list_parts", Params={"Bucket": settings.S3_BUCKET, "Key": row.key, "UploadId": row.multipart_id}
    )


def test_missing_upload_and_object_is_410(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["list"] = status(404, "NoSuchUpload")
    response = upload_client.finish(upload)
    assert (response.status_code, response.json()["error"]["code"]) == (410, "gone")
    assert upload.row().state == State.DELETING


# --- other faults -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "fault"), [*product(["list", "complete", "get"], FAULTS), ("*", "redirect"), ("*", "broken")]
)
def test_fault_during_finish_is_recoverable(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, operation: str, fault: str
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules[operation] = FAULTS[fault]
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    sweep()  # finds the same fault
    assert upload.row().state == State.COMPLETING
    assert_finishes(upload_client, upload, storage_proxy, bucket)


@pytest.mark.parametrize("operation", ["list", "get"])
def test_truncated_response_is_unavailable(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, operation: str
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules[operation] = midway
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def test_truncated_response_of_complete_is_resolved_by_inspection(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["complete"] = midway
    upload_client.finish(upload)
    sweep()
    assert upload.row().state == State.AVAILABLE
    assert bucket.read(upload.row().key) == BODY


@pytest.mark.parametrize("fault", ["500", "503", "page 502", "broken"])
@pytest.mark.parametrize("operation", ["list", "complete", "get"])
def test_failed_storage_call_is_retried_up_to_the_limit(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, operation: str, fault: str
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules[operation] = FAULTS[fault]
    storage_proxy.seen.clear()
    upload_client.finish(upload)
    assert storage_proxy.seen.count(operation) == s3_client.ATTEMPTS


@pytest.mark.parametrize("fault", [*FAULTS, "404 without words", "page 404"])
def test_fault_during_inspection_never_removes_a_small_file(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, fault: str
) -> None:
    upload = sent(upload_client, b"small")
    storage_proxy.rules["get"] = {**FAULTS, "404 without words": status(404), "page 404": page(404)}[fault]
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert bucket.read(upload.row().key) == b"small"
    assert_finishes(upload_client, upload, storage_proxy, bucket)


@pytest.mark.parametrize("rule", [status(404), page(404)], ids=["no words", "page"])
def test_404_of_a_proxy_is_unavailable_storage(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, rule: storage_proxies.Rule
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["*"] = rule
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def test_object_missing_from_head_after_get_is_inspected_again(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, settings: Settings
) -> None:
    """GET finds the object, but HEAD for its checksum returns 404: the state stays undecided."""
    upload = sent(upload_client)
    settings.S3_CHECKSUMS = "sha256"
    storage_proxy.rules["head"] = status(404)
    assert_unavailable(upload_client.finish(upload))
    assert upload.row().state == State.COMPLETING
    settings.S3_CHECKSUMS = "off"
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def test_part_list_with_wrong_sizes_completes_nothing(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["list"] = lambda request: _with(request.forward(), b"<Size>10</Size>", b"<Size>0</Size>")
    response = upload_client.finish(upload)
    assert (response.status_code, response.json()["error"]["missing"]) == (409, [1, 2])
    assert upload.row().state == State.UPLOADING
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def _with(response: Response, old: bytes, new: bytes) -> Response:
    assert old in response.body
    return replace(response, body=response.body.replace(old, new))


@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "page 200", "broken"])
def test_a_fault_while_signing_leaves_the_upload_open(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, fault: str
) -> None:
    upload = upload_client.start(BODY)
    storage_proxy.rules["create"] = FAULTS[fault]
    assert_unavailable(upload_client.request_parts(upload.id, [{"number": 1, "sha256": upload.digests[0]}]))
    assert (upload.row().state, upload.row().multipart_id) == (State.UPLOADING, "")
    storage_proxy.rules.clear()
    upload_client.put(upload)
    assert_finishes(upload_client, upload, storage_proxy, bucket)


@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "page 200", "broken"])
def test_fault_during_resume_keeps_the_multipart_upload(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, fault: str
) -> None:
    upload = sent(upload_client)
    before = upload.row().multipart_id
    storage_proxy.rules["list"] = FAULTS[fault]
    assert_unavailable(upload_client.retrieve(upload))
    assert upload.row().multipart_id == before
    assert_finishes(upload_client, upload, storage_proxy, bucket)


@pytest.mark.parametrize("operation", ["ids", "abort", "delete"])
@pytest.mark.parametrize("fault", ["500", "403", "no bucket", "broken"])
def test_a_fault_while_erasing_keeps_the_row(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, alice: User, operation: str, fault: str
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules[operation] = FAULTS[fault]
    assert upload_client.cancel(upload).status_code == 204
    File.objects.update(signed_until=timezone.now() - timedelta(hours=1))
    assert sweep()["failed"] in {1, 2}  # the search for orphans uses the same list
    assert upload.row().state == State.DELETING
    storage_proxy.rules.clear()
    assert sweep()["erased"] == 1
    assert not File.objects.exists()
    assert not bucket.multipart_uploads()


def test_delete_with_lost_response_is_repeated(storage_proxy: StorageProxy, bucket: Bucket, alice: User) -> None:
    file = create_row(alice, State.DELETING)
    bucket.write(file.key, b"x")
    storage_proxy.rules["delete"] = lost
    assert sweep()["failed"] == 1
    assert File.objects.exists()
    storage_proxy.rules.clear()
    assert sweep()["erased"] == 1


def test_storage_fault_stops_a_batch_early(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    uploads = [sent(upload_client, b"%d" % n) for n in range(40)]
    storage_proxy.seen.clear()
    storage_proxy.rules["get"] = status(503, "SlowDown")
    assert_unavailable(upload_client.finish(*uploads))
    assert storage_proxy.seen.count("get") <= 2 * s3_client.ATTEMPTS * 8
    assert set(File.objects.values_list("state", flat=True)) == {State.COMPLETING}
    storage_proxy.rules.clear()
    assert upload_client.finish(*uploads).status_code == 200
    assert File.objects.available().count() == 40


# --- unavailable or silent storage ----------------------------------------------------


def test_finish_responds_within_ten_seconds_if_storage_hangs(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    upload = sent(upload_client)
    storage_proxy.rules["complete"] = storage_proxy.hang
    begun = time.monotonic()
    assert_unavailable(upload_client.finish(upload))
    assert time.monotonic() - begun < 10
    assert upload.row().state == State.COMPLETING
    assert_finishes(upload_client, upload, storage_proxy, bucket)


@pytest.mark.parametrize("operation", ["list", "get", "*"])
def test_timeout_of_other_storage_calls_is_unavailable(
    upload_client: UploadClient,
    storage_proxy: StorageProxy,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
) -> None:
    upload = sent(upload_client)
    monkeypatch.setattr(s3_client, "READ_SECONDS", 0.2)
    monkeypatch.setitem(cast(dict[str, Any], s3_client.config.__kwdefaults__), "read_seconds", 0.2)
    storage_proxies.forget_clients()
    storage_proxy.rules[operation] = storage_proxy.hang
    assert_unavailable(upload_client.finish(upload))
    assert_finishes(upload_client, upload, storage_proxy, bucket)


def test_pages_without_storage_calls_work_during_an_outage(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    file, upload = upload_client.send(b"there"), sent(upload_client)
    storage_proxy.rules["*"] = broken
    for path in ("/", "/upload/", "/unfinished/", "/trash/", file.get_absolute_url()):
        assert upload_client.client.get(path).status_code == 200
    assert upload_client.start(b"small").signed
    assert len(upload_client.unfinished().json()["uploads"]) == 2
    assert upload_client.client.get(f"{file.get_absolute_url()}download").status_code == 302
    assert upload_client.cancel(upload).status_code == 204


def test_no_file_becomes_available_during_an_outage(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket
) -> None:
    uploads = [sent(upload_client), sent(upload_client, b"small"), upload_client.start(b"unsent")]
    storage_proxy.rules["*"] = broken
    assert_unavailable(upload_client.finish(*uploads))
    assert not File.objects.available().exists()
    storage_proxy.rules.clear()
    response = upload_client.finish(*uploads)
    assert [t.get("state") for t in response.json()["files"]] == ["available", "available", None]


def test_verify_ignores_partially_read_files(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.0)
    file = upload_client.send(BODY)
    for fault in (midway, broken, status(403, "AccessDenied"), status(404, "NoSuchBucket"), page(404)):
        storage_proxy.rules["get"] = fault
        with pytest.raises(StorageUnavailable):
            verify_file(file)
        assert File.objects.get().checksum_status == "unverified"


def test_signatures_are_never_logged(
    upload_client: UploadClient, storage_proxy: StorageProxy, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "uploads")
    caplog.set_level("INFO", "django")
    upload = sent(upload_client)
    for operation in ("get", "*"):
        for fault in FAULTS.values():
            storage_proxy.rules = {operation: fault}
            upload_client.finish(upload)
    assert "s3_error" in caplog.text
    assert "X-Amz" not in caplog.text
    assert "Signature" not in caplog.text.replace("SignatureDoesNotMatch", "")
