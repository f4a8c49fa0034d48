"""Limits: the largest file, bytes and files per person, refused types; and that nothing ever exceeds them."""

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

from tests.support.rows import held, make_row, used
from tests.support.senders import Sender
from tests.support.stores import Bucket
from uploads import services
from uploads.models import File, State

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

TEN = b"0123456789"


def announce(client: Client, body: bytes = TEN, **more: object) -> Answer:
    sender = Sender(client)
    return sender.announce(sender.item(body, **more))


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]
    assert answer.json()["files"][0]["error"]["code"] == code


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_never_exceed_the_quota(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 75
    start, codes = threading.Barrier(20), []

    def reserve() -> None:
        start.wait(20)
        codes.append(announce(as_alice).status_code)
        connection.close()

    threads = [threading.Thread(target=reserve) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] * 7 + [413] * 13
    assert used(alice) == held(alice) == (7, 70)


@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_never_exceed_the_number_of_files(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FILES = 6
    start, codes = threading.Barrier(20), []

    def reserve() -> None:
        start.wait(20)
        codes.append(announce(as_alice, b"").status_code)
        connection.close()

    threads = [threading.Thread(target=reserve) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] * 6 + [413] * 14
    assert used(alice) == held(alice) == (6, 0)


def test_a_file_that_just_fits_is_taken_and_one_byte_more_is_not(
    as_alice: Client, alice: User, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 25
    assert announce(as_alice).status_code == 200
    refused(announce(as_alice, bytes(16)), 413, "over_quota")
    assert announce(as_alice, bytes(15)).status_code == 200
    assert used(alice) == (2, 25)


def test_one_call_cannot_exceed_the_quota_either(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 25
    sender = Sender(as_alice)
    answer = sender.announce(sender.item(TEN), sender.item(TEN), sender.item(TEN), sender.item(bytes(5)))
    codes = [told.get("error", {}).get("code") for told in answer.json()["files"]]
    assert codes == [None, None, "over_quota", None]
    assert used(alice) == held(alice) == (3, 25)


def test_a_full_quota_still_tells_a_known_token_its_row(as_alice: Client, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    upload = Sender(as_alice).start(TEN)
    assert Sender(as_alice).start(TEN, token=upload.token).id == upload.id


def test_the_quota_of_one_is_not_that_of_another(as_alice: Client, as_bob: Client, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    assert announce(as_alice).status_code == announce(as_bob).status_code == 200


def test_expiry_gives_the_space_back_without_waiting_for_a_sweep(
    as_alice: Client, alice: User, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    old = Sender(as_alice).start(TEN)
    refused(announce(as_alice), 413, "over_quota")
    File.objects.filter(pk=old.id).update(expires_at=timezone.now())
    assert announce(as_alice).status_code == 200
    assert old.row().state == State.DELETING
    assert used(alice) == held(alice) == (1, 10)


def test_cancelling_gives_the_space_back(as_alice: Client, alice: User, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_QUOTA_FILES = 1
    sender = Sender(as_alice)
    upload = sender.start(TEN)
    sender.cancel(upload)
    assert used(alice) == (0, 0)
    assert announce(as_alice).status_code == 200


def test_the_trash_counts_until_it_is_purged(as_alice: Client, alice: User, settings: Settings, bucket: Bucket) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    file = make_row(alice, State.AVAILABLE, size=10)
    services.trash(file, by=alice)
    refused(announce(as_alice), 413, "over_quota")
    File.objects.update(purge_after=timezone.now())
    services.sweep()
    assert announce(as_alice).status_code == 200


def test_a_file_over_the_largest_size_is_refused(as_alice: Client, alice: User, settings: Settings) -> None:
    settings.UPLOAD_MAX_BYTES = 9
    refused(announce(as_alice), 413, "too_large")
    assert announce(as_alice, bytes(9)).status_code == 200
    assert used(alice) == held(alice) == (1, 9)


@pytest.mark.parametrize(
    ("name", "claimed"),
    [("run.exe", ""), ("RUN.EXE", ""), ("x.txt", "application/x-dosexec"), ("x.txt", "Application/X-DOSexec"),
     ("clip.txt", "video/mp4"), ("\u202eexe.\u200bexe", ""), ("run.exe.", ""), ("run.exe . .", ""), (".exe", ""),
     ("run.exe::$DATA", ""), ("run．exe", ""), ("x.txt", "application/x-dosexec; charset=binary")],
)  # fmt: skip
def test_a_refused_type_is_not_even_reserved(
    as_alice: Client, alice: User, settings: Settings, name: str, claimed: str
) -> None:
    settings.UPLOAD_REFUSED_TYPES = [".exe", "application/x-dosexec", "video/*"]
    refused(announce(as_alice, name=name, type=claimed), 415, "refused_type")
    assert used(alice) == held(alice) == (0, 0)


def test_a_file_that_turns_out_to_be_of_a_refused_type_goes(
    as_alice: Client, alice: User, bucket: Bucket, settings: Settings
) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["text/html"]
    sender = Sender(as_alice)
    upload = sender.start(b"<!doctype html><html><script>1</script></html>", name="x.png", type="image/png")
    sender.put(upload)
    refused(sender.finish(upload), 415, "refused_type")
    assert upload.row().state == State.DELETING
    assert used(alice) == (0, 0)
    services.sweep()
    assert not bucket.objects()


def zip_of(name: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(name, b"words")
    return body.getvalue()


@pytest.mark.parametrize("word", ["application/zip", "application/x-zip-compressed"])
@pytest.mark.parametrize(("claimed", "name"), [("", "a.bin"), ("text/plain", "a.txt"), ("", "a.jar"), ("", "a.cbz")])
def test_a_refused_container_goes_whatever_it_is_called(
    as_alice: Client, bucket: Bucket, settings: Settings, word: str, claimed: str, name: str
) -> None:
    settings.UPLOAD_REFUSED_TYPES = [word]
    sender = Sender(as_alice)
    upload = sender.start(zip_of("a.txt"), name=name, type=claimed)
    sender.put(upload)
    refused(sender.finish(upload), 415, "refused_type")


def test_a_document_made_of_a_refused_container_is_taken(as_alice: Client, bucket: Bucket, settings: Settings) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["application/zip"]
    file = Sender(as_alice).send(zip_of("META-INF/container.xml"), name="book")
    assert (file.detected_type, file.category) == ("application/epub+zip", "document")


@pytest.mark.parametrize("claimed", ["application/zip", "application/x-zip-compressed", "application/java-archive"])
def test_a_refused_container_is_not_even_reserved(as_alice: Client, settings: Settings, claimed: str) -> None:
    settings.UPLOAD_REFUSED_TYPES = ["application/zip"]
    refused(announce(as_alice, name="a", type=claimed), 415, "refused_type")


def test_usage_adds_up_over_a_whole_life(as_alice: Client, alice: User, bucket: Bucket) -> None:
    sender = Sender(as_alice)
    sender.send(TEN)
    kept, left = sender.send(b"x"), sender.start(b"yy")
    services.trash(kept, by=alice)
    sender.cancel(left)
    assert used(alice) == held(alice) == (2, 11)
