"""Members create file requests for folders that they may upload to, list them, and close them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.conftest import signed_in
from tests.support.commands import check_output
from tests.support.form_client import words_of
from tests.support.guests import GuestClient, create_request
from tests.support.stores import Bucket
from uploads.errors import ValidationFailed
from uploads.forms.fields import parse_size
from uploads.forms.links import parse_accepted_types
from uploads.models import AccessLevel, Action, Event, FileRequest, Folder
from uploads.services import folders

pytestmark = pytest.mark.django_db

FIELDS = {"title": "Photos", "text": "", "days": "7", "max_files": "10", "max_file_bytes": "1 GB", "max_bytes": "5 GB",
          "accepted_types": ".JPG, image/*", "ask_name": "required", "ask_address": "no"}  # fmt: skip


def post(client: Client, folder: Folder, **fields: str) -> Any:
    return client.post(reverse("request_files", args=[folder.pk]), {**FIELDS, **fields})


def test_form_creates_a_request_and_shows_its_link_once(
    as_alice: Client, alice: User, folder: Folder, bucket: Bucket
) -> None:
    response = post(as_alice, folder)
    link: str = response.context["link"]
    request = FileRequest.objects.get()
    limits = (request.max_files, request.max_file_bytes, request.max_bytes)
    assert (request.title, limits) == ("Photos", (10, 10**9, 5 * 10**9))
    assert (request.accepted_types, request.ask_name, request.ask_address) == ([".jpg", "image/*"], "required", "no")
    assert request.expires_at is not None
    assert 6 <= (request.expires_at - request.created_at).days <= 7
    assert link.encode() in response.content
    assert "no-store" in response["Cache-Control"]
    assert Client().get(link.removeprefix("http://testserver")).status_code == 200
    assert link.rsplit("/", 2)[1].encode() not in as_alice.get(reverse("file_requests")).content
    assert Event.objects.get(action=Action.FILE_REQUEST).detail == {"request": request.pk, "title": "Photos"}


@pytest.mark.parametrize(("field", "value"), [
    ("title", ""), ("title", "\u200b"), ("title", "x" * 201), ("text", "x" * 2001), ("days", "0"), ("days", "366"),
    ("days", "x"), ("max_files", "0"), ("max_files", "100001"), ("max_file_bytes", "0 GB"), ("max_file_bytes", "many"),
    ("max_bytes", "999999999 TB"), ("accepted_types", "pdf"), ("accepted_types", ",".join(f".a{n}" for n in range(51))),
    ("ask_name", "maybe"), ("ask_address", ""),
])  # fmt: skip
def test_invalid_fields_are_refused_below_the_field(as_alice: Client, folder: Folder, field: str, value: str) -> None:
    response = post(as_alice, folder, **{field: value})
    assert response.status_code == 400
    assert list(response.context["form"].errors) == [field]
    assert not FileRequest.objects.exists()


@pytest.mark.parametrize(("text", "size"), [
    ("500 MB", 500 * 10**6), ("1.5gb", 1_500_000_000), ("1,25 GB", 1_250_000_000), ("7 B", 7), (" 2 tb ", 2 * 10**12),
])  # fmt: skip
def test_common_size_formats_are_parsed(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "0.03", "GB", "-1 GB", "1e3 MB", "1.1234567 GB", "٣ GB", "5000 PB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValidationFailed):
        parse_size(text)


def test_accepted_types_are_normalized_without_duplicates() -> None:
    assert parse_accepted_types(".PDF;.pdf  image/*,\n") == [".pdf", "image/*"]


def test_file_request_requires_upload_permission_in_the_folder(
    folder: Folder, as_viewer: Client, as_bob: Client, bob: User, manager: User, admin_user: User
) -> None:
    assert post(as_viewer, folder).status_code == 403
    team = Group.objects.create(name="team")
    folders.set_access(folder, {team: AccessLevel.MANAGE}, by=admin_user)
    assert post(as_bob, folder).status_code == 404
    bob.groups.add(team)
    assert post(as_bob, folder).status_code == 200


def test_file_request_requires_the_permission(folder: Folder, alice: User, as_alice: Client) -> None:
    Group.objects.get(name="uploaders").permissions.remove(
        *Group.objects.get(name="uploaders").permissions.filter(codename="request_files")
    )
    assert post(as_alice, folder).status_code == 403
    page = as_alice.get(folder.get_absolute_url()).content.decode()
    assert reverse("request_files", args=[folder.pk]) not in page


def test_folder_page_links_to_the_form_for_uploaders(folder: Folder, as_alice: Client, as_viewer: Client) -> None:
    url = reverse("request_files", args=[folder.pk])
    assert url in as_alice.get(folder.get_absolute_url()).content.decode()
    assert url not in as_viewer.get(folder.get_absolute_url()).content.decode()


def test_list_shows_own_requests(folder: Folder, alice: User, as_alice: Client, as_bob: Client) -> None:
    _request, token = create_request(folder, alice, title="Holiday")
    GuestClient(token).start(b"hello")
    words = words_of(as_alice.get(reverse("file_requests")).content)
    assert "Holiday open Inbox 1 file, 5" in words
    assert "Holiday" not in words_of(as_bob.get(reverse("file_requests")).content)


def test_closing_ends_the_link(folder: Folder, alice: User, as_alice: Client, as_bob: Client, bucket: Bucket) -> None:
    request, token = create_request(folder, alice)
    url = reverse("close_file_request", args=[request.pk])
    assert "You can't undo this." in words_of(as_alice.get(reverse("file_requests")).content)
    assert as_bob.post(url).status_code == 404
    assert GuestClient(token).open_page().status_code == 200
    assert as_alice.post(url).status_code == 302
    assert as_alice.post(url).status_code == 302  # once more
    assert GuestClient(token).open_page().status_code == 410
    assert Event.objects.filter(action=Action.FILE_REQUEST, detail__closed=True).count() == 1
    assert "closed" in words_of(as_alice.get(reverse("file_requests")).content)


def test_folder_name_is_hidden_from_a_requester_without_access(
    folder: Folder, alice: User, as_alice: Client, admin_user: User
) -> None:
    create_request(folder, alice)
    folders.set_access(folder, {Group.objects.create(name="team"): AccessLevel.MANAGE}, by=admin_user)
    assert "Inbox" not in words_of(as_alice.get(reverse("file_requests")).content)


# --- manage.py request_files --------------------------------------------------------------------------


def run_request_files(*arguments: object) -> list[str]:
    return check_output("request_files", *arguments).splitlines()


def test_the_command_prints_the_link_last(folder: Folder, alice: User, settings: Settings, bucket: Bucket) -> None:
    settings.SITE_URL = "https://files.example.org"
    lines = run_request_files(folder.pk, "--expires", "2w", "--max-files", 3, "--types", ".pdf")
    request = FileRequest.objects.get()
    assert (request.created_by, request.title, request.max_files) == (alice, "Inbox", 3)
    assert request.expires_at is not None
    assert (request.expires_at - request.created_at).days in {13, 14}
    assert lines[-1].startswith("https://files.example.org/r/")
    assert Client().get(lines[-1].removeprefix("https://files.example.org")).status_code == 200


def test_command_prints_json(folder: Folder, bob: User) -> None:
    (line,) = run_request_files(folder.pk, "--by", "bob", "--json")
    assert json.loads(line).keys() == {"id", "folder", "owner", "expires", "link"}
    assert FileRequest.objects.get().created_by == bob


@pytest.mark.parametrize("arguments", [
    ["999999"], ["{folder}", "--by", "nobody"], ["{folder}", "--expires", "0d"], ["{folder}", "--expires", "7"],
    ["{folder}", "--max-size", "much"], ["{folder}", "--types", "pdf"], ["{folder}", "--by", "viewer"],
    ["{folder}", "--expires", "999w"],
])  # fmt: skip
def test_command_rejects_invalid_input_with_status_2(folder: Folder, viewer: User, arguments: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        run_request_files(*[argument.format(folder=folder.pk) for argument in arguments])
    assert refused.value.returncode == 2
    assert not FileRequest.objects.exists()


def test_folder_without_a_creator_requires_the_by_option(folder: Folder) -> None:
    Folder.objects.update(created_by=None)
    with pytest.raises(CommandError, match="--by USERNAME"):
        run_request_files(folder.pk)


def test_managers_see_all_requests_only_with_the_permission(folder: Folder, alice: User, manager: User) -> None:
    create_request(folder, alice, title="Holiday")
    client = signed_in(manager)
    is_listed = "Holiday" in words_of(client.get(reverse("file_requests")).content)
    assert is_listed is manager.has_perm("uploads.view_all_links")
