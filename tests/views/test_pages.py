"""The library, file, trash and unfinished uploads pages."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from amalga import __version__
from tests.support import factories
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient
from uploads.listing import PAGE_SIZE, Cursor, InvalidCursor
from uploads.models import File, State, Visibility
from uploads.services.folders import ensure
from uploads.views import presenters
from uploads.views.presenters import split_name

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def add_files(owner: User, count: int, *, start: int = 0, **fields: Any) -> None:
    """Add `count` files, file-0000 the oldest; every two files share a timestamp."""
    state = fields.pop("state", State.AVAILABLE)
    column = "purge_after" if state == State.TRASHED else "available_at"
    common = {"owner": owner, "size": 1, "part_size": factories.PART, "etag": "e", "checksum": "c", "state": state}
    File.objects.bulk_create(
        File(**common | {"name": f"file-{n:04}", "available_at": NOON, column: time_of(n)} | fields)
        for n in range(start, start + count)
    )


def time_of(number: int) -> datetime:
    return NOON + timedelta(microseconds=number // 2)


def names_on(page: bytes) -> list[str]:
    return re.findall(r">(file-\d{4})<", page.decode())


def next_url(response: Any) -> str | None:
    url: str | None = response.context["next_url"]
    return url


def all_names(client: Client, url: str | None) -> list[str]:
    names: list[str] = []
    while url:
        response = client.get(url)
        names += names_on(response.content)
        url = next_url(response)
    return names


# --- the library ------------------------------------------------------------------------------


def test_library_lists_newest_files_first_across_pages(alice: User, as_bob: Client) -> None:
    add_files(alice, 120)
    names = all_names(as_bob, "/")
    assert len(names) == len(set(names)) == 120
    numbers = [int(name[-4:]) // 2 for name in names]  # pairs share a timestamp, in either order
    assert numbers == sorted(numbers, reverse=True)


def test_files_added_during_paging_cause_no_duplicates_or_gaps(alice: User, as_bob: Client) -> None:
    add_files(alice, 120)
    names: list[str] = []
    url: str | None = "/"
    for start in (1000, 2000, 3000):
        assert url
        response = as_bob.get(url)
        names += names_on(response.content)
        url = next_url(response)
        add_files(alice, 30, start=start)
    assert url is None
    assert sorted(names) == [f"file-{n:04}" for n in range(120)]


def test_files_trashed_during_paging_hide_no_others(alice: User, as_bob: Client) -> None:
    add_files(alice, 120)
    response = as_bob.get("/")
    first_names = names_on(response.content)
    for file in File.objects.filter(name__in=first_names):
        File.objects.filter(pk=file.pk).move_to(State.TRASHED, purge_after=NOON)
    assert sorted(first_names + all_names(as_bob, next_url(response))) == [f"file-{n:04}" for n in range(120)]


@pytest.mark.parametrize("count", [0, 1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE])
def test_next_page_link_exists_only_if_more_files_follow(count: int, alice: User, as_alice: Client) -> None:
    add_files(alice, count)
    response = as_alice.get("/")
    assert (next_url(response) is not None) == (count > PAGE_SIZE)
    assert len(all_names(as_alice, "/")) == count


def test_later_page_links_to_the_first_page(alice: User, as_alice: Client) -> None:
    add_files(alice, 60)
    response = as_alice.get("/")
    assert response.context["first_url"] is None
    assert as_alice.get(str(next_url(response))).context["first_url"] == "/"


def test_empty_library_invites_users_to_upload(as_alice: Client, as_viewer: Client, as_charlie: Client) -> None:
    assert b"No files yet" in as_alice.get("/").content
    assert b"Choose files" in as_alice.get("/").content
    assert b"Choose files" not in as_viewer.get("/").content
    assert b"have a role yet" in as_charlie.get("/").content


@pytest.mark.parametrize(
    ("route", "heading", "text"),
    [
        ("tags", "No tags yet", "select several files"),
        ("trash", "The trash is empty", "permanently deleted"),
        ("file_requests", "No file requests yet", "“Request files”"),
        ("unfinished", "No unfinished uploads", "resume"),
        ("notifications", "No notifications", "appear here"),
        ("saved_searches", "No saved searches", "“Save search”"),
        ("links", "No share links yet", "choose Share"),
    ],
)
def test_empty_pages_say_what_belongs_there(route: str, heading: str, text: str, as_alice: Client) -> None:
    page = as_alice.get(reverse(route)).text
    assert f"<h2>{heading}</h2>" in page
    assert text in page


def test_sort_order_of_plain_lists_is_remembered(alice: User, as_alice: Client) -> None:
    add_files(alice, 60)
    as_alice.get("/?sort=size&q=file")  # of a search, which is not remembered
    assert as_alice.get("/").context["list_query"].sort == "-added"
    as_alice.get("/?sort=name")
    page = as_alice.get("/")
    assert page.context["list_query"].sort == "name"
    for url in ("/?q=file", "/?show=recent", "/trash/"):
        assert as_alice.get(url).context["list_query"].sort == "-added"
    first = File.objects.order_by("natural_name").first()
    assert first
    assert as_alice.get(first.get_absolute_url()).context["previous_url"] == ""
    next_page = next_url(page)
    as_alice.get("/?sort=-added")
    assert as_alice.get(str(next_page)).status_code == 200
    assert as_alice.get("/").context["list_query"].sort == "-added"


def test_links_of_a_page_keep_its_sort_order_when_another_tab_changes_it(alice: User, as_alice: Client) -> None:
    add_files(alice, 60)
    as_alice.get("/?sort=-added")
    newest = File.objects.order_by("-available_at")[0]
    list_url = as_alice.get(newest.get_absolute_url()).context["list_url"]
    second_page = next_url(as_alice.get("/"))
    as_alice.get("/?sort=name")  # in another tab
    first_url = as_alice.get(str(second_page)).context["first_url"]
    for url in (list_url, first_url):
        assert as_alice.get(url).context["list_query"].sort == "-added"


@pytest.mark.parametrize("view", ["table", "grid"])
def test_after_an_upload_one_row_is_rendered(view: str, alice: User, as_alice: Client) -> None:
    add_files(alice, 10)
    caches["rows"].clear()
    with patch.object(presenters, "split_name", side_effect=split_name) as split:
        before = as_alice.get(f"/?view={view}").text
        assert split.call_count == 10
        add_files(alice, 1, start=10)
        after = as_alice.get("/").text
    assert [call.args for call in split.call_args_list[10:]] == [("file-0010",)]
    assert (before.count('value="'), "file-0009" in before) == (after.count('value="') - 1, "file-0009" in after)
    File.objects.filter(name="file-0003").update(visibility="private")
    assert as_alice.get("/").text.count("data-private") == 1


A_UUID = "6e1bd3f6-7b44-4a7b-8c6d-3f3b6a2e9d55"
TAMPERED = [
    "x",
    "_",
    "%00",
    "2026-01-01",
    "2026-01-01_",
    f"_{A_UUID}",
    f"2026-01-01T12:00:00_{A_UUID}",  # no zone
    "2026-01-01T12:00:00+00:00_not-an-id",
    f"2026-13-01T12:00:00+00:00_{A_UUID}",
    f"99999-01-01T12:00:00+00:00_{A_UUID}",
    f"-2026-01-01T12:00:00+00:00_{A_UUID}",
    f"2026-01-01T12:00:00+24:00_{A_UUID}",
    "2026-01-01T12:00:00+00:00_" + "0" * 5000,
    f"infinity_{A_UUID}",
    f"now()_{A_UUID}",
    "2026-01-01T12:00:00+00:00_' OR 1=1 --",
    "\ufffd_\u202e",
]
# unusual, but each is a valid time and id: an empty or a full page is correct
UNUSUAL = [
    f"0001-01-01T00:00:00+00:00_{A_UUID}",
    f"9999-12-31T23:59:59.999999+00:00_{A_UUID}",
    f"0001-01-01T00:00:00+23:59_{A_UUID}",
    f"9999-12-31T23:59:59-23:59_{A_UUID}",
    f"2026-01-01T12:00:00+23:59_{A_UUID}",
    f"2026-01-01T12:00:00+00:00:00.000001_{A_UUID}",
    f"2026-01-01T12:00:00+05:30:17_{A_UUID}",
    "2026-01-01T12:00:00+00:00_" + "F" * 32,
]


@pytest.mark.parametrize("text", TAMPERED)
def test_malformed_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.decode(text, "available_at")


@pytest.mark.parametrize("path", ["/", "/trash/"])
def test_malformed_cursor_is_not_found(path: str, as_alice: Client) -> None:
    for text in ("x", "%00", f"infinity_{A_UUID}"):
        assert as_alice.get(path, {"after": text}).status_code == 404, text


@pytest.mark.parametrize("path", ["/", "/trash/"])
def test_unusual_cursor_causes_no_server_error(path: str, as_alice: Client) -> None:
    for text in UNUSUAL:
        assert as_alice.get(path, {"after": text}).status_code in {200, 404}, text


def test_cursor_does_not_reveal_private_files(alice: User, as_bob: Client) -> None:
    add_files(alice, 3, visibility=Visibility.PRIVATE)
    after = f"9999-01-01T00:00:00+00:00_{A_UUID}"
    assert names_on(as_bob.get("/", {"after": after}).content) == []


# --- the page of a file -----------------------------------------------------------------------


def test_file_page_shows_the_file_details(alice: User, as_alice: Client, bucket: Bucket) -> None:
    body = b"%PDF-1.7 and so on"
    file = UploadClient(as_alice).send(body, name="plan.pdf", folder="Brand/2026", type="application/x-claimed")
    page = as_alice.get(file.get_absolute_url()).content.decode()
    assert bucket.read(file.key) == body
    url = f"http://testserver/files/{file.pk}/"
    for text in ("plan.pdf", "Brand › 2026", "application/pdf", "application/x-claimed", "alice",
                 sha256(body).hexdigest(), "sha256", "not verified yet", "18 bytes", "Team", url):  # fmt: skip
        assert text in page


def test_pages_do_not_reveal_the_object_key(alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice)
    assert file.key not in as_alice.get(file.get_absolute_url()).content.decode()
    assert file.key not in as_alice.get("/").content.decode()


def test_file_page_offers_to_open_inline_types(alice: User, as_alice: Client) -> None:
    inline_file = factories.create_file(alice, detected_type="image/png")
    attachment_file = factories.create_file(alice, detected_type="text/html", declared_type="image/png")
    assert b"?inline=1" in as_alice.get(inline_file.get_absolute_url()).content
    assert b"?inline=1" not in as_alice.get(attachment_file.get_absolute_url()).content


def test_trash_button_is_shown_to_the_owner_and_managers(
    alice: User, as_alice: Client, as_bob: Client, as_manager: Client
) -> None:
    file = factories.create_file(alice)
    button = reverse("trash_file", args=[file.pk]).encode()
    offered = [button in client.get(file.get_absolute_url()).content for client in (as_alice, as_bob, as_manager)]
    assert offered == [True, False, True]


def test_a_name_cannot_become_markup(alice: User, as_alice: Client, as_admin: Client) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    file = factories.create_file(alice, name=name, folder=ensure(["<b>"], by=alice)["<b>"], declared_type="<script>")
    factories.create_file(alice, name=name, state=State.UPLOADING)
    factories.create_file(alice, name=name, state=State.TRASHED)
    admin = [reverse(f"admin:uploads_file_{page}", args=[file.pk]) for page in ("change", "delete", "history")]
    for url in ["/?subfolders=1", file.get_absolute_url(), "/unfinished/", "/trash/"]:
        page = as_alice.get(url).content
        assert b"onerror=alert" in page
        assert b"<img src=x" not in page
        assert b"<b>" not in page
    for url in ["/admin/uploads/file/", *admin]:
        assert b"<img src=x" not in as_admin.get(url).content
    json = as_alice.get("/uploads/")
    assert (json.headers["Content-Type"], json.headers["X-Content-Type-Options"]) == ("application/json", "nosniff")


def test_pages_work_while_storage_is_unavailable(storage_unavailable: None, alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice)
    for url in ("/", file.get_absolute_url(), "/trash/", "/unfinished/", "/upload/"):
        assert as_alice.get(url).status_code == 200


# --- the trash --------------------------------------------------------------------------------


def test_file_can_be_trashed_and_restored(alice: User, as_alice: Client, bucket: Bucket) -> None:
    file = UploadClient(as_alice).send(b"hello")
    assert as_alice.post(reverse("trash_file", args=[file.pk])).headers["Location"] == "/"
    assert as_alice.get(file.get_absolute_url()).status_code == 404
    assert "report.txt" in as_alice.get("/trash/").content.decode()
    assert bucket.read(file.key) == b"hello"
    assert as_alice.post(reverse("restore_file", args=[file.pk])).headers["Location"] == file.get_absolute_url()
    before = (file.etag, file.checksum, file.available_at)
    file.refresh_from_db()
    assert (file.etag, file.checksum, file.available_at) == before
    assert (file.state, file.purge_after) == (State.AVAILABLE, None)


def test_trash_shows_the_retention_period(alice: User, as_alice: Client, settings: Settings) -> None:
    settings.TRASH_RETENTION_DAYS = 3
    file = factories.create_file(alice)
    as_alice.post(reverse("trash_file", args=[file.pk]))
    file.refresh_from_db()
    assert file.purge_after
    assert abs(file.purge_after - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=1)
    page = as_alice.get("/trash/").content.decode()
    assert "Kept until" in page
    assert "After 3 days, they are permanently deleted" in page


def test_trash_is_paginated(alice: User, as_alice: Client) -> None:
    add_files(alice, 120, state=State.TRASHED)
    names = all_names(as_alice, "/trash/")
    assert sorted(names) == [f"file-{n:04}" for n in range(120)]


def test_unfinished_upload_cannot_be_trashed(alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice, state=State.UPLOADING)
    assert as_alice.post(reverse("trash_file", args=[file.pk])).status_code in {404, 409}
    file.refresh_from_db()
    assert file.state == State.UPLOADING


# --- unfinished uploads -----------------------------------------------------------------------


def test_unfinished_uploads_are_listed_to_their_owner(alice: User, as_alice: Client, as_bob: Client) -> None:
    factories.create_file(alice, state=State.UPLOADING, name="half.bin")
    assert b"half.bin" in as_alice.get("/unfinished/").content
    assert b"half.bin" not in as_bob.get("/unfinished/").content
    assert as_alice.get("/").context["unfinished_count"] == 1


def test_canceled_upload_frees_quota_and_storage(alice: User, as_alice: Client, bucket: Bucket) -> None:
    file = factories.create_file(alice, b"x" * 1000, bucket=bucket, state=State.UPLOADING)
    assert factories.stored_usage(alice) == (1, 1000)
    assert as_alice.post(reverse("cancel_upload", args=[file.pk])).headers["Location"] == "/unfinished/"
    assert factories.stored_usage(alice) == (0, 0)
    assert not File.objects.exists()
    assert bucket.objects() == {}


def test_canceled_upload_stays_deleting_while_storage_is_unavailable(
    storage_unavailable: None, alice: User, as_alice: Client
) -> None:
    file = factories.create_file(alice, b"x" * 1000, state=State.UPLOADING)
    assert as_alice.post(reverse("cancel_upload", args=[file.pk])).status_code == 302
    file.refresh_from_db()
    assert file.state == State.DELETING
    assert factories.stored_usage(alice) == (0, 0)


def test_completing_upload_cannot_be_canceled(alice: User, as_alice: Client) -> None:
    file = factories.create_file(alice, state=State.COMPLETING)
    response = as_alice.post(reverse("cancel_upload", args=[file.pk]))
    assert response.status_code == 409
    assert b"finished or being completed" in response.content
    file.refresh_from_db()
    assert file.state == State.COMPLETING


def test_pages_of_unknown_files_are_not_found(as_alice: Client) -> None:
    for route in ("file", "download"):
        assert as_alice.get(reverse(route, args=[uuid.uuid4()])).status_code == 404, route
    for route in ("cancel_upload", "trash_file", "restore_file"):
        assert as_alice.post(reverse(route, args=[uuid.uuid4()])).status_code == 404, route


def test_cached_rows_change_with_their_file_and_with_the_day(
    as_alice: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_files(alice, 1, available_at=timezone.now())
    assert b"today" in as_alice.get("/").content
    file = File.objects.get()
    File.objects.update(name="renamed.txt")
    renamed = as_alice.get("/").content
    assert b"renamed.txt" in renamed
    assert file.name.encode() not in renamed
    tomorrow = timezone.localdate() + timedelta(days=1)
    monkeypatch.setattr(timezone, "localdate", lambda: tomorrow)
    assert b"yesterday" in as_alice.get("/").content


def test_footer_shows_the_version_only_to_staff(as_alice: Client, alice: User, admin_client: Client) -> None:
    footer = f'<footer class="site-footer">Amalga {__version__}</footer>'
    assert footer not in as_alice.get("/").content.decode()
    alice.is_staff = True
    alice.save()
    assert footer in as_alice.get("/").content.decode()
    assert f"Amalga {__version__}" in admin_client.get("/admin/").content.decode().partition('<footer id="footer">')[2]


def test_onboarding_is_for_administrators_until_dismissed(as_admin: Client, as_manager: Client) -> None:
    assert 'id="onboarding"' in as_admin.get("/").content.decode()
    assert 'id="onboarding"' not in as_admin.get("/?q=plan").content.decode()
    assert 'id="onboarding"' not in as_manager.get("/").content.decode()
    as_admin.post("/onboarding/dismiss")
    assert 'id="onboarding"' not in as_admin.get("/").content.decode()
