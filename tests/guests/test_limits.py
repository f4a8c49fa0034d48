"""The limits of a file request, also under concurrency, and the quota of its creator."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.support.file_rows import create_row, stored_usage, usage_by_rows
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from uploads.models import File, FileRequest, Folder, GuestSession, Limit, State, TokenBucket
from uploads.models.querysets import seconds_from_now
from uploads.services import file_requests
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db


def error_of(guest: GuestClient, body: bytes, **more: str) -> tuple[int, str, str]:
    response = guest.announce(guest.item(body, **more))
    error = response.json()["error"]
    return response.status_code, error["code"], error["message"]


def test_a_file_over_the_limit_is_refused(folder: Folder, alice: User) -> None:
    guest = GuestClient(create_request(folder, alice, max_file_bytes=5)[1])
    assert error_of(guest, b"123456") == (413, "too_large", "The file is too large. The limit is 5 B.")
    guest.start(b"12345")


def test_file_limit_applies_to_all_guests_together(folder: Folder, alice: User) -> None:
    token = create_request(folder, alice, max_files=2)[1]
    for _guest in range(2):
        GuestClient(token).start(b"x")
    status, code, message = error_of(GuestClient(token), b"x")
    assert (status, code) == (413, "over_quota")
    assert message == "This file request has received all of its 2 files."


def test_files_of_one_call_share_the_byte_limit(folder: Folder, alice: User) -> None:
    guest = GuestClient(create_request(folder, alice, max_bytes=10)[1])
    response = guest.announce(guest.item(b"123456"), guest.item(b"12345"), guest.item(b"1234"))
    codes = [file.get("error", {}).get("code") for file in response.json()["files"]]
    assert codes == [None, "over_quota", None]


@pytest.mark.django_db(transaction=True)
def test_concurrent_guests_do_not_exceed_the_limits(folder: Folder, alice: User, bucket: Bucket) -> None:
    request, token = create_request(folder, alice, max_files=7)
    statuses: list[int] = []

    def send() -> None:
        guest = GuestClient(token)
        statuses.append(guest.announce(guest.item(b"x")).status_code)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(statuses) == {200: 7, 413: 13}
    request.refresh_from_db()
    assert request.file_count == File.objects.filter(guest_session__request=request).count() == 7
    assert stored_usage(alice) == usage_by_rows(alice) == (7, 7)


def test_full_quota_of_the_recipient_is_reported_without_numbers(
    folder: Folder, alice: User, settings: Settings
) -> None:
    settings.UPLOAD_QUOTA_BYTES = 10
    create_row(alice, State.AVAILABLE, size=8)
    guest = GuestClient(create_request(folder, alice)[1])
    status, code, message = error_of(guest, b"123")
    assert (status, code) == (413, "over_quota")
    assert message == "The recipient doesn't have enough storage for this file. Tell alice."


@pytest.mark.parametrize(("accepted", "name", "media_type", "is_accepted"), [
    ([".pdf"], "a.pdf", "", True), ([".pdf"], "A.PDF", "", True), ([".pdf"], "a.txt", "application/pdf", False),
    ([".pdf"], "a.pdf.exe", "", False), ([".pdf"], "a.exe:b.pdf", "", False), ([".pdf"], "pdf", "", False),
    (["image/*"], "a", "image/png", True), (["image/*"], "a.png", "", False), (["image/png"], "a", "image/jpeg", False),
    (["image/jpeg"], "a", "image/jpg", True), ([], "a", "", True), ([".pdf", "image/*"], "a.pdf", "", True),
])  # fmt: skip
def test_accepted_types_are_matched(accepted: list[str], name: str, media_type: str, is_accepted: bool) -> None:
    types = file_requests.is_accepted(accepted, name=name, media_type=media_type) if accepted else True
    assert types is is_accepted


def test_declared_type_that_is_not_accepted_is_refused(folder: Folder, alice: User) -> None:
    guest = GuestClient(create_request(folder, alice, accepted_types=[".pdf"])[1])
    status, code, message = error_of(guest, b"x", name="a.exe")
    assert (status, code, message) == (415, "refused_type", "Only these types are accepted here: .pdf.")
    assert not File.objects.exists()


def test_detected_type_that_is_not_accepted_is_refused(folder: Folder, alice: User, bucket: Bucket) -> None:
    guest = GuestClient(create_request(folder, alice, accepted_types=["image/*"])[1])
    upload = guest.start(b"<!doctype html><html><script>1</script></html>", name="a.png", type="image/png")
    guest.put(upload)
    response = guest.finish(upload)
    message = response.json()["files"][0]["error"]["message"]
    assert (response.status_code, message) == (415, "Only these types are accepted here: images.")
    assert upload.row().state == State.DELETING


def test_accepted_types_have_the_names_that_people_use() -> None:
    assert file_requests.describe_types(["image/*", ".docx", "application/pdf", "font/woff2"]) == (
        "images, .docx, PDF, font/woff2"
    )


# --- guest details ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("details", "message"), [
    ({}, "Your name: This field is required."), ({"name": " \u200b\n "}, "Your name: This field is required."),
    ({"name": "x" * 101}, "at most 100 characters"), ({"name": "Gina", "address": "nonsense"}, "valid email address"),
])  # fmt: skip
def test_missing_and_invalid_details_are_refused(
    folder: Folder, alice: User, details: dict[str, str], message: str
) -> None:
    guest = GuestClient(create_request(folder, alice, ask_name="required")[1], None, **details)
    status, code, text = error_of(guest, b"x")
    assert (status, code) == (400, "bad_request")
    assert message in text
    assert not GuestSession.objects.exists()


@pytest.mark.parametrize("details", [["Gina"], "Gina", {"name": 7}, None])
def test_details_of_the_wrong_type_are_ignored(folder: Folder, alice: User, details: object) -> None:
    guest = GuestClient(create_request(folder, alice)[1])
    response = guest.post(f"{guest.page_url}uploads/", {"files": [guest.item(b"x")], "guest": details})
    assert response.status_code == 200
    assert GuestSession.objects.get().label == "a guest"


def test_details_that_were_not_requested_are_not_stored(folder: Folder, alice: User) -> None:
    guest = GuestClient(create_request(folder, alice, ask_name="no", ask_address="no")[1], name="G", address="g@x.org")
    guest.start(b"x")
    assert GuestSession.objects.get().is_anonymous


def test_guest_name_is_saved_only_once(token: str) -> None:
    guest = GuestClient(token)
    guest.start(b"x")
    guest.details = {"name": "Gina"}
    guest.start(b"y")
    guest.details = {"name": "Somebody else"}
    guest.start(b"z")
    assert GuestSession.objects.get().label == "Gina"


def test_invisible_characters_are_removed_from_the_name(token: str) -> None:
    GuestClient(token, name="ali\u200bce\u202e\n").start(b"x")
    assert GuestSession.objects.get().name == "alice"


# --- throttling -------------------------------------------------------------------------------------


def test_new_guests_of_one_network_are_throttled(
    token: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_requests, "NETWORK_LIMIT", Limit(capacity=3, refill_seconds=3600, shared=True))
    settings.PROXY_COUNT = 1
    responses = []
    for _guest in range(4):
        guest = GuestClient(token, Client(headers={"X-Forwarded-For": "192.0.2.1"}))
        responses.append(guest.announce(guest.item(b"x")))
    assert [response.status_code for response in responses[-2:]] == [200, 429]
    assert int(responses[-1]["Retry-After"]) > 0
    other = GuestClient(token, Client(headers={"X-Forwarded-For": "192.0.2.2"}))
    assert other.announce(other.item(b"x")).status_code == 200


def test_guests_with_a_session_are_not_throttled(token: str, file_request: FileRequest, guest: GuestClient) -> None:
    guest.start(b"x")
    key = f"guest:{file_request.pk}"
    TokenBucket.objects.update_or_create(pk=key, defaults={"full_at": "2100-01-01T00:00Z"})
    other = GuestClient(token)
    assert other.announce(other.item(b"x")).status_code == 429
    guest.start(b"y")


# --- sessions ---------------------------------------------------------------------------------------


def test_full_request_opens_no_session(folder: Folder, alice: User) -> None:
    request, token = create_request(folder, alice, max_files=1)
    GuestClient(token).start(b"x")
    status, _code, message = error_of(GuestClient(token), b"x")
    assert (status, message) == (413, "This file request has received all of its 1 files.")
    assert GuestSession.objects.filter(request=request).count() == 1


def test_sweep_deletes_expired_sessions_without_files(
    token: str, guest: GuestClient, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_requests, "EMPTY_SESSIONS_BATCH_SIZE", 1)
    kept = guest.start(b"x").row().guest_session_id
    for _each in range(2):
        other = GuestClient(token)
        other.cancel(other.start(b"y"))
    File.objects.exclude(guest_session=kept).delete()
    sweep()
    assert GuestSession.objects.count() == 3
    GuestSession.objects.update(created_at=seconds_from_now(-(file_requests.SESSION_DAYS + 2) * 24 * 3600))
    sweep()
    assert GuestSession.objects.get().pk == kept


def test_guest_session_is_not_extended_by_use(guest: GuestClient) -> None:
    guest.open_page()
    cookie = guest.client.cookies[django_settings.GUEST_COOKIE_NAME].value
    guest.start(b"x")
    guest.open_page()
    assert guest.client.cookies[django_settings.GUEST_COOKIE_NAME].value == cookie
