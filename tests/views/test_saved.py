"""Favorites, recent files and saved searches."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db.models import F
from django.test import Client

from tests.support.factories import create_file
from tests.support.file_rows import create_row, ensure_folder
from tests.support.stores import Bucket
from uploads import actions
from uploads.models import (
    AccessLevel,
    Action,
    ChecksumStatus,
    Event,
    Favorite,
    File,
    Folder,
    SavedSearch,
    State,
    Visibility,
)
from uploads.models.audit import MAX_RECENT_FILES
from uploads.services import folders
from uploads.services.erase import erase_all

pytestmark = pytest.mark.django_db


def add(owner: User, name: str, **facts: Any) -> File:
    return create_row(owner, State.AVAILABLE, name=name, **facts)


def names_on(response: Any) -> list[str]:
    return [row.name for row in (*response.context["folders"], *response.context["files"])]


def close(folder: Folder, *, by: User) -> None:
    folders.set_access(folder, {Group.objects.get(name="managers"): AccessLevel.MANAGE}, by=by)


# --- favorites --------------------------------------------------------------------------------


def test_favorites_are_listed_only_for_their_user(alice: User, as_alice: Client, as_bob: Client) -> None:
    file = add(alice, "b.txt", folder=ensure_folder("Brand/Logos", alice))
    add(alice, "a.txt")
    for url in (file.get_absolute_url(), ensure_folder("Brand/Logos", alice).get_absolute_url()):
        for _ in range(2):
            assert as_bob.post(f"{url}favorite").status_code == 302
        assert 'aria-pressed="true"' in as_bob.get(url).content.decode()
    page = as_bob.get("/?show=favorites")
    assert names_on(page) == ["Logos", "b.txt"]
    assert '<h1 id="list-title" dir="auto">Favorites</h1>' in page.content.decode()
    assert 'aria-label="Favorite"' in as_bob.get("/?q=b.txt").content.decode()
    assert 'aria-label="Favorite"' in as_bob.get("/?q=Logos").content.decode()
    assert 'aria-label="Favorite"' not in as_alice.get("/?q=Logos").content.decode()
    assert 'aria-label="Favorite"' not in as_alice.get("/?q=b.txt").content.decode()
    assert "No favorites yet" in as_alice.get("/?show=favorites").content.decode()
    as_bob.post(f"{file.get_absolute_url()}favorite", {"remove": "1"})
    assert names_on(as_bob.get("/?show=favorites")) == ["Logos"]
    assert names_on(as_bob.get("/?show=favorites&q=logo")) == ["Logos"]


def test_favorite_that_is_no_longer_visible_is_not_listed(
    alice: User, manager: User, as_bob: Client, as_manager: Client
) -> None:
    folder = ensure_folder("Board", manager)
    file = add(alice, "a.txt", visibility=Visibility.PRIVATE)
    assert as_bob.post(f"{file.get_absolute_url()}favorite").status_code == 404
    inside = add(manager, "b.txt", folder=folder)
    for url in (inside.get_absolute_url(), folder.get_absolute_url()):
        as_bob.post(f"{url}favorite")
    close(folder, by=manager)
    assert names_on(as_bob.get("/?show=favorites")) == []
    assert as_bob.post(f"{folder.get_absolute_url()}favorite").status_code == 404


def test_favorite_is_kept_until_the_last_version_is_deleted(alice: User, bucket: Bucket) -> None:
    old = add(alice, "a.txt")
    File.objects.filter(pk=old.pk).update(series=old.pk, current=False)
    new = add(alice, "a.txt", series=old.pk)
    Favorite.objects.add(alice, file=new.permanent_id)
    for file in (old, new):
        assert Favorite.objects.file_ids(alice) == [old.pk]
        File.objects.filter(pk=file.pk).update(state=State.TRASHED, purge_after=F("available_at"))
        File.objects.filter(pk=file.pk).update(state=State.DELETING)
        erase_all(list(File.objects.filter(pk=file.pk)))
    assert Favorite.objects.file_ids(alice) == []


def test_favorites_are_limited(alice: User, as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.models.preference.MAX_FAVORITES", 1)
    files = [add(alice, name) for name in "ab"]
    for file in files:
        page = as_alice.post(f"{file.get_absolute_url()}favorite", follow=True)
    assert "You can have up to 1 favorites." in page.content.decode()
    assert Favorite.objects.file_ids(alice) == [files[0].pk]
    page = as_alice.post(f"{files[0].get_absolute_url()}favorite", follow=True)
    assert "You can have up to" not in page.content.decode()


def test_star_stays_when_a_form_of_the_page_is_refused(alice: User, as_alice: Client) -> None:
    ensure_folder("Taken", alice)
    folder = ensure_folder("Brand", alice)
    Favorite.objects.add(alice, folder=folder)
    for action, data in (("rename", {"name": "Taken"}), ("", {"name": "a/b"})):
        url = f"{folder.get_absolute_url()}{action}" if action else "/folders/"
        page = as_alice.post(url, {**data, "parent": folder.pk})
        assert page.status_code in {400, 409}
        assert 'aria-pressed="true"' in page.content.decode()


def test_long_query_is_not_saved_as_a_shorter_one(alice: User, as_alice: Client) -> None:
    page = as_alice.post("/searches/save", {"name": "x", "query": "?q=" + "a" * 11_000})
    assert page.status_code == 400
    assert not SavedSearch.objects.exists()


# --- recent files -----------------------------------------------------------------------------


def test_recent_files_are_those_last_used(alice: User, as_bob: Client) -> None:
    first, private, last, _unused = (add(alice, name) for name in ("first", "private", "last", "unused"))
    for file in (first, private, last):
        assert as_bob.get(f"/files/{file.pk}/download").status_code == 302
    File.objects.filter(pk=private.pk).update(visibility=Visibility.PRIVATE)
    assert names_on(as_bob.get("/?show=recent")) == ["last", "first"]
    assert names_on(as_bob.get("/?show=recent&sort=name")) == ["first", "last"]
    as_bob.get(f"/files/{first.pk}/download")
    assert names_on(as_bob.get("/?show=recent")) == ["first", "last"]
    actions.trash_file(first, by=alice)
    assert names_on(as_bob.get("/?show=recent")) == ["last"]


def test_number_of_recent_files_is_limited(alice: User, bob: User) -> None:
    files = [add(alice, f"{number}") for number in range(MAX_RECENT_FILES + 3)]
    for file in files:
        Event.objects.record(Action.DOWNLOAD, by=bob, file=file)
    assert Event.objects.recent_file_ids(bob) == [file.pk for file in reversed(files[3:])]
    assert Event.objects.recent_file_ids(alice) == []


# --- saved searches ---------------------------------------------------------------------------


def test_search_is_saved_listed_replaced_and_deleted(alice: User, as_alice: Client, as_bob: Client) -> None:
    brand = ensure_folder("Brand", alice)
    page = as_alice.get(f"{brand.get_absolute_url()}?q=logo&type=image").content.decode()
    assert 'action="/searches/save"' in page
    form = {"name": "<Logos>", "query": "?q=logo&type=image", "folder": brand.pk, "next": "/tags/"}
    assert as_alice.post("/searches/save", form)["Location"] == "/tags/"
    as_alice.post("/searches/save", {**form, "query": "?q=mark&type=image"})
    search = SavedSearch.objects.get()
    assert search.url == f"{brand.get_absolute_url()}?q=mark&type=image"
    page = as_alice.get("/searches/").content.decode()
    assert f'<a href="{brand.get_absolute_url()}?q=mark&amp;type=image" dir="auto">&lt;Logos&gt;</a>' in page
    assert "Logos" not in as_bob.get("/searches/").content.decode()
    assert as_bob.post(f"/searches/{search.pk}/delete").status_code == 404
    as_alice.post(f"/searches/{search.pk}/delete")
    assert not SavedSearch.objects.exists()


@pytest.mark.parametrize("query", ["", "?", "?sort=name", "?type=nonsense", "?owner=nobody", "?q=a&next=%00"])
def test_query_that_filters_nothing_is_not_saved(query: str, as_alice: Client) -> None:
    status = as_alice.post("/searches/save", {"name": "a", "query": query}).status_code
    assert (status, SavedSearch.objects.count()) == ((302, 1) if "q=a" in query else (400, 0))


def test_search_of_a_closed_folder_is_not_listed(manager: User, as_bob: Client) -> None:
    folder = ensure_folder("Board", manager)
    as_bob.post("/searches/save", {"name": "mine", "query": "?q=a", "folder": folder.pk})
    close(folder, by=manager)
    assert as_bob.get("/searches/").context["searches"] == []
    assert as_bob.post("/searches/save", {"name": "b", "query": "?q=a", "folder": folder.pk}).status_code == 400


# --- duplicates -------------------------------------------------------------------------------


def test_duplicates_are_files_with_content_the_user_sees_elsewhere(
    alice: User, bob: User, manager: User, as_alice: Client, as_bob: Client
) -> None:
    facts: dict[str, Any] = {"checksum_status": ChecksumStatus.VERIFIED}
    brand, board = ensure_folder("Brand", alice), ensure_folder("Board", manager)
    assert isinstance(board, Folder)
    create_file(alice, b"logo", name="logo.png", folder=brand, **facts)
    create_file(bob, b"logo", name="copy.png", checksum_status=ChecksumStatus.VERIFIED_BY_STORAGE)
    create_file(alice, b"logo", name="unverified.png")
    create_file(alice, b"plan", name="plan.txt", **facts)
    create_file(alice, b"plan", name="private.txt", visibility=Visibility.PRIVATE, **facts)
    for name in ("minutes.txt", "secret.txt"):
        create_file(manager, b"minutes", name=name, folder=board if name == "secret.txt" else None, **facts)
    close(board, by=manager)
    for state in (State.AVAILABLE, State.TRASHED):
        create_file(alice, b"old", name=f"{state}.txt", state=state, **facts)
        create_file(alice, b"", name="empty", **facts)
    assert names_on(as_bob.get("/?show=duplicates&sort=name")) == ["copy.png", "logo.png"]
    assert names_on(as_alice.get("/?show=duplicates&sort=name")) == [
        "copy.png", "logo.png", "plan.txt", "private.txt"
    ]  # fmt: skip
    assert names_on(as_bob.get(f"{brand.get_absolute_url()}?show=duplicates")) == ["logo.png"]
    assert names_on(as_bob.get("/?show=duplicates&owner=bob")) == ["copy.png"]
    actions.trash_file(File.objects.get(name="copy.png"), by=bob)
    page = as_bob.get("/?show=duplicates").content.decode()
    assert "No duplicates" in page
    assert '<option value="duplicates" selected>Duplicates</option>' in page
