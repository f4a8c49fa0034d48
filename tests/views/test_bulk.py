"""Bulk actions on files from the pages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django import Settings

from tests.support.file_rows import create_row
from tests.support.form_client import messages_of, post_bulk
from uploads.actions.trash import TrashAction
from uploads.forms import listing
from uploads.models import File, Folder, State, Tagging, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db


def make_files(owner: User, count: int = 3, **fields: Any) -> list[File]:
    return [create_row(owner, State.AVAILABLE, name=f"file {n}", **fields) for n in range(count)]


def states(files: list[File]) -> list[str]:
    rows = File.objects.in_bulk([file.pk for file in files])
    return [rows[file.pk].state for file in files]


@pytest.mark.parametrize(
    ("do", "message", "field", "value"),
    [
        ("trash", "Moved 3 files to trash.", "state", State.TRASHED),
        ("private", "Made 3 files private.", "visibility", Visibility.PRIVATE),
        ("team", "Shared 3 files with the team.", "visibility", Visibility.TEAM),
    ],
)
def test_bulk_action_changes_the_selected_files(
    do: str, message: str, field: str, value: str, alice: User, as_alice: Client
) -> None:
    files = make_files(alice)
    response = post_bulk(as_alice, do, files, next="/?sort=name")
    assert response.headers["Location"] == "/?sort=name"
    assert messages_of(response) == [message]
    assert set(File.objects.values_list(field, flat=True)) == {value}


def test_bulk_tag_form_adds_tags(alice: User, as_alice: Client) -> None:
    files = make_files(alice)
    page = post_bulk(as_alice, "tag", files).content.decode()
    assert "Change tags of 3 files" in page
    assert all(f'name="file" value="{file.permanent_id}"' in page for file in files)
    assert messages_of(post_bulk(as_alice, "tag", files, go=1, add="Logo, spring , LOGO,")) == [
        "Changed tags of 3 files."
    ]
    assert Tagging.objects.count() == 6
    post_bulk(as_alice, "tag", files, go=1, remove="logo")
    assert set(Tagging.objects.values_list("tag__name", flat=True)) == {"spring"}


def test_too_many_or_too_long_tags_are_rejected(alice: User, as_alice: Client) -> None:
    for tags in (",".join(f"t{n}" for n in range(1000)), "x" * 51, "a" * 50_000):
        assert post_bulk(as_alice, "tag", make_files(alice, 1), go=1, add=tags).status_code == 400
    assert not Tagging.objects.exists()


def test_bulk_move_puts_files_in_the_chosen_folder(alice: User, as_alice: Client) -> None:
    files = make_files(alice)
    brand = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(brand, Folder)
    assert "Move 3 files to" in post_bulk(as_alice, "move", files).content.decode()
    assert "Choose a folder." in post_bulk(as_alice, "move", files, go=1).content.decode()
    (message,) = messages_of(post_bulk(as_alice, "move", files, go=1, to=brand.pk))
    assert message == f'Moved 3 files to “Brand”. <a href="{brand.get_absolute_url()}">Open</a>'
    assert brand.files.count() == 3
    post_bulk(as_alice, "move", files, go=1, to=0)
    assert brand.files.count() == 0


def test_bulk_action_skips_and_lists_files_without_permission(alice: User, bob: User, as_alice: Client) -> None:
    mine, theirs = make_files(alice, 1), make_files(bob, 12)
    secret = make_files(bob, 1, visibility=Visibility.PRIVATE)
    response = post_bulk(as_alice, "trash", [*mine, *theirs, *secret], file_="x")
    success, refused, unknown = messages_of(response)
    assert success == "Moved 1 file to trash."
    assert refused.startswith("Skipped, because you don't have permission to change them: “file 0”, “file 1”")
    assert refused.endswith("and 2 more")
    assert unknown == "1 item no longer exists or isn't available to you."
    assert set(states([*theirs, *secret])) == {State.AVAILABLE}


def test_unknown_ids_are_counted_in_the_message(alice: User, as_alice: Client) -> None:
    (file,) = make_files(alice, 1)
    data = ["x", "", "' OR 1=1 --", str(uuid.uuid4()), str(file.permanent_id), str(file.permanent_id)]
    response = as_alice.post("/files/bulk", {"do": "trash", "file": data})
    assert messages_of(response)[-1] == "4 items no longer exist or aren't available to you."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, b"No files selected."),
        ({"do": "x", "file": str(uuid.uuid4())}, b"Choose an action."),
        ({"file": "x"}, b"Choose an action."),
        ({"do": "trash"}, b"No files selected."),
    ],
)
def test_bulk_action_without_action_or_files_is_refused(data: dict[str, str], message: bytes, as_alice: Client) -> None:
    response = as_alice.post("/files/bulk", data)
    assert response.status_code == 400
    assert message in response.content


@pytest.mark.parametrize("url", ["https://evil.example/", "//evil.example", "/\\evil", "javascript:1", "x", "/" * 3000])
def test_bulk_action_never_redirects_to_another_site(url: str, alice: User, as_alice: Client) -> None:
    assert post_bulk(as_alice, "trash", make_files(alice), next=url).headers["Location"] == "/"


# --- all that match ---------------------------------------------------------------------------


def test_select_all_changes_only_matching_files(alice: User, as_alice: Client) -> None:
    brand = folders.ensure(["Brand"], by=alice)["Brand"]
    inside = [create_row(alice, State.AVAILABLE, name=f"logo {n}", folder=brand) for n in range(60)]
    outside = make_files(alice)
    response = as_alice.post("/files/bulk", {"do": "trash", "all": "1", "query": "?q=logo&sort=name"})
    assert messages_of(response) == ["Moved 60 files to trash."]
    assert set(states(inside)) == {State.TRASHED}
    assert set(states(outside)) == {State.AVAILABLE}


def test_select_all_covers_only_the_current_folder(alice: User, as_alice: Client) -> None:
    brand = folders.ensure(["Brand"], by=alice)["Brand"]
    assert isinstance(brand, Folder)
    create_row(alice, State.AVAILABLE, folder=brand)
    top_level = make_files(alice)
    as_alice.post("/files/bulk", {"do": "trash", "all": "1", "query": "", "folder": brand.pk})
    assert set(states(top_level)) == {State.AVAILABLE}
    assert File.objects.trashed().count() == 1


@pytest.mark.parametrize(
    ("query", "folder"),
    [("?tag=nothing", ""), ("?type=x", ""), ("?q=" + "x" * 20_000, ""), ("", "999"), ("", "x"), ("", "9" * 40)],
)
def test_select_all_with_invalid_filter_changes_nothing(query: str, folder: str, alice: User, as_alice: Client) -> None:
    files = make_files(alice)
    response = as_alice.post("/files/bulk", {"do": "trash", "all": "1", "query": query, "folder": folder})
    assert response.status_code == 400
    assert set(states(files)) == {State.AVAILABLE}


def test_selecting_too_many_files_is_rejected(alice: User, as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_SELECTED", 2)
    files = make_files(alice)
    response = as_alice.post("/files/bulk", {"do": "trash", "all": "1", "query": ""})
    assert response.status_code == 400
    assert b"Narrow the list" in response.content
    assert set(states(files)) == {State.AVAILABLE}


# --- undo -------------------------------------------------------------------------------------


def undo_event(response: Any) -> str:
    *_, message = get_messages(response.wsgi_request)
    return str(message.extra_tags)


def test_undo_restores_only_the_files_of_that_action(alice: User, as_alice: Client) -> None:
    before, files = make_files(alice, 2), make_files(alice)
    post_bulk(as_alice, "trash", before)
    event = undo_event(post_bulk(as_alice, "trash", files))
    response = as_alice.post("/trash/undo", {"event": event, "next": "/?q=a"})
    assert response.headers["Location"] == "/?q=a"
    assert set(states(files)) == {State.AVAILABLE}
    assert set(states(before)) == {State.TRASHED}


def test_action_of_another_user_cannot_be_undone(alice: User, as_alice: Client, as_bob: Client) -> None:
    files = make_files(alice)
    event = undo_event(post_bulk(as_alice, "trash", files))
    assert as_bob.post("/trash/undo", {"event": event}).status_code == 409
    assert set(states(files)) == {State.TRASHED}


@pytest.mark.parametrize("event", ["", "x", "0", "9" * 40, "-1"])
def test_invalid_event_cannot_be_undone(event: str, as_alice: Client) -> None:
    assert as_alice.post("/trash/undo", {"event": event}).status_code == 409


def test_bulk_restore_restores_all_trashed_files(alice: User, as_alice: Client, settings: Settings) -> None:
    files = make_files(alice)
    post_bulk(as_alice, "trash", files)
    assert as_alice.get("/trash/?sort=name").context["files"][0].name == "file 0"
    response = as_alice.post("/files/bulk", {"do": "restore", "all": "1", "query": "", "place": "trash"})
    assert messages_of(response)[-1] == "Restored 3 files."
    assert set(states(files)) == {State.AVAILABLE}


def test_action_on_more_than_100_files_needs_confirmation(alice: User, as_alice: Client) -> None:
    make_files(alice, 101)
    page = as_alice.post("/files/bulk", {"do": "trash", "all": 1, "query": ""}).content.decode()
    assert "(101 files)" in page
    assert 'name="all" value="1"' in page
    assert not File.objects.trashed().exists()
    as_alice.post("/files/bulk", {"do": "trash", "all": 1, "query": "", "go": 1})
    assert File.objects.trashed().count() == 101


def test_bar_offers_changes_to_people_who_can_make_them(
    alice: User, viewer: User, as_alice: Client, as_viewer: Client
) -> None:
    make_files(alice)
    assert 'value="trash"' in as_alice.get("/").content.decode()
    page = as_viewer.get("/").content.decode()
    assert "/files/zip" in page
    assert 'value="trash"' not in page
    make_files(viewer)  # from the time when they were an uploader
    assert 'value="trash"' in as_viewer.get("/").content.decode()


def test_selection_count_is_exact(alice: User, as_alice: Client) -> None:
    files = make_files(alice, 3)
    make_files(alice, 1, size=2_000_000_000)
    folders.create("Brand", parent=None, by=alice)
    count = as_alice.post("/files/selected", {"all": 1, "query": ""}).content.decode()
    assert count == "All 5 selected"
    assert as_alice.post("/files/selected", {"all": 1, "query": "?size=over-1gb"}).content == b"All 1 selected"
    assert as_alice.post("/files/selected", {"file": str(files[0].permanent_id)}).content == b"1 selected"
    assert b"No files selected" in as_alice.post("/files/selected", {}).content


def test_selection_by_a_slow_search_asks_for_a_word(
    alice: User, as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(alice, 1)
    slow = File.objects.extra(where=["pg_sleep(0.2) IS NOT NULL"])
    monkeypatch.setattr("uploads.listing.pagination.SEARCH_TIMEOUT_SECONDS", 0.001)
    monkeypatch.setattr("uploads.forms.listing.files_for", lambda *_: slow)
    response = as_alice.post("/files/selected", {"all": 1, "query": "?q=a"})
    assert response.status_code == 200
    assert b"Add a word" in response.content


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("?type=pdf&subfolders=0", ""),
        ("?subfolders=1", "trash"),
        ("?show=favorites&q=brand", "trash"),
        ("?show=recent", ""),
    ],
)
def test_select_all_excludes_folders_that_the_list_hides(query: str, place: str, alice: User, as_alice: Client) -> None:
    folders.create("Brand", parent=None, by=alice)
    if place:
        TrashAction().execute([], {}, by=alice, folders=Folder.objects.values_list("pk", flat=True))
    path = "/trash/" if place else "/"
    assert as_alice.get(f"{path}{query}").context["folders"] == []
    response = as_alice.post("/files/selected", {"all": 1, "query": query, "place": place})
    assert b"No files selected" in response.content


def test_bar_has_both_kinds_of_visibility_in_one_menu(alice: User, as_alice: Client) -> None:
    make_files(alice)
    page = as_alice.get("/").content.decode()
    menu = page.partition(">Visibility</summary>")[2].partition("</details>")[0]
    assert menu.count("<button") == 2
