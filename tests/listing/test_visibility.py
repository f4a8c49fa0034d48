"""`visible_to` decides in lists, pages, downloads, the upload protocol and the admin."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in
from tests.support import factories
from tests.support.upload_client import sha256
from uploads.models import File, State, Visibility

pytestmark = pytest.mark.django_db

TEAM, PRIVATE = Visibility.TEAM, Visibility.PRIVATE
# who sees a file of alice, by its state and visibility
VISIBLE_TO: dict[tuple[State, Visibility], set[str]] = {
    (State.UPLOADING, TEAM): {"alice"},
    (State.UPLOADING, PRIVATE): {"alice"},
    (State.COMPLETING, TEAM): {"alice"},
    (State.COMPLETING, PRIVATE): {"alice"},
    (State.AVAILABLE, TEAM): {"alice", "viewer", "bob", "manager", "root"},
    (State.AVAILABLE, PRIVATE): {"alice"},
    (State.TRASHED, TEAM): {"alice", "manager", "root"},
    (State.TRASHED, PRIVATE): {"alice"},
    (State.DELETING, TEAM): set(),
    (State.DELETING, PRIVATE): set(),
}


@pytest.fixture
def people(roles: None) -> dict[str, User]:
    return {
        "alice": factories.create_user("alice", "uploaders"),
        "bob": factories.create_user("bob", "uploaders"),
        "charlie": factories.create_user("charlie"),
        "viewer": factories.create_user("viewer", "viewers"),
        "manager": factories.create_user("manager", "managers"),
        "root": factories.create_user("root", is_staff=True, is_superuser=True),
        "retired": factories.create_user("retired", "managers", is_active=False),
        "retired root": factories.create_user("retired root", is_active=False, is_superuser=True),
    }


@pytest.fixture
def files(people: dict[str, User]) -> dict[tuple[State, Visibility], File]:
    """A file of alice in each state and visibility."""
    return {
        (state, visibility): factories.create_file(
            people["alice"], state=state, visibility=visibility, name=f"{state}-{visibility}.txt"
        )
        for state, visibility in VISIBLE_TO
    }


def visible_in(people: dict[str, User], *urls: str) -> dict[tuple[State, Visibility], set[str]]:
    """Return the names of the active users for whom one of these pages contains the name of each file."""
    pages = {
        name: b"".join(signed_in(user).get(url).content for url in urls)
        for name, user in people.items()
        if user.is_active
    }
    return {
        (state, visibility): {name for name, page in pages.items() if f"{state}-{visibility}.txt".encode() in page}
        for state, visibility in VISIBLE_TO
    }


def expected(*states: State) -> dict[tuple[State, Visibility], set[str]]:
    """Return VISIBLE_TO for these states, and no users for the others."""
    return {key: names if key[0] in states else set() for key, names in VISIBLE_TO.items()}


def test_visible_to_matches_the_table(people: dict[str, User], files: dict[tuple[State, Visibility], File]) -> None:
    visible = {name: set(File.objects.visible_to(user)) for name, user in people.items()}
    assert {key: {name for name in people if file in visible[name]} for key, file in files.items()} == VISIBLE_TO


def test_anonymous_user_sees_nothing(people: dict[str, User]) -> None:
    factories.create_file(people["alice"])
    assert not File.objects.visible_to(AnonymousUser()).exists()


def test_inactive_user_does_not_see_own_files(people: dict[str, User]) -> None:
    factories.create_file(people["retired"])
    factories.create_file(people["retired root"])
    assert not File.objects.visible_to(people["retired"]).exists()
    assert not File.objects.visible_to(people["retired root"]).exists()


def test_deactivated_user_is_signed_out_at_the_next_request(people: dict[str, User]) -> None:
    bob = signed_in(people["bob"])
    file = factories.create_file(people["alice"])
    assert bob.get(file.get_absolute_url()).status_code == 200
    User.objects.filter(username="bob").update(is_active=False)
    assert bob.get(file.get_absolute_url()).headers["Location"].startswith(reverse("login"))


def test_removed_role_is_gone_at_the_next_request(people: dict[str, User]) -> None:
    bob = signed_in(people["bob"])
    file = factories.create_file(people["alice"])
    people["bob"].groups.clear()
    assert bob.get(file.get_absolute_url()).status_code == 404
    assert bob.post(reverse("uploads"), {"files": []}, content_type="application/json").status_code == 403


def test_user_without_a_role_sees_own_files(people: dict[str, User]) -> None:
    file = factories.create_file(people["charlie"])
    assert signed_in(people["charlie"]).get(file.get_absolute_url()).status_code == 200


@pytest.mark.usefixtures("files")
def test_library_lists_visible_files(people: dict[str, User]) -> None:
    assert visible_in(people, reverse("library")) == expected(State.AVAILABLE)


@pytest.mark.usefixtures("files")
def test_trash_lists_own_files_and_the_teams_for_managers(people: dict[str, User]) -> None:
    assert visible_in(people, reverse("trash")) == expected(State.TRASHED)


@pytest.mark.parametrize("route", ["file", "download"])
def test_page_and_download_open_for_visible_files(
    route: str, people: dict[str, User], files: dict[tuple[State, Visibility], File]
) -> None:
    clients = {name: signed_in(user) for name, user in people.items() if user.is_active}
    opened = {
        key: {name for name, client in clients.items() if client.get(reverse(route, args=[file.pk])).status_code < 400}
        for key, file in files.items()
    }
    assert opened == expected(State.AVAILABLE)


def test_protocol_finds_uploads_of_their_owner_only(
    people: dict[str, User], files: dict[tuple[State, Visibility], File]
) -> None:
    clients = {name: signed_in(user) for name, user in people.items() if user.is_active}
    for (state, _visibility), file in files.items():
        url = reverse("upload_detail", args=[file.pk])
        statuses = {name: client.get(url).status_code for name, client in clients.items()}
        gone = state in {State.TRASHED, State.DELETING}
        assert statuses == {**dict.fromkeys(clients, 404), "alice": 410 if gone else 200}


@pytest.mark.usefixtures("files")
def test_admin_shows_visible_files_to_staff(people: dict[str, User]) -> None:
    User.objects.update(is_staff=True)
    people["alice"].user_permissions.set(Permission.objects.filter(content_type__app_label="uploads"))
    url = reverse("admin:uploads_file_changelist")
    lists = [f"{url}?state={name}" for name in ("library", "versions", "trash", "unfinished")]
    assert visible_in(people, *lists) == VISIBLE_TO


@pytest.mark.usefixtures("storage_unavailable")
@pytest.mark.parametrize("exists", [True, False])
def test_upload_of_another_user_is_not_found_without_a_storage_call(exists: bool, people: dict[str, User]) -> None:
    """Another user's upload and an unknown id get the same responses."""
    file = factories.create_file(people["alice"], state=State.UPLOADING)
    pk = file.pk if exists else uuid.uuid4()
    bob = signed_in(people["bob"])
    responses = [
        bob.get(reverse("upload_detail", args=[pk])),
        bob.delete(reverse("upload_detail", args=[pk])),
        post_json(bob, reverse("sign_parts", args=[pk]), {"parts": [{"number": 1, "sha256": sha256(b"hello")}]}),
        post_json(bob, reverse("finish"), {"files": [{"id": str(pk), "sha256": [sha256(b"hello")]}]}),
    ]
    assert [response.status_code for response in responses] == [404] * 4
    assert {response.json()["error"]["code"] for response in responses} == {"not_found"}
    file.refresh_from_db()
    assert file.state == State.UPLOADING


def post_json(client: Client, url: str, data: object):  # type: ignore[no-untyped-def]
    return client.post(url, data, content_type="application/json")


@pytest.mark.usefixtures("storage_unavailable")
def test_pages_of_another_user_are_not_found_without_a_storage_call(people: dict[str, User]) -> None:
    private = factories.create_file(people["alice"], visibility=PRIVATE)
    unfinished = factories.create_file(people["alice"], state=State.UPLOADING)
    root = signed_in(people["root"])
    for route in ("file", "download"):
        assert root.get(reverse(route, args=[private.pk])).status_code == 404
    for route, file in [("trash_file", private), ("restore_file", private), ("cancel_upload", unfinished)]:
        assert root.post(reverse(route, args=[file.pk])).status_code == 404
