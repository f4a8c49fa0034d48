"""A bulk action is one class: the pages, the admin and the activity read the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from tests.conftest import signed_in
from tests.support import factories
from tests.support.file_rows import create_row
from tests.support.form_client import messages_of, post_bulk
from uploads import actions
from uploads.actions import BulkAction
from uploads.forms import UserForm
from uploads.models import Action, Event, File, State
from uploads.names import normalize_for_search
from uploads.services.files import with_versions

pytestmark = pytest.mark.django_db

ADMIN_LIST = "/admin/uploads/file/"


class PrefixForm(UserForm):
    text = forms.CharField(label="Prefix of the names", max_length=10)


class PrefixAction(BulkAction):
    """A complete action: adding one takes only a class like this."""

    name, label, description = "prefix", "Add a prefix", "Their names begin with it."
    form_class = PrefixForm
    audit_action, audit_label, log_event = "prefix", "added a prefix", "file_prefixed"

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        for file in files:
            name = data["text"] + file.name
            with_versions([file]).update(name=name, normalized_name=normalize_for_search(name))
        return {"prefix": data["text"]}

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        return f"{count} begin with {data['text']}"

    def describe(self, detail: Mapping[str, Any]) -> str:
        return f"put {detail['prefix']} before its name" if "prefix" in detail else ""


@pytest.fixture
def prefix_action() -> Iterator[None]:
    actions.register(PrefixAction)
    yield
    del actions.REGISTRY["prefix"]


@pytest.fixture
def files(alice: User, bob: User) -> list[File]:
    owners = {"a.txt": alice, "b.txt": alice, "theirs.txt": bob}
    return [create_row(owner, State.AVAILABLE, name=name) for name, owner in owners.items()]


def post_admin(client: Client, files: list[File], **data: Any) -> Any:
    return client.post(ADMIN_LIST, {"action": "prefix", "_selected_action": [str(file.pk) for file in files], **data})


def names() -> set[str]:
    return set(File.objects.values_list("name", flat=True))


def test_registered_action_is_offered_in_the_library_and_not_in_the_trash(
    prefix_action: None, alice: User, files: list[File], as_alice: Client
) -> None:
    button = '<button type="submit" name="do" value="prefix">Add a prefix</button>'
    actions.trash_files([files[0].permanent_id], by=alice)
    assert button in as_alice.get("/").content.decode()
    assert button not in as_alice.get("/trash/").content.decode()


def test_page_asks_for_the_parameters_and_changes_only_permitted_files(
    prefix_action: None, files: list[File], as_alice: Client
) -> None:
    page = post_bulk(as_alice, "prefix", files)
    assert "Prefix of the names" in page.content.decode()
    assert names() == {"a.txt", "b.txt", "theirs.txt"}
    response = post_bulk(as_alice, "prefix", files, go="1", text="2026-")
    assert names() == {"2026-a.txt", "2026-b.txt", "theirs.txt"}
    done, refused = messages_of(response)
    assert done == "2 begin with 2026-"
    assert "“theirs.txt”" in refused


def test_page_shows_the_errors_of_the_form(prefix_action: None, files: list[File], as_alice: Client) -> None:
    response = post_bulk(as_alice, "prefix", files, go="1", text="x" * 11)
    assert response.status_code == 400
    assert "at most 10 characters" in response.content.decode()
    assert names() == {"a.txt", "b.txt", "theirs.txt"}


def test_admin_confirms_and_changes_only_permitted_files(prefix_action: None, files: list[File], roles: None) -> None:
    files.append(
        create_row(factories.create_user("dora", "uploaders", is_staff=True), State.AVAILABLE, name="hers.txt")
    )
    client = signed_in(files[-1].owner)
    assert '<option value="prefix">Add a prefix</option>' in client.get(ADMIN_LIST).content.decode()
    page = post_admin(client, files).content.decode()
    assert "1 file will be changed" in page
    assert "3 files will be skipped" in page
    assert "Their names begin with it." in page
    response = post_admin(client, files, confirmed="yes", text="new-")
    assert names() == {"a.txt", "b.txt", "theirs.txt", "new-hers.txt"}
    assert messages_of(response)[0] == "1 begin with new-"


def test_activity_and_audit_log_name_the_action(
    prefix_action: None, files: list[File], as_alice: Client, as_admin: Client
) -> None:
    post_bulk(as_alice, "prefix", files[:1], go="1", text="2026-")
    event = Event.objects.get(action="prefix")
    assert (event.action, event.actor, event.file_id) == ("prefix", "alice", files[0].permanent_id)
    assert "put 2026- before its name" in as_alice.get(f"/files/{files[0].permanent_id}/").content.decode()
    audit_log = as_admin.get("/admin/uploads/event/?action=prefix").content.decode()
    assert audit_log.count("added a prefix") >= 2  # the filter, and the event


def test_button_with_its_own_view_is_no_action_of_the_bulk_view(files: list[File], as_alice: Client) -> None:
    response = as_alice.post("/files/bulk", {"do": "zip", "file": str(files[0].permanent_id)})
    assert response.status_code == 400


def test_two_actions_with_one_name_are_refused(prefix_action: None) -> None:
    with pytest.raises(ImproperlyConfigured, match="prefix"):
        actions.register(PrefixAction)


def test_audit_action_without_a_label_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="audit_label"):
        actions.register(type("Unlabeled", (PrefixAction,), {"name": "other", "audit_label": ""}))
    assert "other" not in actions.REGISTRY


@pytest.mark.parametrize("name", sorted(actions.REGISTRY))
def test_audit_action_fits_its_column(name: str) -> None:
    action = actions.REGISTRY[name]
    assert len(action.audit_action) <= Event._meta.get_field("action").max_length  # type: ignore[operator]
    assert action.audit_action in {*Action.values, *actions.audit_labels()}
