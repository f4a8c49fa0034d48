"""`visible_to` is the one gate: it holds on the list, the page, the download, in the protocol, in the admin."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from tests.conftest import signed_in
from tests.support import shelf
from tests.support.senders import sha256
from uploads import s3
from uploads.models import File, State, Visibility

pytestmark = pytest.mark.django_db

TEAM, PRIVATE = Visibility.TEAM, Visibility.PRIVATE
# who sees a file of alice's, by its state and visibility
SEEN_BY: dict[tuple[State, Visibility], set[str]] = {
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
CASES = pytest.mark.parametrize(("state", "visibility"), SEEN_BY)


@pytest.fixture
def people(roles: None) -> dict[str, User]:
    return {
        "alice": shelf.add_person("alice", "uploaders"),
        "bob": shelf.add_person("bob", "uploaders"),
        "charlie": shelf.add_person("charlie"),
        "viewer": shelf.add_person("viewer", "viewers"),
        "manager": shelf.add_person("manager", "managers"),
        "root": shelf.add_person("root", is_staff=True, is_superuser=True),
        "retired": shelf.add_person("retired", "managers", is_active=False),
        "retired root": shelf.add_person("retired root", is_active=False, is_superuser=True),
    }


@pytest.fixture
def storage_unavailable(settings: Settings) -> Iterator[None]:
    """Whoever calls the store now gets 503: a 404 proves that nobody called it."""
    settings.S3_ENDPOINT = "http://127.0.0.1:9"
    s3.reset()
    yield
    s3.reset()


def who(people: dict[str, User], sees: Callable[[User], bool]) -> set[str]:
    return {name for name, user in people.items() if user.is_active and sees(user)}


@CASES
def test_a_row_is_seen_by_whom_it_should(state: State, visibility: Visibility, people: dict[str, User]) -> None:
    file = shelf.add_file(people["alice"], state=state, visibility=visibility)
    seen = {name for name, user in people.items() if file in File.objects.visible_to(user)}
    assert seen == SEEN_BY[state, visibility]


def test_who_is_not_signed_in_sees_nothing(people: dict[str, User]) -> None:
    shelf.add_file(people["alice"])
    assert not File.objects.visible_to(AnonymousUser()).exists()


def test_an_account_that_was_closed_sees_not_even_its_own(people: dict[str, User]) -> None:
    shelf.add_file(people["retired"])
    shelf.add_file(people["retired root"])
    assert not File.objects.visible_to(people["retired"]).exists()
    assert not File.objects.visible_to(people["retired root"]).exists()


def test_an_account_that_is_closed_is_out_at_its_next_request(people: dict[str, User]) -> None:
    bob = signed_in(people["bob"])
    file = shelf.add_file(people["alice"])
    assert bob.get(file.get_absolute_url()).status_code == 200
    User.objects.filter(username="bob").update(is_active=False)
    assert bob.get(file.get_absolute_url()).headers["Location"].startswith(reverse("login"))


def test_a_role_that_is_taken_away_is_gone_at_the_next_request(people: dict[str, User]) -> None:
    bob = signed_in(people["bob"])
    file = shelf.add_file(people["alice"])
    people["bob"].groups.clear()
    assert bob.get(file.get_absolute_url()).status_code == 404
    assert bob.post(reverse("uploads"), {"files": []}, content_type="application/json").status_code == 403


def test_who_lost_every_role_still_has_what_is_theirs(people: dict[str, User]) -> None:
    file = shelf.add_file(people["charlie"])
    assert signed_in(people["charlie"]).get(file.get_absolute_url()).status_code == 200


@CASES
def test_the_library_lists_what_the_gate_lets_through(
    state: State, visibility: Visibility, people: dict[str, User]
) -> None:
    shelf.add_file(people["alice"], state=state, visibility=visibility, name="needle.txt")
    listed = who(people, lambda user: b"needle.txt" in signed_in(user).get(reverse("library")).content)
    assert listed == (SEEN_BY[state, visibility] if state == State.AVAILABLE else set())


@CASES
def test_the_trash_lists_own_files_and_for_managers_the_teams(
    state: State, visibility: Visibility, people: dict[str, User]
) -> None:
    shelf.add_file(people["alice"], state=state, visibility=visibility, name="needle.txt")
    listed = who(people, lambda user: b"needle.txt" in signed_in(user).get(reverse("trash")).content)
    assert listed == (SEEN_BY[state, visibility] if state == State.TRASHED else set())


@CASES
@pytest.mark.parametrize("route", ["file", "download"])
def test_page_and_download_pass_the_same_gate(
    route: str, state: State, visibility: Visibility, people: dict[str, User]
) -> None:
    url = reverse(route, args=[shelf.add_file(people["alice"], state=state, visibility=visibility).pk])
    opened = who(people, lambda user: signed_in(user).get(url).status_code in {200, 302})
    assert opened == (SEEN_BY[state, visibility] if state == State.AVAILABLE else set())


@CASES
def test_the_protocol_answers_the_owner_alone(state: State, visibility: Visibility, people: dict[str, User]) -> None:
    """To everybody else an upload is as unknown as none, even one that is gone."""
    url = reverse("upload_detail", args=[shelf.add_file(people["alice"], state=state, visibility=visibility).pk])
    answers = {name: signed_in(user).get(url).status_code for name, user in people.items() if user.is_active}
    gone = state in {State.TRASHED, State.DELETING}
    assert answers == {**dict.fromkeys(answers, 404), "alice": 410 if gone else 200, "charlie": 404}


@CASES
def test_the_admin_shows_staff_what_the_gate_lets_through(
    state: State, visibility: Visibility, people: dict[str, User]
) -> None:
    User.objects.update(is_staff=True)
    people["alice"].user_permissions.set(Permission.objects.filter(content_type__app_label="uploads"))
    shelf.add_file(people["alice"], state=state, visibility=visibility, name="needle.txt")
    url = reverse("admin:uploads_file_changelist")
    lists = [f"{url}?state={part}" for part in ("library", "versions", "trash", "unfinished")]
    listed = who(people, lambda user: any(b"needle.txt" in signed_in(user).get(part).content for part in lists))
    assert listed == SEEN_BY[state, visibility]


@pytest.mark.usefixtures("storage_unavailable")
@pytest.mark.parametrize("theirs", [True, False])
def test_what_is_not_yours_is_not_found_and_the_store_is_not_asked(theirs: bool, people: dict[str, User]) -> None:
    """Somebody else's upload and one that never was get the same answers."""
    file = shelf.add_file(people["alice"], state=State.UPLOADING)
    pk = file.pk if theirs else uuid.uuid4()
    bob = signed_in(people["bob"])
    answers = [
        bob.get(reverse("upload_detail", args=[pk])),
        bob.delete(reverse("upload_detail", args=[pk])),
        call(bob, reverse("sign_parts", args=[pk]), {"parts": [{"number": 1, "sha256": sha256(b"hello")}]}),
        call(bob, reverse("finish"), {"files": [{"id": str(pk), "sha256": [sha256(b"hello")]}]}),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer.json()["error"]["code"] for answer in answers} == {"not_found"}
    file.refresh_from_db()
    assert file.state == State.UPLOADING


