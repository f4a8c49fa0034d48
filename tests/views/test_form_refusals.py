"""Rejected uploads through the plain form: each one is reported and stores nothing."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.support import factories, form_client
from tests.support.factories import binary_content, is_all_deleted
from tests.support.form_client import Chosen, Form, post, send, was_read, words_of
from tests.support.stores import Bucket
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import File

pytestmark = pytest.mark.django_db

MIB = 1024**2
PART = 5 * MIB


def test_form_without_files_is_refused(alice: User, as_alice: Client, bucket: Bucket) -> None:
    response = post(as_alice)
    assert response.status_code == 400
    assert "Choose at least one file" in words_of(response.content)


@pytest.mark.parametrize("submission", ["not-a-uuid", "\x00", "x" * 5000])
def test_form_with_an_invalid_id_stores_nothing(submission: str, alice: User, as_alice: Client, bucket: Bucket) -> None:
    response = post(as_alice, Chosen("a.txt"), submission=submission)
    assert response.status_code == 400
    assert "This form has expired" in words_of(response.content)
    assert "at least one file" not in words_of(response.content)
    assert is_all_deleted(bucket, alice)
    new_submission = re.search(rb'name="submission" value="([0-9a-f-]{36})"', response.content)
    assert new_submission
    assert len(send(as_alice, Chosen("a.txt"), submission=new_submission[1].decode())) == 1


def test_refused_type_fails_only_its_file(alice: User, as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_REFUSED_TYPES = [".exe"]
    stream_name = Chosen("d.exe::$DATA", b"d")
    response = post(as_alice, Chosen("a.txt", b"a"), Chosen("b.EXE", b"bb"), Chosen("c.txt", b"c"), stream_name)
    assert response.status_code == 200
    assert "2 of 4 stored" in words_of(response.content)
    assert "b.EXE Files of type .exe aren't accepted" in words_of(response.content)
    assert sorted(File.objects.values_list("name", flat=True)) == ["a.txt", "c.txt"]
    assert (len(bucket.objects()), factories.stored_usage(alice)) == (2, (2, 2))


@pytest.mark.parametrize("refused", ["text/html", "text/*"])
def test_refused_type_is_detected_in_the_bytes(
    refused: str, alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_REFUSED_TYPES = [refused]
    response = post(as_alice, Chosen("a.png", b"<!doctype html><html>", "image/png"))
    assert response.status_code == 415
    assert not File.objects.available().exists()
    assert factories.stored_usage(alice) == (0, 0)


def test_large_refused_file_does_not_affect_the_next_file(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = PART
    settings.UPLOAD_REFUSED_TYPES = [".exe"]
    files = [
        Chosen("a.txt", b"a"),
        Chosen("b.exe", binary_content(3 * PART)),
        Chosen("c.bin", binary_content(PART + 1)),
    ]
    assert "2 of 3 stored" in words_of(post(as_alice, *files).content)
    assert sorted(bucket.objects().values()) == [1, PART + 1]
    assert bucket.multipart_uploads() == []


def test_oversized_file_fails_only_itself(alice: User, as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 1000
    response = post(as_alice, Chosen("a.bin", b"x" * 1000), Chosen("b.bin", b"x" * 1001))
    assert "1 of 2 stored" in words_of(response.content)
    assert "too large" in words_of(response.content)
    assert list(bucket.objects().values()) == [1000]


def test_one_file_over_the_limit_is_413(alice: User, as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 1000
    assert post(as_alice, Chosen("b.bin", b"x" * 1001)).status_code == 413
    assert is_all_deleted(bucket, alice)


def test_files_over_the_quota_are_rejected_and_the_others_stored(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 2500
    assert post(as_alice, Chosen("a.bin", b"x" * 2501)).status_code == 413
    assert is_all_deleted(bucket, alice)
    response = post(as_alice, *(Chosen(f"{n}.bin", b"x" * 1000) for n in range(3)))
    assert "2 of 3 stored" in words_of(response.content)
    assert factories.stored_usage(alice) == (2, 2000)
    assert len(bucket.objects()) == 2


def test_multipart_file_that_fits_the_quota_exactly_is_stored(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    """The size is known only at the end; until then, the reservation must not exceed the quota."""
    settings.UPLOAD_PART_BYTES = PART
    settings.UPLOAD_QUOTA_BYTES = settings.UPLOAD_MAX_BYTES = 2 * PART + 5
    (file,) = send(as_alice, Chosen("a.bin", binary_content(2 * PART + 5)))
    assert file.size == 2 * PART + 5


def test_files_over_the_file_quota_are_rejected(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_FILES = 1
    assert "1 of 2 stored" in words_of(post(as_alice, Chosen("a.txt"), Chosen("b.txt")).content)
    assert post(as_alice, Chosen("c.txt")).status_code == 413


def test_content_length_over_the_limit_is_refused_before_reading(as_alice: Client, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = MIB
    form = Form([Chosen("a.bin", b"x" * 2 * MIB)])
    response = as_alice.post("/upload/", data=form.body(), content_type=form_client.MULTIPART)
    assert response.status_code == 413
    assert not was_read(response)


@pytest.mark.parametrize("token", ["", "wrong", "x" * 64, "\x00"])
def test_form_without_a_valid_csrf_token_stores_nothing(
    token: str, alice: User, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = PART
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    client.get("/upload/")
    form = Form([Chosen("a.txt"), Chosen("b.bin", binary_content(PART + 1))], token=token)
    response = client.post("/upload/", data=form.body(), content_type=form_client.MULTIPART)
    assert response.status_code == 403
    assert is_all_deleted(bucket, alice)


def test_form_with_a_csrf_token_is_accepted(alice: User, bucket: Bucket) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    token = str(client.get("/upload/").context["csrf_token"])
    form = Form([Chosen("a.txt")], token=token)
    assert client.post("/upload/", data=form.body(), content_type=form_client.MULTIPART).status_code == 200


def test_cross_site_form_is_refused_before_reading(alice: User, bucket: Bucket) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    token = str(client.get("/upload/").context["csrf_token"])
    response = client.post(
        "/upload/", data=Form([Chosen("a.txt")], token=token).body(), content_type=form_client.MULTIPART,
        headers={"Origin": "https://evil.example"},
    )  # fmt: skip
    assert response.status_code == 403
    assert not was_read(response)
    assert is_all_deleted(bucket, alice)


def test_file_in_another_form_is_not_stored(alice: User, as_alice: Client, bucket: Bucket) -> None:
    form = Form([Chosen("a.txt", b"x" * 500_000)])
    file = factories.create_file(alice)
    for url in ("/accounts/login/", f"/files/{file.pk}/trash", "/uploads/"):
        before = bucket.objects()
        as_alice.post(url, data=form.body(), content_type=form_client.MULTIPART)
        assert bucket.objects() == before


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
     "multipart/form-data; boundary=", "multipart/mixed; boundary=x", f"multipart/form-data; boundary={'x' * 300}",
     "multipart/form-data; boundary=\"\xff\"", ""],
)  # fmt: skip
def test_invalid_content_type_is_rejected(content_type: str, alice: User, as_alice: Client, bucket: Bucket) -> None:
    response = as_alice.generic("POST", "/upload/", Form([Chosen("a.txt")]).body(), content_type)
    assert response.status_code == 400
    assert is_all_deleted(bucket, alice)


def test_unavailable_storage_is_reported_and_leaves_no_rows(
    alice: User, as_alice: Client, bucket: Bucket, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_unavailable(*_: object, **__: object) -> None:
        raise StorageUnavailable("PutObject: away")

    monkeypatch.setattr(s3, "put", raise_unavailable)
    response = post(as_alice, Chosen("a.txt"))
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert is_all_deleted(bucket, alice)


def test_storage_failure_fails_only_its_own_file(
    alice: User, as_alice: Client, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, calls = s3.put, iter(range(9))

    def second_fails(*args: object, **kwargs: object) -> None:
        if next(calls) == 1:
            raise StorageUnavailable("PutObject: 500")
        put(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(s3, "put", second_fails)
    response = post(as_alice, *(Chosen(f"{n}.txt") for n in range(3)))
    assert "2 of 3 stored" in words_of(response.content)
    assert factories.stored_usage(alice) == (2, 10)


def test_user_without_upload_permission_is_refused_before_reading(as_viewer: Client, bucket: Bucket) -> None:
    response = post(as_viewer, Chosen("a.txt"))
    assert response.status_code == 403
    assert not was_read(response)
