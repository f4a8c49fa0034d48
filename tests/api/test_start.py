"""Create uploads: rows are reserved, tokens make calls repeatable, small files get their URL at once."""

from __future__ import annotations

import re
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.support.file_rows import create_row, folder_of, stored_usage, usage_by_rows
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, put_bytes, sha256
from uploads.models import File, State

BODY = b"hello"
MIB = 1024**2


def test_start_reserves_a_row_and_leaves_nothing_in_the_bucket(as_alice: Client, alice: User, bucket: Bucket) -> None:
    upload = UploadClient(as_alice).start(BODY, name="a.txt", type="text/plain")
    file = upload.row()
    assert (file.state, file.owner, file.name, file.size) == (State.UPLOADING, alice, "a.txt", 5)
    assert file.declared_type == "text/plain"
    assert stored_usage(alice) == (1, 5)
    assert not bucket.objects()
    assert not bucket.multipart_uploads()


def test_key_is_random_and_contains_no_user_text(as_alice: Client) -> None:
    files = [UploadClient(as_alice).start(BODY, name="../../etc/passwd", folder="../up").row() for _ in range(3)]
    assert all(re.fullmatch("f/[0-9a-f]{32}", file.key) for file in files)
    assert len({file.key for file in files}) == 3
    assert {(file.name, folder_of(file)) for file in files} == {("passwd", "up")}


def test_unknown_members_have_no_effect(as_alice: Client, alice: User, bob: User) -> None:
    extra = {
        "key": "f/" + "0" * 32, "bucket": "other", "owner": bob.pk, "owner_id": bob.pk, "state": "available",
        "id": str(uuid.uuid4()), "multipart_id": "x", "part_size": 1, "expires_at": "2100-01-01", "etag": "x",
    }  # fmt: skip
    upload = UploadClient(as_alice).start(BODY, **extra)
    file = upload.row()
    assert (file.owner, file.state, file.multipart_id, file.etag) == (alice, State.UPLOADING, "", "")
    assert file.key != extra["key"]
    assert str(file.pk) != extra["id"]
    assert file.part_size > 1


def test_same_token_gives_the_same_row(as_alice: Client, alice: User) -> None:
    upload_client, token = UploadClient(as_alice), uuid.uuid4()
    first = upload_client.start(BODY, token=token)
    again = upload_client.start(BODY, token=token, name="other.txt")
    assert again.id == first.id
    assert again.row().name == "report.txt"
    assert stored_usage(alice) == usage_by_rows(alice) == (1, 5)


def test_same_token_of_another_user_is_another_row(as_alice: Client, as_bob: Client) -> None:
    token = uuid.uuid4()
    assert UploadClient(as_alice).start(BODY, token=token).id != UploadClient(as_bob).start(BODY, token=token).id


def test_repeated_token_of_a_finished_file_gives_its_url(as_alice: Client, bucket: Bucket) -> None:
    upload_client, token = UploadClient(as_alice), uuid.uuid4()
    file = upload_client.send(BODY, token=token)
    (data,) = upload_client.announce(upload_client.item(BODY, token=token)).json()["files"]
    assert (data["id"], data["state"], data["url"]) == (str(file.pk), "available", file.get_absolute_url())
    assert "parts" not in data


@pytest.mark.parametrize("state", [State.TRASHED, State.DELETING])
def test_repeated_token_of_a_removed_file_is_gone(as_alice: Client, alice: User, state: State) -> None:
    file = create_row(alice, state)
    response = UploadClient(as_alice).announce(UploadClient(as_alice).item(BODY, token=file.token))
    assert response.status_code == 410
    assert response.json()["error"]["code"] == "gone"