def call(client: Client, url: str, data: object):  # type: ignore[no-untyped-def]
    return client.post(url, data, content_type="application/json")


@pytest.mark.usefixtures("storage_unavailable")
def test_another_persons_pages_are_not_found_and_the_store_is_not_asked(people: dict[str, User]) -> None:
    private = shelf.add_file(people["alice"], visibility=PRIVATE)
    unfinished = shelf.add_file(people["alice"], state=State.UPLOADING)
    root = signed_in(people["root"])
    for route in ("file", "download"):
        assert root.get(reverse(route, args=[private.pk])).status_code == 404
    for route, file in [("trash_file", private), ("restore_file", private), ("cancel_upload", unfinished)]:
        assert root.post(reverse(route, args=[file.pk])).status_code == 404


def test_ids_of_others_do_not_move_anything(people: dict[str, User]) -> None:
    """Whatever a client invents beside the id has no effect."""
    bob = signed_in(people["bob"])
    item = {"token": str(uuid.uuid4()), "name": "a.txt", "size": 1, "owner": people["alice"].pk}
    invented = {"key": "f/" + "0" * 32, "state": "available", "bucket": "other", "upload_id": "x"}
    assert call(bob, reverse("uploads"), {"files": [item | invented]}).status_code == 200
    file = File.objects.get()
    assert (file.owner.username, file.state, file.multipart_id) == ("bob", State.UPLOADING, "")
    assert file.key != invented["key"]


def test_the_same_token_of_two_people_is_two_uploads(people: dict[str, User]) -> None:
    item = {"token": str(uuid.uuid4()), "name": "a.txt", "size": 1}
    for name in ("alice", "bob"):
        assert call(signed_in(people[name]), reverse("uploads"), {"files": [item]}).status_code == 200
    assert File.objects.count() == 2
