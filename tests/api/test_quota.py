"""Limits of uploads: the largest file, bytes and files of a user, and refused types."""

from __future__ import annotations

import io
import threading
import zipfile
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support import form_client
from tests.support.file_rows import create_row, stored_usage, usage_by_rows
from tests.support.form_client import Chosen
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads import actions
from uploads.errors import RefusedType
from uploads.models import File, State, Usage
from uploads.services.start import validate_type
from uploads.services.sweep import sweep

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as TestResponse

TEN = b"0123456789"


def announce(client: Client, body: bytes = TEN, **more: object) -> TestResponse:
    upload_client = UploadClient(client)
    return upload_client.announce(upload_client.item(body, **more))


def assert_refused(response: TestResponse, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response.json()["error"]["message"]
    assert response.json()["files"][0]["error"]["code"] == code


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("setting", "limit", "size", "fitting"), [("BYTES", 75, 10, 7), ("FILES", 6, 0, 6)])
def test_concurrent_calls_never_exceed_the_quota(
    as_alice: Client, alice: User, settings: Settings, setting: str, limit: int, size: int, fitting: int
) -> None:
    setattr(settings, f"UPLOAD_QUOTA_{setting}", limit)
    start, codes = threading.Barrier(20), []

    def reserve() -> None:
        start.wait(20)
        codes.append(announce(as_alice, bytes(size)).status_code)
        connection.close()

    threads = [threading.Thread(target=reserve) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] * fitting + [413] * (20 - fitting)
    assert stored_usage(alice) == usage_by_rows(alice) == (fitting, fitting * size)


