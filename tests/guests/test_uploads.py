"""Guests upload through a link: only new files, which the creator of the link owns."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.support import factories
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, put_bytes, sha256
from uploads.models import Action, Event, File, FileRequest, Folder, GuestSession, State, Usage, Visibility
from uploads.services import file_requests
from uploads.services.sweep import sweep

pytestmark = pytest.mark.django_db


def test_file_of_guest_belongs_to_the_creator_and_names_the_guest(
    guest: GuestClient, file_request: FileRequest, alice: User, bucket: Bucket
) -> None:
    file = guest.send(b"hello", name="a.txt", folder="Sub/Folder", visibility="private")
    assert (file.owner, file.folder, file.state) == (alice, file_request.folder, State.AVAILABLE)
    assert (file.visibility, file.name) == (Visibility.TEAM, "a.txt")
    assert file.guest_session is not None
    assert (file.guest_session.name, file.guest_session.address) == ("Gina", "gina@example.org")
    assert bucket.read(file.key) == b"hello"
    assert not Folder.objects.filter(name="Sub").exists()


def test_guest_cannot_replace_a_file(guest: GuestClient, alice: User, bucket: Bucket) -> None:
    existing = factories.create_file(alice, b"alice's", bucket=bucket)
    sent = guest.send(b"hello", replaces=str(existing.permanent_id))
    existing.refresh_from_db()
    assert (existing.current, existing.series, sent.permanent_id) == (True, None, sent.pk)
    assert bucket.read(existing.key) == b"alice's"


def test_multipart_upload_is_resumed_by_its_guest(guest: GuestClient, small_parts: None) -> None:
    body = b"0123456789" * 3 + b"end"
    upload = guest.start(body, name="long.bin")
    guest.put(upload, 1, 2)
    (listed,) = guest.unfinished().json()["uploads"]
    assert (listed["token"], listed["name"], listed["folder"]) == (str(upload.token), "long.bin", "")
    assert [part["number"] for part in guest.retrieve(upload).json()["parts"]] == [1, 2]
    again = guest.start(body, name="long.bin", token=upload.token)
    assert again.id == upload.id
    guest.put(upload, 3, 4)
    assert guest.finished(upload).state == State.AVAILABLE


def test_audit_log_names_the_guest_instead_of_the_creator(guest: GuestClient, alice: User) -> None:
    file = guest.send(b"hello")
    event = Event.objects.get(action=Action.GUEST_UPLOAD)
    assert (event.file_id, event.actor_id, event.actor, event.name) == (file.pk, None, "", "report.txt")
    assert (event.detail["guest"], event.detail["guest_address"]) == ("Gina", "gina@example.org")
    assert not Event.objects.filter(action=Action.UPLOAD).exists()


def test_file_page_names_the_guest(guest: GuestClient, as_alice: Client) -> None:
    page = as_alice.get(guest.send(b"hello").get_absolute_url()).content.decode()
    assert "sent by Gina (gina@example.org) to alice" in page
    assert "received it from Gina (gina@example.org) through a file request" in page


def test_guest_response_contains_only_the_receipt(guest: GuestClient) -> None:
    upload = guest.start(b"hello")
    guest.put(upload)
    (item,) = guest.finish(upload).json()["files"]
    assert item.keys() == {"id", "state", "size", "checksum", "checksum_status"}
    assert item["checksum"] == sha256(b"hello")


def test_unfinished_file_of_a_guest_is_hidden(
    guest: GuestClient, alice: User, as_alice: Client, as_manager: Client, admin_user: User
) -> None:
    upload = guest.start(b"hello")
    for user in User.objects.all():
        assert not File.objects.visible_to(user).filter(pk=upload.id).exists()
    assert as_alice.get("/uploads/").json() == {"uploads": []}
    assert as_alice.get(f"/uploads/{upload.id}/").status_code == 404
    assert as_alice.delete(f"/uploads/{upload.id}/").status_code == 404
    assert as_alice.get("/").context["unfinished_count"] == 0
    assert as_alice.post(f"/unfinished/{upload.id}/cancel").status_code == 404
    assert UploadClient(as_alice).finish(upload).status_code == 404


def test_upload_token_of_another_person_starts_a_separate_upload(guest: GuestClient, as_alice: Client) -> None:
    upload = UploadClient(as_alice).start(b"hello")
    other = GuestClient(guest.token)
    rows = {upload.id, guest.start(b"hello", token=upload.token).id, other.start(b"hello", token=upload.token).id}
    assert len(rows) == 3


def test_guest_cannot_access_the_upload_of_another_guest(guest: GuestClient, token: str) -> None:
    upload = guest.start(b"hello")
    stranger = GuestClient(token)
    stranger.start(b"mine")
    responses = [
        stranger.retrieve(upload), stranger.cancel(upload), stranger.finish(upload),
        stranger.request_parts(upload.id, [{"number": 1, "sha256": sha256(b"hello")}]),
    ]  # fmt: skip
    assert [response.status_code for response in responses] == [404, 404, 404, 404]
    assert [item["id"] for item in stranger.unfinished().json()["uploads"]] != [str(upload.id)]
    assert upload.row().state == State.UPLOADING


def test_a_guest_without_a_session_has_no_uploads(token: str, guest: GuestClient) -> None:
    upload = guest.start(b"hello")
    fresh = GuestClient(token)
    assert fresh.unfinished().json() == {"uploads": []}
    assert fresh.cancel(upload).status_code == 404
    assert GuestSession.objects.count() == 1


def test_guest_session_grants_no_access_to_other_pages(guest: GuestClient) -> None:
    file = guest.send(b"hello")
    for url in ("/", file.get_absolute_url(), reverse("download", args=[file.pk])):
        assert guest.client.get(url).status_code == 302  # to the sign-in page
    for url in ("/uploads/", f"/uploads/{file.pk}/"):
        assert guest.client.get(url).status_code == 403


def test_cookie_is_limited_to_the_path_of_one_request(guest: GuestClient, settings: Settings) -> None:
    guest.open_page()
    cookie = guest.client.cookies[settings.GUEST_COOKIE_NAME]
    assert cookie["path"] == guest.page_url
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", settings.HTTPS or "")
    assert not GuestSession.objects.exists()  # until the first file


def test_cookie_of_another_request_is_ignored(
    guest: GuestClient, folder: Folder, alice: User, settings: Settings
) -> None:
    upload = guest.start(b"hello")
    _request, token = create_request(folder, alice)
    stolen = GuestClient(token)
    stolen.client.cookies[settings.GUEST_COOKIE_NAME] = guest.client.cookies[settings.GUEST_COOKIE_NAME].value
    assert stolen.retrieve(upload).status_code == 404
    assert stolen.start(b"x").row().guest_session_id != upload.row().guest_session_id


@pytest.mark.parametrize("text", ["", "x", "1:2:3", "W10:x:y"])
def test_forged_cookie_is_ignored(guest: GuestClient, text: str, settings: Settings) -> None:
    guest.client.cookies[settings.GUEST_COOKIE_NAME] = text
    assert guest.unfinished().json() == {"uploads": []}


def test_two_first_calls_of_one_browser_create_one_session(guest: GuestClient, settings: Settings) -> None:
    guest.open_page()
    cookie = guest.client.cookies[settings.GUEST_COOKIE_NAME].value
    for _call in range(2):
        guest.client.cookies[settings.GUEST_COOKIE_NAME] = cookie
        guest.start(b"hello", token=uuid.uuid4())
    assert GuestSession.objects.count() == 1


def test_canceled_upload_releases_its_reservation(guest: GuestClient, file_request: FileRequest, alice: User) -> None:
    upload = guest.start(b"hello")
    file_request.refresh_from_db()
    assert (file_request.file_count, file_request.byte_count) == (1, 5)
    assert guest.cancel(upload).status_code == 204
    file_request.refresh_from_db()
    assert (file_request.file_count, file_request.byte_count) == (0, 0)
    assert Usage.objects.get(owner=alice).bytes == 0


def test_expired_upload_releases_its_reservation(guest: GuestClient, file_request: FileRequest) -> None:
    upload = guest.start(b"hello")
    File.objects.filter(pk=upload.id).update(expires_at="2020-01-01T00:00Z")
    sweep()
    file_request.refresh_from_db()
    assert (file_request.file_count, file_request.byte_count) == (0, 0)


def test_deleted_file_counts_toward_the_limits(guest: GuestClient, file_request: FileRequest, alice: User) -> None:
    file = guest.send(b"hello")
    File.objects.filter(pk=file.pk).update(state=State.TRASHED, purge_after="2020-01-01T00:00Z")
    sweep()
    assert File.objects.get(pk=file.pk).state == State.DELETING
    file_request.refresh_from_db()
    assert (file_request.file_count, file_request.byte_count) == (1, 5)


def test_deleting_the_creator_keeps_files_and_guest_names(
    guest: GuestClient, alice: User, bob: User, folder: Folder
) -> None:
    file = guest.send(b"hello")
    File.objects.filter(pk=file.pk).update(owner=bob)
    Folder.objects.filter(pk=folder.pk).update(created_by=None)
    alice.delete()
    file.refresh_from_db()
    assert file.guest_session is not None
    assert (file.guest_session.name, file.guest_session.request) == ("Gina", None)


def test_link_token_is_not_logged(guest: GuestClient, caplog: pytest.LogCaptureFixture) -> None:
    guest.send(b"hello")
    guest.open_page()
    assert "guest_session_opened" in caplog.text
    assert guest.token not in caplog.text


# --- ended requests, checked at each call -----------------------------------------------------------


def close(file_request: FileRequest) -> None:
    file_requests.close(file_request, by=None)


def expire(file_request: FileRequest) -> None:
    FileRequest.objects.filter(pk=file_request.pk).update(expires_at="2020-01-01T00:00Z")


def deactivate(file_request: FileRequest) -> None:
    User.objects.filter(pk=file_request.created_by_id).update(is_active=False)


def take_role(file_request: FileRequest) -> None:
    file_request.created_by.groups.clear()


def remove_folder(file_request: FileRequest) -> None:
    Folder.objects.filter(pk=file_request.folder_id).update(removed_at="2020-01-01T00:00Z")


@pytest.mark.parametrize("end", [close, expire, deactivate, take_role, remove_folder])
def test_ended_request_rejects_every_call(
    guest: GuestClient, file_request: FileRequest, end: Callable[[FileRequest], None]
) -> None:
    upload = guest.start(b"hello")
    put_bytes(upload.signed[1], b"hello")
    end(file_request)
    responses = [
        guest.announce(guest.item(b"more")), guest.finish(upload), guest.retrieve(upload), guest.cancel(upload),
        guest.unfinished(), guest.request_parts(upload.id, [{"number": 1, "sha256": sha256(b"hello")}]),
    ]  # fmt: skip
    assert [(response.status_code, response.json()["error"]["code"]) for response in responses] == [
        (410, "link_ended")
    ] * 6
    page = guest.open_page()
    assert page.status_code == 410
    assert "Ask" in page.content.decode()


def test_request_that_ends_during_finish_rejects_the_file(
    guest: GuestClient, file_request: FileRequest, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    finishing = importlib.import_module("uploads.services.finish")
    upload = guest.start(b"hello")
    guest.put(upload)
    assemble = finishing.assemble

    def slowly(*arguments: object) -> object:
        close(file_request)
        return assemble(*arguments)

    monkeypatch.setattr(finishing, "assemble", slowly)
    response = guest.finish(upload)
    assert (response.status_code, response.json()["error"]["code"]) == (410, "link_ended")
    assert upload.row().state == State.DELETING


def test_unknown_link_is_404(bucket: Bucket) -> None:
    guest = GuestClient("A" * 32)
    assert guest.open_page().status_code == 404
    response = guest.announce(guest.item(b"x"))
    assert (response.status_code, response.json()["error"]["code"]) == (404, "link_unknown")