@pytest.mark.django_db(transaction=True)
def test_concurrent_calls_with_one_token_create_one_row(as_alice: Client, alice: User) -> None:
    item = UploadClient(as_alice).item(BODY)
    ids: list[str] = []

    def announce() -> None:
        ids.append(UploadClient(as_alice).announce(item).json()["files"][0]["id"])
        connection.close()

    threads = [threading.Thread(target=announce) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert File.objects.count() == 1
    assert stored_usage(alice) == (1, 5)


def test_small_file_with_digest_gets_its_url(as_alice: Client, bucket: Bucket) -> None:
    upload = UploadClient(as_alice).start(BODY)
    assert put_bytes(upload.signed[1], BODY).status == 200
    assert bucket.read(upload.row().key) == BODY


def test_small_file_without_digest_gets_no_url(as_alice: Client) -> None:
    assert not UploadClient(as_alice).start(BODY, sha256=None).signed


def test_multipart_file_gets_no_url(as_alice: Client, settings: Settings) -> None:
    settings.UPLOAD_PART_BYTES = 2
    upload = UploadClient(as_alice).start(BODY)
    assert (upload.part_size, upload.part_count, upload.signed) == (2, 3, {})


def test_repeated_token_signs_a_new_url(as_alice: Client, bucket: Bucket) -> None:
    upload_client, token = UploadClient(as_alice), uuid.uuid4()
    upload_client.start(BODY, token=token)
    again = upload_client.start(BODY, token=token)
    upload_client.put(again)
    assert upload_client.finished(again).state == State.AVAILABLE


def test_hundred_files_are_returned_in_order(as_alice: Client) -> None:
    upload_client = UploadClient(as_alice)
    items = [upload_client.item(bytes(n), name=f"{n}.txt") for n in range(100)]
    files = upload_client.announce(*items).json()["files"]
    assert [file["token"] for file in files] == [item["token"] for item in items]
    assert [File.objects.get(pk=file["id"]).size for file in files] == list(range(100))


def test_number_of_queries_does_not_grow_with_the_files(
    as_alice: Client, alice: User, django_assert_max_num_queries: pytest.FixtureRequest
) -> None:
    upload_client = UploadClient(as_alice)
    counts = []
    for many in (2, 100):
        with django_assert_max_num_queries(20) as queries:  # type: ignore[operator]
            upload_client.announce(*[upload_client.item(BODY) for _ in range(many)])
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_invalid_file_does_not_stop_the_others(as_alice: Client, alice: User) -> None:
    upload_client = UploadClient(as_alice)
    invalid = {**upload_client.item(BODY), "size": -1}
    response = upload_client.announce(upload_client.item(BODY), invalid, upload_client.item(BODY))
    assert response.status_code == 200
    assert [file.get("error", {}).get("code") for file in response.json()["files"]] == [None, "bad_request", None]
    assert stored_usage(alice) == usage_by_rows(alice) == (2, 10)


def test_name_folder_visibility_and_time_are_saved(as_alice: Client) -> None:
    upload = UploadClient(as_alice).start(
        BODY, name="cafe\u0301.md", folder="Brand//Logos/", visibility="private", modified=1_700_000_000_123
    )
    file = upload.row()
    assert (file.name, folder_of(file), file.visibility) == ("café.md", "Brand/Logos", "private")
    assert file.modified == datetime.fromtimestamp(1_700_000_000.123, UTC)


def test_modified_is_listed_as_it_was_announced(as_alice: Client) -> None:
    upload_client = UploadClient(as_alice)
    upload_client.start(BODY, modified=-1)
    assert upload_client.unfinished().json()["uploads"][0]["modified"] == -1


def test_upload_expires_by_the_clock_of_the_database(as_alice: Client, settings: Settings) -> None:
    settings.UPLOAD_EXPIRY_HOURS = 2
    file = UploadClient(as_alice).start(BODY).row()
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == timedelta(hours=2)


def test_expiry_of_a_url_is_saved_with_the_row(as_alice: Client) -> None:
    """The row must exist until the URL expires."""
    upload_client = UploadClient(as_alice)
    signed, plain = upload_client.start(BODY).row(), upload_client.start(BODY, sha256=None).row()
    assert plain.signed_until is None
    assert signed.signed_until is not None
    assert signed.signed_until > timezone.now() + timedelta(minutes=9)


def test_response_with_a_signature_is_not_cached(as_alice: Client) -> None:
    upload_client = UploadClient(as_alice)
    response = upload_client.announce(upload_client.item(BODY))
    assert "X-Amz-Signature" in response.json()["files"][0]["parts"][0]["url"]
    assert "no-store" in response["Cache-Control"]


def test_user_without_the_permission_starts_nothing(as_viewer: Client, as_charlie: Client) -> None:
    for client in (as_viewer, as_charlie):
        response = UploadClient(client).announce(UploadClient(client).item(BODY))
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
    assert not File.objects.exists()


def test_announced_digest_of_a_small_file_is_unverified(as_alice: Client) -> None:
    file = UploadClient(as_alice).start(BODY).row()
    assert (file.checksum, file.checksum_status) == (sha256(BODY), "unverified")


@pytest.mark.parametrize(
    ("requested", "expected"), [(None, 16 * MIB), (8 * MIB, 8 * MIB), (1, 5 * MIB), (64 * MIB, 16 * MIB)]
)
def test_part_size_is_as_requested_within_the_limits(
    requested: int | None, expected: int, as_alice: Client, settings: Settings
) -> None:
    settings.UPLOAD_PART_BYTES = 16 * MIB
    item = {"token": str(uuid.uuid4()), "name": "a.bin", "size": 40 * MIB, "part_size": requested}
    response = as_alice.post("/uploads/", {"files": [item]}, content_type="application/json")
    (file,) = response.json()["files"]
    assert (file["part_size"], file["part_count"]) == (expected, -(-40 * MIB // expected))


def test_requested_parts_grow_until_10000_hold_the_file(as_alice: Client, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = settings.UPLOAD_MAX_BYTES = 10**14
    item = {"token": str(uuid.uuid4()), "name": "a.bin", "size": 60_000 * MIB, "part_size": 5 * MIB}
    response = as_alice.post("/uploads/", {"files": [item]}, content_type="application/json")
    assert response.json()["files"][0]["part_size"] == 10 * MIB
