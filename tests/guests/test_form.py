"""The page of a file request, and its form without JavaScript."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.support.form_client import MULTIPART, Chosen, Form, words_of
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from uploads.models import File, FileRequest, Folder, GuestSession, State
from uploads.services.slow_clients import GUEST_FORMS

pytestmark = pytest.mark.django_db


class GuestForm(Form):
    """The filled form of a guest, with their name and address."""

    details: dict[str, str]

    def head(self) -> bytes:
        boundary = MULTIPART.partition("boundary=")[2]
        fields = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self.details.items()
        ]
        return super().head() + "".join(fields).encode()


def post(guest: GuestClient, *files: Chosen, submission: str = "", **details: str):  # type: ignore[no-untyped-def]
    form = GuestForm(files, submission or str(uuid.uuid4()))
    form.details = details
    return guest.client.post(guest.page_url, data=form.body(), content_type=MULTIPART)


def test_page_shows_the_request_but_not_the_folder(
    folder: Folder, alice: User, as_alice: Client, bucket: Bucket
) -> None:
    request, token = create_request(folder, alice, text="All of <b>them</b>", accepted_types=["image/*"])
    File.objects.create(
        owner=alice, folder=folder, name="secret.txt", size=1, part_size=10, expires_at="2100-01-01T00:00Z"
    )
    response = GuestClient(token).open_page()
    words = words_of(response.content)
    assert response.status_code == 200
    for text in (request.title, "alice is requesting files from you", "All of <b>them</b>", "Accepted types: images"):
        assert text in words
    assert "secret" not in words
    assert folder.name not in words
    assert response["Referrer-Policy"] == "same-origin"
    assert "noindex" in response["X-Robots-Tag"]


def test_form_uploads_files(token: str, alice: User, bucket: Bucket) -> None:
    guest = GuestClient(token)
    response = post(guest, Chosen("a.txt", b"one"), Chosen("b.txt", b"two"), name="Gina", address="")
    assert response.status_code == 200
    assert "Uploaded 2 files." in words_of(response.content)
    assert "You're uploading as Gina ." in words_of(response.content)
    files = File.objects.filter(owner=alice, state=State.AVAILABLE, guest_session__name="Gina")
    assert sorted(bucket.read(file.key) for file in files) == [b"one", b"two"]
    page = words_of(guest.open_page().content)
    assert "a.txt" in page
    assert "SHA-256" in page


def test_form_that_is_sent_twice_creates_one_file(token: str, bucket: Bucket) -> None:
    guest, submission = GuestClient(token), str(uuid.uuid4())
    for _attempt in range(2):
        assert post(guest, Chosen("a.txt"), submission=submission).status_code == 200
    assert File.objects.filter(state=State.AVAILABLE).count() == 1


@pytest.mark.usefixtures("small_parts")
def test_large_file_of_the_form_is_uploaded_in_parts(token: str, file_request: FileRequest, bucket: Bucket) -> None:
    body = b"0123456789" * 5 + b"x"
    assert post(GuestClient(token), Chosen("big.bin", body)).status_code == 200
    file = File.objects.get(state=State.AVAILABLE)
    assert bucket.read(file.key) == body
    file_request.refresh_from_db()
    assert (file_request.file_count, file_request.byte_count) == (1, len(body))


def test_form_requires_the_name(folder: Folder, alice: User, bucket: Bucket) -> None:
    guest = GuestClient(create_request(folder, alice, ask_name="required")[1])
    response = post(guest, Chosen("a.txt"), name="")
    assert response.status_code == 400
    assert "This field is required." in words_of(response.content)
    assert not File.objects.filter(state=State.AVAILABLE).exists()
    assert post(guest, Chosen("a.txt"), name="Gina").status_code == 200
    assert File.objects.get(state=State.AVAILABLE).guest_session == GuestSession.objects.get(name="Gina")


def test_form_enforces_the_limits(folder: Folder, alice: User, bucket: Bucket) -> None:
    request, token = create_request(folder, alice, max_file_bytes=4, max_files=1)
    response = post(GuestClient(token), Chosen("big.txt", b"12345"), Chosen("a.txt", b"12"), Chosen("b.txt", b"1"))
    assert response.status_code == 200
    words = words_of(response.content)
    assert "big.txt : The file is too large. The limit is 4 B." in words
    assert "b.txt : This file request has received all of its 1 files." in words
    request.refresh_from_db()
    assert (request.file_count, request.byte_count) == (1, 2)


def test_form_without_files_is_rejected(token: str, bucket: Bucket) -> None:
    response = post(GuestClient(token))
    assert response.status_code == 400
    assert "Choose at least one file." in words_of(response.content)


def test_form_larger_than_the_remaining_quota_is_refused_before_reading(
    folder: Folder, alice: User, bucket: Bucket
) -> None:
    guest = GuestClient(create_request(folder, alice, max_bytes=1000)[1])
    response = post(guest, Chosen("a.bin", bytes(300_000)))
    assert response.status_code == 413
    assert not GuestSession.objects.exists()


def test_concurrent_forms_of_one_link_are_limited(token: str, file_request: FileRequest, bucket: Bucket) -> None:
    with GUEST_FORMS.acquire(file_request), GUEST_FORMS.acquire(file_request):
        response = post(GuestClient(token), Chosen("a.txt"))
    assert response.status_code == 429
    assert post(GuestClient(token), Chosen("a.txt")).status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "status", "message"),
    [
        ("PUT", {}, 405, "This address accepts only GET, HEAD, POST."),
        ("POST", {"Transfer-Encoding": "chunked"}, 411, "The request must have a Content-Length header."),
        ("POST", {}, 400, "Send the files as a form (multipart/form-data)."),
    ],
)
def test_error_page_does_not_lead_guests_to_the_library(
    method: str, headers: dict[str, str], status: int, message: str, token: str
) -> None:
    response = Client().generic(method, f"/r/{token}/", headers=headers)
    text = response.content.decode()
    assert (response.status_code, message in text) == (status, True)
    assert "Go to library" not in text


def test_form_requires_a_csrf_token(token: str, bucket: Bucket) -> None:
    guest = GuestClient(token, Client(enforce_csrf_checks=True))
    assert post(guest, Chosen("a.txt")).status_code == 403
    assert guest.announce(guest.item(b"x")).status_code == 403
    assert not File.objects.filter(state=State.AVAILABLE).exists()


def test_unfinished_uploads_are_listed_and_can_be_canceled(guest: GuestClient) -> None:
    upload = guest.start(b"hello", name="half.bin")
    assert "half.bin" in words_of(guest.open_page().content)
    url = reverse("cancel_guest_upload", args=[guest.token, upload.id])
    assert GuestClient(guest.token).client.post(url).status_code == 404
    assert guest.client.post(url).status_code == 302
    assert "half.bin" not in words_of(guest.open_page().content)
    assert not File.objects.exclude(state=State.DELETING).exists()


def test_guests_see_original_file_names(guest: GuestClient) -> None:
    file = guest.send(b"hello", name="application.pdf")
    File.objects.filter(pk=file.pk).update(name="rejected.pdf")
    words = words_of(guest.open_page().content)
    assert "application.pdf" in words
    assert "rejected.pdf" not in words


def test_large_request_bodies_require_a_guest_session(guest: GuestClient, token: str) -> None:
    guest.start(b"x")
    body = {"files": [{"id": str(uuid.uuid4()), "sha256": ["A" * 43 + "="] * 7000}]}
    assert guest.post(f"{guest.page_url}uploads/finish/", body).status_code == 404
    assert GuestClient(token).post(f"{guest.page_url}uploads/finish/", body).status_code == 413


def test_signed_in_member_uploads_as_a_guest(token: str, as_bob: Client, bob: User, bucket: Bucket) -> None:
    guest = GuestClient(token, as_bob)
    file = guest.send(b"hello")
    assert file.owner != bob
    assert file.guest_session is not None


def test_page_follows_the_accept_language_header(token: str, settings: Settings) -> None:
    assert b'<html lang="es"' in Client(headers={"Accept-Language": "es"}).get(f"/r/{token}/").content
