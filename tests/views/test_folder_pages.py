"""Folder actions on the folder pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tests.support.file_rows import create_row
from tests.support.upload_client import UploadClient
from uploads.models import AccessLevel, File, Folder, Grant, State
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture
def logos(alice: User) -> Folder:
    return create_folders("Brand/Logos", by=alice)


def create_folders(path: str, *, by: User) -> Folder:
    folder = folders.ensure([path], by=by)[path]
    assert isinstance(folder, Folder)
    return folder


def post(client: Client, folder: Folder, act: str, **sent: Any) -> Any:
    return client.post(f"{folder.get_absolute_url()}{act}", sent)


def test_creating_a_folder_redirects_to_it(logos: Folder, as_alice: Client) -> None:
    response = as_alice.post("/folders/", {"name": "  Old ", "parent": logos.pk})
    folder = Folder.objects.get(name="Old")
    assert (response.headers["Location"], folder.parent) == (folder.get_absolute_url(), logos)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "Enter a name"),
        ("   ", "Enter a name"),
        ("..", "dots only"),
        (".", "dots only"),
        ("a/b", "contain a slash"),
        ("a\\b", "contain a slash"),
        ("x" * 10_000, "too long"),
        ("\x00", "Enter a name"),
    ],
)
@pytest.mark.parametrize("act", ["create", "rename"])
def test_invalid_folder_name_is_rejected_with_a_reason(
    act: str, name: str, says: str, logos: Folder, as_alice: Client
) -> None:
    url = "/folders/" if act == "create" else f"{logos.get_absolute_url()}rename"
    response = as_alice.post(url, {"name": name})
    assert response.status_code == 400
    assert says in response.content.decode()
    assert set(Folder.objects.values_list("name", flat=True)) == {"Brand", "Logos"}


def test_existing_folder_name_is_rejected(logos: Folder, as_alice: Client) -> None:
    response = as_alice.post("/folders/", {"name": "Brand"})
    assert (response.status_code, "already exists here" in response.content.decode()) == (409, True)
    assert Folder.objects.filter(name="Brand").count() == 1


@pytest.mark.parametrize("parent", ["999999", "x", "-1", "9" * 40, "1e3"])
def test_unknown_parent_folder_is_rejected(parent: str, as_alice: Client) -> None:
    assert as_alice.post("/folders/", {"name": "a", "parent": parent}).status_code == 400
    assert not Folder.objects.exists()


def test_folder_can_be_renamed(logos: Folder, as_alice: Client) -> None:
    post(as_alice, logos, "rename", name="Marks")
    logos.refresh_from_db()
    assert (logos.name, logos.normalized_name) == ("Marks", "marks")


def test_folder_is_moved_to_the_chosen_folder(logos: Folder, alice: User, as_alice: Client) -> None:
    archive = create_folders("Archive", by=alice)
    page = as_alice.get(f"{logos.get_absolute_url()}move").content.decode()
    assert f'value="{archive.pk}"' in page
    assert f'value="{logos.pk}"' not in page
    post(as_alice, logos, "move", to=archive.pk, go=1)
    logos.refresh_from_db()
    assert (logos.parent, logos.path) == (archive, [archive.pk, logos.pk])
    post(as_alice, logos, "move", to="0", go=1)
    logos.refresh_from_db()
    assert logos.path == [logos.pk]


def test_a_folder_is_not_moved_into_itself(logos: Folder, as_alice: Client) -> None:
    brand = logos.parent
    assert brand is not None
    response = post(as_alice, brand, "move", to=logos.pk, go=1)
    assert (response.status_code, "into itself" in response.content.decode()) == (409, True)
    brand.refresh_from_db()
    assert brand.path == [brand.pk]


@pytest.mark.parametrize("to", ["999999", "x", "9" * 30])
def test_move_to_an_unknown_folder_is_rejected(to: str, logos: Folder, as_alice: Client) -> None:
    assert post(as_alice, logos, "move", to=to, go=1).status_code == 400


def test_move_page_finds_folders_by_name(logos: Folder, alice: User, as_alice: Client) -> None:
    for n in range(60):
        create_folders(f"Archive {n:02}/Été", by=alice)
    page = as_alice.post(f"{logos.get_absolute_url()}move", {"find": "ete"}).content.decode()
    assert "Archive 07 › Été" in page
    assert "More folders match" in page
    assert "No matching folder" in as_alice.post(f"{logos.get_absolute_url()}move", {"find": "zz%_"}).content.decode()


@pytest.mark.parametrize("page", ["access", "share", "request"])
def test_pages_about_a_folder_lead_back_to_it(page: str, logos: Folder, as_manager: Client) -> None:
    response = as_manager.get(f"{logos.get_absolute_url()}{page}")
    assert response.status_code == 200
    assert [crumb["url"] for crumb in response.context["crumbs"]][-1] == logos.get_absolute_url()
    assert f'<a href="{logos.get_absolute_url()}" data-folder'.encode() not in response.content
    assert f'<a href="{logos.get_absolute_url()}" dir="auto">{logos.name}</a>' in response.content.decode()


def test_only_chosen_groups_see_a_closed_folder(logos: Folder, as_manager: Client, as_bob: Client) -> None:
    groups = {group.name: group.pk for group in Group.objects.all()}
    sent = {f"level-{groups['managers']}": 3, f"level-{groups['viewers']}": 1, "level-x": 9, "access": "groups"}
    assert post(as_manager, logos, "access", **sent).status_code == 302
    assert set(Grant.objects.values_list("group__name", "level")) == {
        ("managers", AccessLevel.MANAGE),
        ("viewers", AccessLevel.VIEW),
    }
    assert as_bob.get(logos.get_absolute_url()).status_code == 404
    post(as_manager, logos, "access", access="everyone")
    assert as_bob.get(logos.get_absolute_url()).status_code == 200


@pytest.mark.parametrize("level", ["", "0", "4", "x", "1"])
def test_access_rules_cannot_lock_out_all_managers(level: str, logos: Folder, as_manager: Client) -> None:
    managers = Group.objects.get(name="managers")
    response = post(as_manager, logos, "access", **{f"level-{managers.pk}": level, "access": "groups"})
    assert response.status_code == 400
    assert "at least one role or team" in response.content.decode()
    assert not Grant.objects.exists()


def test_folder_is_trashed_with_its_files_after_confirmation(logos: Folder, alice: User, as_alice: Client) -> None:
    create_row(alice, State.AVAILABLE, folder=logos)
    url = f"{logos.get_absolute_url()}remove"
    assert "Move “Logos” and its 1 file to trash?" in as_alice.get(url).content.decode()
    assert File.objects.get().state == State.AVAILABLE
    assert as_alice.post(url).headers["Location"] == logos.parent.get_absolute_url()  # type: ignore[union-attr]
    assert File.objects.get().state == State.TRASHED
    assert not Folder.objects.living().filter(pk=logos.pk).exists()


def test_folder_with_an_unfinished_upload_cannot_be_trashed(logos: Folder, alice: User, as_alice: Client) -> None:
    create_row(alice, State.UPLOADING, folder=logos)
    response = post(as_alice, logos, "remove")
    assert response.status_code == 409
    assert "contains files that you can&#x27;t move to trash, or unfinished uploads" in response.content.decode()
    assert Folder.objects.living().filter(pk=logos.pk).exists()


def test_forbidden_actions_are_not_offered(logos: Folder, as_bob: Client, as_viewer: Client) -> None:
    bob = as_bob.get(logos.get_absolute_url()).content.decode()
    viewer = as_viewer.get(logos.get_absolute_url()).content.decode()
    assert ("New folder" in bob, ">This folder<" in bob) == (True, False)
    assert ("New folder" in viewer, ">This folder<" in viewer) == (False, False)


def test_plain_form_shows_the_target_folder(logos: Folder, as_alice: Client) -> None:
    page = as_alice.get(f"/upload/?folder={logos.pk}").content.decode()
    assert "Upload to Brand › Logos" in page
    assert f'name="folder" value="{logos.pk}"' in page
    for nonsense in ("x", "0", "9" * 40, "-1"):
        assert as_alice.get(f"/upload/?folder={nonsense}").status_code == 200


def test_folder_without_upload_permission_refuses_uploads(
    logos: Folder, as_alice: Client, alice: User, admin_user: User
) -> None:
    looking, keeping = Group.objects.create(name="looking"), Group.objects.create(name="keeping")
    alice.groups.add(looking)
    folders.set_access(logos, {looking: AccessLevel.VIEW, keeping: AccessLevel.MANAGE}, by=admin_user)
    page = as_alice.get(logos.get_absolute_url()).text
    assert 'data-drop-refused="You don\'t have permission to upload to this folder."' in page
    assert f'data-folder-id="{logos.pk}"' in page
    upload_client = UploadClient(as_alice)
    response = upload_client.post("/uploads/", {"files": [upload_client.item(b"x")], "folder_id": logos.pk})
    assert response.json()["files"][0]["error"]["code"] == "forbidden"
    assert not File.objects.exists()


def test_groups_not_shown_on_the_page_keep_their_access(
    logos: Folder, as_manager: Client, manager: User, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = Group.objects.create(name="a first"), Group.objects.create(name="z last")
    manager.groups.add(first)
    folders.set_access(logos, {first: AccessLevel.MANAGE, last: AccessLevel.UPLOAD}, by=admin_user)
    monkeypatch.setattr("uploads.views.folders.MAX_GROUPS", 1)
    post(as_manager, logos, "access", access="groups", **{f"level-{first.pk}": "3"})
    assert dict(logos.grants.values_list("group__name", "level")) == {
        "a first": AccessLevel.MANAGE,
        "z last": AccessLevel.UPLOAD,
    }
