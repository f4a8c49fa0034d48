"""Bulk actions in the admin: a confirmation page lists what will change."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client

from tests.conftest import signed_in
from tests.support import factories
from uploads import actions
from uploads.actions import admin_actions
from uploads.admin import bulk as admin_bulk
from uploads.models import Action, Event, File, State, Tagging, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db

LIST = "/admin/uploads/file/"
HOSTILE = "<img src=x onerror=alert(1)>.png"


def post_action(client: Client, action: str, *files: File, query: str = "", **extra: Any) -> Any:
    data = {"action": action, "_selected_action": [str(file.pk) for file in files], **extra}
    return client.post(LIST + query, data)


def confirm_action(client: Client, action: str, *files: File, query: str = "", **extra: Any) -> Any:
    return post_action(client, action, *files, query=query, confirmed="yes", **extra)


def message_text(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def test_unconfirmed_action_changes_nothing(admin_user: User) -> None:
    file = factories.create_file(admin_user)
    client = signed_in(admin_user)
    client.get(LIST)
    before = factories.database_rows()
    for action in admin_actions():
        assert post_action(client, action.name, file).status_code == 200
    after = factories.database_rows()
    for table in ("sessions.Session", "usersessions.UserSession"):  # last activity
        before[table] = after[table]
    assert after == before


def test_confirmation_lists_changed_and_skipped_files(alice: User, bob: User) -> None:
    staff = factories.create_user("dora", "uploaders", is_staff=True)
    mine = [factories.create_file(staff, name=f"mine {number}") for number in range(25)]
    theirs = factories.create_file(bob, name="theirs.txt")
    page = post_action(signed_in(staff), "trash", *mine, theirs).content.decode()
    assert "25 files will be changed" in page
    assert "and 5 more" in page
    assert "1 file will be skipped" in page
    assert "theirs.txt" in page
    assert "30 days" in page


def test_files_are_trashed_and_restored(alice: User, as_clerk: Client) -> None:
    files = [factories.create_file(alice) for _ in range(2)]
    assert "Moved 2 files to trash." in message_text(confirm_action(as_clerk, "trash", *files))
    assert File.objects.trashed().count() == 2
    assert "Restored 2 files." in message_text(confirm_action(as_clerk, "restore", *files, query="?state=trash"))
    assert File.objects.available().count() == 2
    assert list(Event.objects.filter(action=Action.TRASH).values_list("actor", flat=True)) == ["clerk", "clerk"]


def test_files_are_moved_to_a_folder_by_its_path(alice: User, as_clerk: Client) -> None:
    file = factories.create_file(alice)
    folder = folders.ensure(["Brand/Logos"], by=alice)["Brand/Logos"]
    confirm_action(as_clerk, "move", file, to="Brand/Logos")
    file.refresh_from_db()
    assert file.folder == folder
    confirm_action(as_clerk, "move", file, to="")
    file.refresh_from_db()
    assert file.folder is None


@pytest.mark.parametrize("path", ["No/Such", "../x", "#999999", "#99999999999999999999", "a" * 5000, "x\x00y", "%"])
def test_missing_folder_is_an_error_and_nothing_moves(path: str, alice: User, as_clerk: Client) -> None:
    file = factories.create_file(alice)
    response = confirm_action(as_clerk, "move", file, to=path)
    assert (response.status_code, bool(response.context["form"].errors)) == (200, True)
    assert File.objects.get().folder_id is None


def test_tags_are_added_and_removed(alice: User, as_clerk: Client) -> None:
    file = factories.create_file(alice)
    confirm_action(as_clerk, "tag", file, add="Été, winter,  , ete")
    assert set(Tagging.objects.values_list("tag__normalized_name", flat=True)) == {"ete", "winter"}
    confirm_action(as_clerk, "tag", file, remove="été")
    assert set(Tagging.objects.values_list("tag__normalized_name", flat=True)) == {"winter"}


def test_slash_in_a_tag_becomes_a_hyphen(alice: User, as_clerk: Client) -> None:
    confirm_action(as_clerk, "tag", factories.create_file(alice), add="2026/spring, a\\b")
    assert set(Tagging.objects.values_list("tag__name", flat=True)) == {"2026-spring", "a-b"}


@pytest.mark.parametrize("tags", ["", " , ,", "x" * 51, "a\x00b", "t," * 3000])
def test_invalid_tags_are_rejected(tags: str, alice: User, as_clerk: Client) -> None:
    response = confirm_action(as_clerk, "tag", factories.create_file(alice), add=tags)
    assert (response.status_code, bool(response.context["form"].errors)) == (200, True)
    assert not Tagging.objects.exists()


def test_too_many_tags_are_rejected_as_a_whole(alice: User, as_clerk: Client) -> None:
    response = confirm_action(
        as_clerk, "tag", factories.create_file(alice), add=",".join(f"t{number}" for number in range(51))
    )
    assert "up to 50 tags" in response.content.decode()
    assert not Tagging.objects.exists()


def test_only_owners_make_files_private(alice: User, admin_user: User) -> None:
    mine, hers = factories.create_file(admin_user, name="mine"), factories.create_file(alice, name="hers")
    response = confirm_action(signed_in(admin_user), "private", mine, hers)
    assert "hers" in message_text(response)
    assert set(File.objects.filter(visibility=Visibility.PRIVATE)) == {mine}
    confirm_action(signed_in(admin_user), "team", mine)
    assert not File.objects.filter(visibility=Visibility.PRIVATE).exists()


def test_foreign_and_invalid_ids_change_nothing_and_are_reported(alice: User, as_clerk: Client) -> None:
    hidden = factories.create_file(alice, name="secret.txt", visibility=Visibility.PRIVATE)
    visible = factories.create_file(alice)
    selected = [str(visible.pk), str(hidden.pk), str(uuid.uuid4()), "nonsense", "\x00", "9" * 40]
    response = as_clerk.post(LIST, {"action": "trash", "_selected_action": selected, "confirmed": "yes"})
    assert response.status_code == 302
    assert "2 items no longer exist or aren't available to you." in message_text(response)
    assert "secret" not in message_text(response)
    assert set(File.objects.trashed()) == {visible}


def test_empty_selection_and_unknown_actions_change_nothing(alice: User, as_clerk: Client) -> None:
    file = factories.create_file(alice)
    assert post_action(as_clerk, "trash").status_code in {200, 302}
    assert post_action(as_clerk, "delete_selected", file, post="yes").status_code in {200, 302}
    assert post_action(as_clerk, "nonsense", file).status_code in {200, 302}
    assert File.objects.available().count() == 1


def test_selection_of_all_files_is_limited(alice: User, as_clerk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_bulk, "MAX_SELECTED", 2)
    files = [factories.create_file(alice) for _ in range(3)]
    response = confirm_action(as_clerk, "trash", files[0], select_across="1")
    assert "up to 2 files" in message_text(response)
    assert not File.objects.trashed().exists()


def test_staff_without_a_role_change_nothing(alice: User, roles: None) -> None:
    file = factories.create_file(alice)
    clerk = factories.create_user("nobody", is_staff=True)
    for action in admin_actions():
        assert confirm_action(signed_in(clerk), action.name, file, to="", add="x").status_code == 403
    viewer = signed_in(factories.create_user("viewer", "viewers", is_staff=True))
    for action in admin_actions():
        confirm_action(viewer, action.name, file, to="", add="x")
    assert File.objects.get().updated_at == file.updated_at


def test_hostile_name_is_escaped_on_every_page(admin_user: User) -> None:
    file = factories.create_file(admin_user, name=HOSTILE)
    actions.tag_files([file.pk], add=["<script>alert(2)</script>"], by=admin_user)
    client = signed_in(admin_user)
    pages = [client.get(LIST), client.get(f"{LIST}{file.pk}/change/"), client.get(f"{LIST}{file.pk}/delete/")]
    pages += [post_action(client, action.name, file) for action in admin_actions()] + [
        client.get("/admin/uploads/event/")
    ]
    pages += [client.get("/admin/uploads/tag/"), client.get(f"{LIST}{file.pk}/history/")]
    for page in pages:
        assert page.status_code == 200
        assert b"<img src=x" not in page.content
        assert b"<script>alert" not in page.content


def test_confirmation_of_many_files_has_few_queries(admin_user: User, django_assert_max_num_queries: Any) -> None:
    client = signed_in(admin_user)
    files = [factories.create_file(admin_user) for _ in range(60)]
    with django_assert_max_num_queries(20):
        post_action(client, "trash", *files)


def test_concurrent_change_of_the_file_is_reported(alice: User, as_clerk: Client) -> None:
    file = factories.create_file(alice)
    File.objects.filter(pk=file.pk).update(state=State.TRASHED, purge_after=file.available_at)
    assert "1 item no longer exists or isn't available to you." in message_text(confirm_action(as_clerk, "trash", file))
