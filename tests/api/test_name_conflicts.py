"""Name conflicts in the folders that files are uploaded to."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.support.file_rows import create_row, ensure_folder
from tests.support.upload_client import UploadClient
from uploads.models import File, Folder, State, Visibility
from uploads.names import numbered
from uploads.services import find_conflicts

pytestmark = pytest.mark.django_db


def conflicts(client: Client, *files: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    response = client.post("/uploads/conflicts/", {"files": files, **more}, content_type="application/json")
    assert response.status_code == 200, response.content
    items: list[dict[str, Any]] = response.json()["files"]
    return items


def test_existing_name_is_reported_with_the_next_free_one(as_alice: Client, alice: User) -> None:
    file = create_row(alice, State.AVAILABLE, name="export.csv")
    create_row(alice, State.AVAILABLE, name="export (2).csv")
    first, second = conflicts(as_alice, {"name": "export.csv"}, {"name": "new.csv"})
    assert first == {
        "name": "export.csv", "exists": True, "id": str(file.pk), "replaceable": True, "free_name": "export (3).csv",
    }  # fmt: skip
    assert second == {"name": "new.csv", "exists": False}


def test_names_are_compared_within_relative_folders(as_alice: Client, alice: User) -> None:
    base, logos = ensure_folder("Brand", alice), ensure_folder("Brand/Logos", alice)
    create_row(alice, State.AVAILABLE, name="a.svg", folder=logos)
    files = [{"name": "a.svg"}, {"name": "a.svg", "folder": "Logos"}, {"name": "a.svg", "folder": "Missing/Logos"}]
    assert [item["exists"] for item in conflicts(as_alice, *files, folder_id=base.pk)] == [False, True, False]
    assert not Folder.objects.filter(name="Missing").exists()


def test_hidden_trashed_and_unfinished_files_are_no_conflict(as_alice: Client, bob: User) -> None:
    create_row(bob, State.AVAILABLE, name="private.txt", visibility=Visibility.PRIVATE)
    create_row(bob, State.TRASHED, name="trashed.txt")
    create_row(bob, State.UPLOADING, name="unfinished.txt")
    names = ["private.txt", "trashed.txt", "unfinished.txt"]
    assert not any(item["exists"] for item in conflicts(as_alice, *({"name": name} for name in names)))


def test_file_of_someone_else_cannot_be_replaced_by_an_uploader(
    as_alice: Client, as_manager: Client, alice: User, bob: User
) -> None:
    create_row(bob, State.AVAILABLE, name="plan.txt")
    assert [item["replaceable"] for item in conflicts(as_alice, {"name": "plan.txt"})] == [False]
    assert [item["replaceable"] for item in conflicts(as_manager, {"name": "plan.txt"})] == [True]
    own = create_row(alice, State.AVAILABLE, name="plan.txt")
    (item,) = conflicts(as_alice, {"name": "plan.txt"})
    assert (item["id"], item["replaceable"]) == (str(own.pk), True)


def test_id_of_a_file_with_versions_is_its_permanent_one(as_alice: Client) -> None:
    client = UploadClient(as_alice)
    first = client.send(b"one", name="logo.txt")
    client.send(b"two", replaces=first.pk)
    (item,) = conflicts(as_alice, {"name": "logo.txt"})
    assert item["id"] == str(first.pk)
    client.send(b"three", replaces=item["id"])
    assert File.objects.listed().count() == 1


def test_free_names_of_one_call_differ(as_alice: Client, alice: User) -> None:
    create_row(alice, State.AVAILABLE, name="a.txt")
    items = conflicts(as_alice, {"name": "a.txt"}, {"name": "a.txt"}, {"name": "a (2).txt"})
    assert [item.get("free_name") for item in items] == ["a (3).txt", "a (4).txt", None]


def test_free_name_is_found_beyond_the_first_query(alice: User) -> None:
    for name in ["a.txt", *(f"a ({number}).txt" for number in range(2, 15))]:
        create_row(alice, State.AVAILABLE, name=name)
    (conflict,) = find_conflicts(alice, [("", "a.txt")])
    assert conflict is not None
    assert conflict.free_name == "a (15).txt"


def test_batch_without_conflicts_needs_one_query(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    folder = ensure_folder("Brand", alice)
    alice.has_perm("uploads.view_file")  # cached by Django
    with django_assert_num_queries(1):
        find_conflicts(alice, [("", f"{number}.txt") for number in range(100)], into=folder)


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("export.csv", 1, "export (2).csv"),
        ("export (2).csv", 1, "export (3).csv"),
        ("archive.tar.gz", 2, "archive.tar (3).gz"),
        (".bashrc", 1, ".bashrc (2)"),
        ("README", 1, "README (2)"),
        ("ملف.txt", 1, "ملف (2).txt"),
        ("report (2026-11).pdf", 1, "report (2026-11) (2).pdf"),
        ("x" * 251 + ".txt", 1, "x" * 247 + " (2).txt"),
    ],
)
def test_number_stands_before_the_last_extension(name: str, step: int, expected: str) -> None:
    assert numbered(name, step) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"files": []}, "1 to 500"),
        ({"files": [{"name": ""}]}, "must have a name"),
        ({"files": [{"name": "a", "folder": 5}]}, "must be a path"),
        ({"files": [{"name": "a"}], "folder_id": "x"}, "must be an integer"),
        ({"files": [{"name": "a"}], "folder_id": 2**61}, "no longer exists"),
    ],
)
def test_invalid_request_is_refused(as_alice: Client, body: dict[str, Any], reason: str) -> None:
    response = as_alice.post("/uploads/conflicts/", body, content_type="application/json")
    assert response.status_code == 400
    assert reason in response.json()["error"]["message"]


def test_same_name_without_a_choice_stays_two_files(as_alice: Client) -> None:
    client = UploadClient(as_alice)
    client.send(b"one", name="a.txt")
    client.send(b"two", name="a.txt")
    assert list(File.objects.listed().values_list("name", flat=True)) == ["a.txt", "a.txt"]