def test_file_that_fits_exactly_is_accepted(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 25
    assert announce(as_alice).status_code == 200
    assert_refused(announce(as_alice, bytes(16)), 413, "over_quota")
    assert announce(as_alice, bytes(15)).status_code == 200
    assert stored_usage(alice) == (2, 25)


def test_files_of_one_call_share_the_quota(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 25
    upload_client = UploadClient(as_alice)
    response = upload_client.announce(
        upload_client.item(TEN), upload_client.item(TEN), upload_client.item(TEN), upload_client.item(bytes(5))
    )
    codes = [file.get("error", {}).get("code") for file in response.json()["files"]]
    assert codes == [None, None, "over_quota", None]
    assert stored_usage(alice) == usage_by_rows(alice) == (3, 25)


def test_known_token_gets_its_row_with_a_full_quota(as_alice: Client, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    upload = UploadClient(as_alice).start(TEN)
    assert UploadClient(as_alice).start(TEN, token=upload.token).id == upload.id


def test_each_user_has_a_quota(as_alice: Client, as_bob: Client, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    assert announce(as_alice).status_code == announce(as_bob).status_code == 200


def test_expired_upload_releases_its_space_without_a_sweep(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    old = UploadClient(as_alice).start(TEN)
    assert_refused(announce(as_alice), 413, "over_quota")
    File.objects.filter(pk=old.id).update(expires_at=timezone.now())
    assert announce(as_alice).status_code == 200
    assert old.row().state == State.DELETING
    assert stored_usage(alice) == usage_by_rows(alice) == (1, 10)


def test_canceled_upload_releases_its_space(as_alice: Client, alice: User, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FILES = 1
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(TEN)
    upload_client.cancel(upload)
    assert stored_usage(alice) == (0, 0)
    assert announce(as_alice).status_code == 200


def test_trash_counts_until_it_is_purged(as_alice: Client, alice: User, settings: Settings, bucket: Bucket) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    file = create_row(alice, State.AVAILABLE, size=10)
    actions.trash_file(file, by=alice)
    assert_refused(announce(as_alice), 413, "over_quota")
    File.objects.update(purge_after=timezone.now())
    sweep()
    assert announce(as_alice).status_code == 200


def test_file_over_the_largest_size_is_refused(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 9
    assert_refused(announce(as_alice), 413, "too_large")
    assert announce(as_alice, bytes(9)).status_code == 200
    assert stored_usage(alice) == usage_by_rows(alice) == (1, 9)


@pytest.mark.parametrize(
    ("name", "declared"),
    [("run.exe", ""), ("RUN.EXE", ""), ("x.txt", "application/x-dosexec"), ("x.txt", "Application/X-DOSexec"),
     ("clip.txt", "video/mp4"), ("run.exe.", ""), ("run.exe . .", ""), (".exe", ""), ("run.exe::$DATA", ""),
     ("run．exe", ""), ("x.txt", "application/x-dosexec; charset=binary")],
)  # fmt: skip
def test_refused_type_is_found_by_name_and_declared_type(settings: Settings, name: str, declared: str) -> None:
    settings.UPLOAD_REFUSED_TYPES = [".exe", "application/x-dosexec", "video/*"]
    with pytest.raises(RefusedType):
        validate_type(declared, name=name)


@pytest.mark.parametrize("declared", ["application/zip", "application/x-zip-compressed", "application/java-archive"])
def test_refused_container_refuses_its_aliases_and_types_built_on_it(settings: Settings, declared: str) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["application/zip"]
    with pytest.raises(RefusedType):
        validate_type(declared, name="a")


def test_refused_type_reserves_nothing(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_REFUSED_TYPES = [".exe"]
    assert_refused(announce(as_alice, name="\u202eexe.\u200bexe"), 415, "refused_type")
    assert stored_usage(alice) == usage_by_rows(alice) == (0, 0)


def test_file_with_a_refused_detected_type_is_removed(
    as_alice: Client, alice: User, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["text/html"]
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(b"<!doctype html><html><script>1</script></html>", name="x.png", type="image/png")
    upload_client.put(upload)
    assert_refused(upload_client.finish(upload), 415, "refused_type")
    assert upload.row().state == State.DELETING
    assert stored_usage(alice) == (0, 0)
    sweep()
    assert not bucket.objects()


def zip_of(name: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(name, b"words")
    return body.getvalue()


@pytest.mark.parametrize(("declared", "name"), [("text/plain", "a.txt"), ("", "a.jar")])
def test_refused_container_is_removed_whatever_its_name(
    as_alice: Client, bucket: Bucket, settings: Settings, declared: str, name: str
) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["application/x-zip-compressed"]
    upload_client = UploadClient(as_alice)
    upload = upload_client.start(zip_of("a.txt"), name=name, type=declared)
    upload_client.put(upload)
    assert_refused(upload_client.finish(upload), 415, "refused_type")


def test_document_built_on_a_refused_container_is_stored(as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["application/zip"]
    file = UploadClient(as_alice).send(zip_of("META-INF/container.xml"), name="book")
    assert (file.detected_type, file.category) == ("application/epub+zip", "document")


def test_usage_adds_up_over_the_life_of_files(as_alice: Client, alice: User, bucket: Bucket) -> None:
    upload_client = UploadClient(as_alice)
    upload_client.send(TEN)
    trashed, canceled = upload_client.send(b"x"), upload_client.start(b"yy")
    actions.trash_file(trashed, by=alice)
    upload_client.cancel(canceled)
    assert stored_usage(alice) == usage_by_rows(alice) == (2, 11)


# --- limits of one person -----------------------------------------------------------------------


def set_quota(user: User, **quota: int) -> None:
    Usage.objects.update_or_create(owner=user, defaults=quota)


@pytest.mark.django_db
@pytest.mark.parametrize(("quota", "size"), [({"quota_bytes": 25}, 10), ({"quota_files": 2}, 0)])
def test_limit_of_a_person_replaces_the_sites_limit(
    quota: dict[str, int], size: int, as_alice: Client, as_bob: Client, alice: User
) -> None:
    set_quota(alice, **quota)
    assert [announce(as_alice, bytes(size)).status_code for _ in range(3)] == [200, 200, 413]
    assert [announce(as_bob, bytes(size)).status_code for _ in range(3)] == [200, 200, 200]


@pytest.mark.django_db
def test_limit_of_a_person_can_be_above_the_sites_limit(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = settings.UPLOAD_QUOTA_FILES = 1
    set_quota(alice, quota_bytes=20, quota_files=2)
    assert [announce(as_alice).status_code for _ in range(3)] == [200, 200, 413]


@pytest.mark.django_db
def test_form_upload_has_the_limit_of_the_person(as_alice: Client, alice: User, bucket: Bucket) -> None:
    set_quota(alice, quota_bytes=3)
    form_client.post(as_alice, Chosen("a.txt", b"too much"))
    assert not File.objects.available().exists()
