"""Presigned URLs for parts: permissions, expiry, and exact length."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import RefreshableCredentials
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support.file_rows import create_row
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, put_bytes, sha256, web
from uploads import s3
from uploads.models import File, PartDigest, State

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes


pytestmark = pytest.mark.usefixtures("small_parts")


def signed_headers(url: str) -> set[str]:
    return set(parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";"))


def test_parts_are_stored_in_one_multipart_upload(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    upload_client.put(upload)
    assert bucket.multipart_uploads() == [(upload.row().key, upload.row().multipart_id)]
    assert [(p["number"], p["size"]) for p in upload_client.retrieve(upload).json()["parts"]] == [
        (1, 10),
        (2, 10),
        (3, 3),
    ]


@pytest.mark.parametrize("difference", [-1, 1])
def test_storage_rejects_a_part_of_another_length(as_alice: Client, bucket: Bucket, difference: int) -> None:
    upload_client = UploadClient(as_alice)
    several, small = upload_client.start(BODY), upload_client.start(BODY[:9])
    upload_client.sign(several)
    for signed, length in ((several.signed[3], 3), (small.signed[1], 9)):
        assert put_bytes(signed, bytes(length + difference)).status == 403
    assert not bucket.objects()
    assert upload_client.retrieve(several).json()["parts"] == []


def test_the_exact_length_is_signed_into_every_url(as_alice: Client) -> None:
    upload_client = UploadClient(as_alice)
    several, small = upload_client.start(BODY), upload_client.start(b"small")
    urls = [part["url"] for part in [*upload_client.sign(several), small.signed[1]]]
    assert all("content-length" in signed_headers(url) for url in urls)


def test_url_expires_within_ten_minutes(as_alice: Client) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    for part in upload_client.sign(upload):
        assert int(parse_qs(urlsplit(part["url"]).query)["X-Amz-Expires"][0]) <= 600


def test_a_url_never_outlives_the_credentials_that_sign_it(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.s3.signing.seconds_of_credentials", lambda _store, limit: min(60, limit))
    part = UploadClient(as_alice).start(b"small").signed[1]
    assert parse_qs(urlsplit(part["url"]).query)["X-Amz-Expires"] == ["60"]


def test_missing_credentials_return_503_until_they_arrive(as_alice: Client, bucket: Bucket) -> None:
    """Role credentials can be unavailable at startup: 503 until they arrive, without a restart."""
    upload_client = UploadClient(as_alice)
    file = upload_client.send(b"there")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.delenv(name)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        s3.reset()
        responses = [
            upload_client.announce(upload_client.item(b"x")),
            upload_client.request_parts(upload_client.start(BODY).id, [{"number": 1}]),
            as_alice.get(f"{file.get_absolute_url()}download"),
        ]
    assert [response.status_code for response in responses] == [503, 503, 503]
    assert upload_client.send(b"x").state == State.AVAILABLE
    assert as_alice.get(f"{file.get_absolute_url()}download").status_code == 302
    s3.reset()


def test_expired_role_credentials_return_503(as_alice: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_client = UploadClient(as_alice)
    file, upload = upload_client.send(b"there"), upload_client.start(BODY)
    over = datetime.now(UTC) - timedelta(minutes=1)
    served = {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": over.isoformat()}
    expired = RefreshableCredentials("a", "b", "c", over, lambda: served, "iam-role")
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda session: expired)
    s3.reset()
    responses = [
        upload_client.announce(upload_client.item(b"x")),
        upload_client.request_parts(upload.id, [{"number": 1}]),
        as_alice.get(f"{file.get_absolute_url()}download"),
    ]
    assert [response.status_code for response in responses] == [503, 503, 503]
    monkeypatch.undo()
    s3.reset()


def test_url_is_valid_only_for_its_own_part_and_key(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload, other = upload_client.start(BODY), upload_client.start(b"small")
    url = upload_client.sign(upload, 1)[0]["url"]
    moved = [url.replace("partNumber=1", "partNumber=2"), url.replace(upload.row().key, other.row().key)]
    for changed in moved:
        assert changed != url
        assert put_bytes({"url": changed, "headers": {}}, BODY[:10]).status == 403


def test_a_url_cannot_be_used_to_read_or_delete(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(b"small")
    upload_client.put(upload)
    for method in ("GET", "DELETE"):
        assert web.request(method, upload.signed[1]["url"]).status == 403
    assert bucket.objects() == {upload.row().key: 5}


def test_objects_are_stored_as_octet_stream(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    small, several = upload_client.send(b"<html>", type="text/html"), upload_client.send(BODY, type="text/html")
    for file in (small, several):
        head = bucket.client.head_object(Bucket=bucket.name, Key=file.key)
        assert head["ContentType"] == "application/octet-stream"


def test_signing_twice_gives_the_same_multipart_upload(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    upload_client.sign(upload)
    upload_client.sign(upload)
    assert len(bucket.multipart_uploads()) == 1


@pytest.mark.django_db(transaction=True)
def test_concurrent_signing_shares_one_multipart_upload(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    barrier, urls = threading.Barrier(6), []

    def sign(number: int) -> None:
        barrier.wait(10)
        urls.append(upload_client.sign(upload, number)[0]["url"])
        connection.close()

    threads = [threading.Thread(target=sign, args=[n % 3 + 1]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {parse_qs(urlsplit(url).query)["uploadId"][0] for url in urls} == {upload.row().multipart_id}
    assert len(urls) == 6
    assert len(bucket.multipart_uploads()) == 1


def test_signing_extends_the_expiry_of_the_upload(as_alice: Client, settings: Settings) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    soon = timezone.now() + timedelta(minutes=1)
    File.objects.filter(pk=upload.id).update(expires_at=soon)
    upload_client.sign(upload, 1)
    file = upload.row()
    assert file.expires_at is not None
    assert file.expires_at > soon + timedelta(hours=settings.UPLOAD_EXPIRY_HOURS - 1)
    assert file.signed_until is not None
    assert file.signed_until >= timezone.now() + timedelta(seconds=s3.URL_SECONDS - 5)


def test_an_expired_upload_signs_nothing(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    File.objects.filter(pk=upload.id).update(expires_at=timezone.now())
    response = upload_client.request_parts(upload.id, [{"number": 1, "sha256": upload.digests[0]}])
    assert (response.status_code, response.json()["error"]["code"]) == (410, "expired")
    assert not bucket.multipart_uploads()


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        (State.COMPLETING, 409, "wrong_state"),
        (State.AVAILABLE, 409, "wrong_state"),
        (State.TRASHED, 410, "gone"),
        (State.DELETING, 410, "gone"),
    ],
)
def test_file_that_is_not_uploading_signs_no_parts(
    as_alice: Client, alice: User, state: State, status: int, code: str
) -> None:
    file = create_row(alice, state)
    response = UploadClient(as_alice).request_parts(file.pk, [{"number": 1, "sha256": sha256(b"x")}])
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_digests_are_saved_if_storage_has_no_checksums(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    upload_client.sign(upload)
    upload_client.request_parts(upload.id, [{"number": 2, "sha256": sha256(b"changed")}])
    claims = dict(PartDigest.objects.filter(file=upload.id).values_list("number", "sha256"))
    assert claims == {1: upload.digests[0], 2: sha256(b"changed"), 3: upload.digests[2]}


def test_part_needs_no_digest_if_storage_has_no_checksums(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    assert upload_client.request_parts(upload.id, [{"number": 1}]).status_code == 200


def test_response_with_signatures_is_not_cacheable(as_alice: Client, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(BODY)
    response = upload_client.request_parts(upload.id, [{"number": 1}])
    assert "no-store" in response["Cache-Control"]
