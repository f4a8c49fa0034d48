"""Rejected input: the page keeps the text in its field and shows the reason below it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tests.support.file_rows import create_row, ensure_folder
from uploads.models import File, Folder, State

pytestmark = pytest.mark.django_db


@pytest.fixture
def brand(alice: User) -> Folder:
    return ensure_folder("Brand", by=alice)


@pytest.fixture
def file(alice: User) -> File:
    return create_row(alice, name="plan.xlsx", state=State.AVAILABLE)


def test_taken_folder_name_stays_in_its_field(brand: Folder, as_alice: Client) -> None:
    response = as_alice.post("/folders/", {"name": "Brand"})
    page = response.content.decode()
    assert response.status_code == 409
    assert response.headers["HX-Push-Url"] == "false"
    assert 'id="new-folder" type="text" name="name" value="Brand"' in page
    assert 'id="new-folder-error"' in page
    assert 'class="site-search"' in page  # the page of the library, not an error page


def test_taken_name_of_a_renamed_folder_stays_in_its_field(brand: Folder, alice: User, as_alice: Client) -> None:
    ensure_folder("Press", by=alice)
    response = as_alice.post(f"{brand.get_absolute_url()}rename", {"name": "Press"})
    page = response.content.decode()
    assert response.status_code == 409
    assert 'id="rename-folder" type="text" name="name" value="Press"' in page
    assert 'id="rename-folder-error"' in page
    assert '<h1 id="list-title" dir="auto">Brand</h1>' in page


def test_access_without_a_manager_keeps_the_levels(brand: Folder, as_manager: Client) -> None:
    group = Group.objects.get(name="viewers")
    response = as_manager.post(f"{brand.get_absolute_url()}access", {"access": "groups", f"level-{group.pk}": "1"})
    page = response.content.decode()
    assert response.status_code == 400
    assert 'value="groups" checked' in page
    assert 'id="access-error"' in page
    assert not Folder.objects.get(pk=brand.pk).restricted


@pytest.mark.parametrize("name", ["", "a/b.xlsx", "a\\b.xlsx", "x" * 5_000])
def test_refused_file_name_stays_in_its_field(name: str, file: File, as_alice: Client) -> None:
    response = as_alice.post(f"{file.get_absolute_url()}rename", {"name": name})
    page = response.content.decode()
    assert response.status_code == 400
    assert f'id="name" type="text" name="name" value="{name}"' in page
    assert 'id="name-error"' in page
    assert File.objects.get().name == "plan.xlsx"


def test_refused_tags_stay_in_their_field(file: File, as_alice: Client) -> None:
    response = as_alice.post(f"{file.get_absolute_url()}tag", {"add": "t" * 60})
    page = response.content.decode()
    assert response.status_code == 400
    assert f'value="{"t" * 60}"' in page
    assert 'id="add-tag-error"' in page


def test_renaming_reports_a_changed_extension(file: File, as_alice: Client) -> None:
    page = as_alice.post(f"{file.get_absolute_url()}rename", {"name": "plan"}, follow=True).content.decode()
    assert "The extension changed from “.xlsx” to “”." in page
    page = as_alice.post(f"{file.get_absolute_url()}rename", {"name": "plan.XLSX"}, follow=True).content.decode()
    assert "The extension changed from “” to “.xlsx”." in page


@pytest.mark.parametrize(
    ("referer", "next_url"),
    [
        ("http://testserver/folders/3/?q=plan", "/folders/3/?q=plan"),
        ("http://elsewhere.example/steal", "/"),
        ("http://testserver", "/"),
        ("javascript:alert(1)", "/"),
        ("http://[broken", "/"),
        ("", "/"),
    ],
)
def test_sign_in_after_a_form_returns_to_its_page(referer: str, next_url: str, client: Client) -> None:
    response = client.post("/files/bulk", {"do": "trash"}, headers={"referer": referer})
    assert response.status_code == 302
    assert Client().get(response.headers["Location"]).context["next"] == next_url
