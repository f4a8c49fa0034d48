"""Previous and next file, through the list that a file was opened from."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.support.file_rows import create_row, ensure_folder
from uploads.listing import pagination
from uploads.models import File, State, Visibility

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(alice: User, bob: User) -> dict[str, File]:
    folder = ensure_folder("Brand", by=alice)
    names = ["b.png", "a.png", "c.txt"]
    files = {name: create_row(alice, State.AVAILABLE, name=name, folder=folder) for name in names}
    files["top.png"] = create_row(alice, State.AVAILABLE, name="top.png")
    create_row(bob, State.AVAILABLE, name="b hidden.png", folder=folder, visibility=Visibility.PRIVATE)
    return files


def opened(client: Client, file: File, source: str = "", **headers: str) -> dict[str, str]:
    """Return the names of the linked files and the URL of the linked list."""
    query = {"from": source} if source else {}
    page = client.get(file.get_absolute_url(), query, headers=headers).content.decode()
    links = dict(re.findall(r'rel="(prev|next|up)" href="([^"]+)"', page))
    rows = {str(row.permanent_id): row.name for row in File.objects.all()}
    return {rel: rows[url.split("/")[2]] if rel != "up" else url for rel, url in links.items()}


def test_neighbors_follow_the_list(files: dict[str, File], as_alice: Client) -> None:
    folder = files["a.png"].folder
    assert folder
    url = folder.get_absolute_url()
    assert opened(as_alice, files["b.png"], f"{url}?sort=name") == {
        "prev": "a.png", "next": "c.txt", "up": f"{url}?sort=name",
    }  # fmt: skip
    assert opened(as_alice, files["b.png"], f"{url}?sort=-name") == {
        "prev": "c.txt", "next": "a.png", "up": f"{url}?sort=-name",
    }  # fmt: skip
    assert opened(as_alice, files["b.png"], f"{url}?q=png&sort=name") == {
        "prev": "a.png", "up": f"{url}?q=png&amp;sort=name",
    }  # fmt: skip
    assert opened(as_alice, files["c.txt"], "/?subfolders=1&sort=name")["next"] == "top.png"


def position(client: Client, file: File, source: str = "") -> str:
    page = client.get(file.get_absolute_url(), {"from": source}).content.decode()
    shown = re.search(r'<span class="position[^>]*>([^<]*)</span>', page)
    return shown.group(1) if shown else ""


def test_position_is_shown_in_a_folder(
    files: dict[str, File], as_alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = files["a.png"].folder
    assert folder
    url = folder.get_absolute_url()
    assert position(as_alice, files["c.txt"], f"{url}?sort=name") == "3 of 3"
    assert position(as_alice, files["c.txt"], f"{url}?sort=-name") == "1 of 3"
    assert position(as_alice, files["top.png"]) == ""  # the only file
    assert position(as_alice, files["b.png"], "/?sort=name") == ""  # another list, as after a move
    for source in (f"{url}?q=png&sort=name", "/?subfolders=1&sort=name"):  # counting could read the whole table
        assert position(as_alice, files["b.png"], source) == ""
    monkeypatch.setattr(pagination, "MAX_COUNTED_NEIGHBORS", 1)
    assert position(as_alice, files["b.png"], f"{url}?sort=name") == "2 of 3"
    assert position(as_alice, files["c.txt"], f"{url}?sort=name") == ""


def test_list_is_taken_from_the_previous_page(files: dict[str, File], as_alice: Client) -> None:
    site, file = "http://testserver", files["c.txt"]
    assert opened(as_alice, file, referer=f"{site}/?q=png&sort=name")["up"] == "/?q=png&amp;sort=name"
    assert opened(as_alice, file, hx_current_url=f"{site}/?sort=size")["up"] == "/?sort=size"
    file_url = f"{file.get_absolute_url()}?from=%2F%3Fsort%3Dname"
    assert opened(as_alice, file, referer=f"{site}{file_url}")["up"] == "/?sort=name"


@pytest.mark.parametrize(
    "source",
    ["", "//evil.example/", "javascript:alert(1)", "/folders/999999/", "/trash/", "http://[broken", "/x" * 5_000],
)
def test_unknown_list_falls_back_to_folder_or_library(source: str, files: dict[str, File], as_alice: Client) -> None:
    folder = files["a.png"].folder
    assert folder
    assert opened(as_alice, files["a.png"], source)["up"] in {folder.get_absolute_url(), "/"}


def test_grid_is_remembered(files: dict[str, File], as_alice: Client) -> None:
    assert b'<ul class="grid">' in as_alice.get("/?view=grid").content
    assert b'<ul class="grid">' in as_alice.get("/?sort=name").content
    assert b'<table class="files"' in as_alice.get("/?view=table").content
    assert b'<table class="files"' in as_alice.get("/").content
