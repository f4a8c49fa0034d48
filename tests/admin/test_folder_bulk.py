"""Bulk actions on folders in the admin: the same as on the pages, with a confirmation, and the list of the trash."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from tests.conftest import signed_in
from tests.support import factories
from tests.support.file_rows import create_row, ensure_folder, full_path
from tests.support.form_client import messages_of
from uploads.actions.trash import TrashAction
from uploads.admin import bulk as admin_bulk
from uploads.models import AccessLevel, Action, Event, File, Folder, State, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db

LIST = "/admin/uploads/folder/"
TRASH = "?state=trash"


@pytest.fixture
def campaign(alice: User) -> Folder:
    """A folder below another one, with a file and a subfolder with a file."""
    create_row(alice, State.AVAILABLE, name="brief.txt", folder=ensure_folder("Brand/Campaign", alice))
    create_row(alice, State.AVAILABLE, name="logo.png", folder=ensure_folder("Brand/Campaign/Logos", alice))
    return ensure_folder("Brand/Campaign", alice)


def post(client: Client, action: str, *selected: Folder, query: str = "?inside=Brand", **data: Any) -> Any:
    ids = [str(folder.pk) for folder in selected]
    return client.post(LIST + query, {"action": action, "_selected_action": ids, **data})


def confirm(client: Client, action: str, *selected: Folder, query: str = "?inside=Brand", **data: Any) -> Any:
    return post(client, action, *selected, query=query, confirmed="yes", **data)


def listed(client: Client, query: str = "") -> list[str]:
    response = client.get(LIST + query)
    assert response.status_code == 200
    return [folder.whole_path for folder in response.context["cl"].result_list]


def living() -> set[str]:
    return {full_path(folder) for folder in Folder.objects.living()}


def trash(folder: Folder, by: User) -> None:
    TrashAction().execute([], {}, by=by, folders=[folder.pk])


def offered(client: Client, query: str = "") -> list[str]:
    return [name for name, _label in client.get(LIST + query).context["action_form"].fields["action"].choices if name]


def test_library_and_trash_offer_their_actions(campaign: Folder, alice: User, as_clerk: Client) -> None:
    assert offered(as_clerk) == ["move", "trash"]
    trash(campaign, alice)
    assert offered(as_clerk, TRASH) == ["restore"]


def test_confirmation_counts_the_files_and_changes_nothing(campaign: Folder, as_clerk: Client) -> None:
    page = post(as_clerk, "trash", campaign).content.decode()
    assert "Move “Campaign” and its 2 files to trash?" in page
    assert '<li dir="auto">Brand/Campaign</li>' in page
    assert "can be restored for 30 days" in page
    assert "Brand/Campaign" in living()
    assert not File.objects.trashed().exists()


def test_folder_is_trashed_and_restored_with_its_files(campaign: Folder, as_clerk: Client) -> None:
    assert messages_of(confirm(as_clerk, "trash", campaign)) == ["Moved “Campaign” and 2 files to trash."]
    assert (living(), File.objects.trashed().count()) == ({"Brand"}, 2)
    assert listed(as_clerk, TRASH) == ["Brand/Campaign"]
    page = post(as_clerk, "restore", campaign, query=TRASH).content.decode()
    assert "Restore “Campaign” and 2 files?" in page
    assert messages_of(confirm(as_clerk, "restore", campaign, query=TRASH)) == ["Restored “Campaign”."]
    assert living() == {"Brand", "Brand/Campaign", "Brand/Campaign/Logos"}
    assert File.objects.available().count() == 2
    events = Event.objects.filter(action=Action.FOLDER, folder_id=campaign.pk, actor="clerk").order_by("pk")
    assert [set(event.detail) & {"removed", "restored"} for event in events] == [{"removed"}, {"restored"}]


def test_folder_is_moved_to_a_typed_path(campaign: Folder, alice: User, as_clerk: Client) -> None:
    ensure_folder("Archive/2026", alice)
    assert "Move “Campaign” to …" in post(as_clerk, "move", campaign).content.decode()
    response = confirm(as_clerk, "move", campaign, to="Archive/2026")
    assert messages_of(response) == ["Moved “Campaign” to “2026”."]
    assert "Archive/2026/Campaign/Logos" in living()


@pytest.mark.parametrize(
    ("target", "error"),
    [("No/Such", "not found"), ("Brand/Campaign/Logos", "into itself"), ("Archive", "already exists here")],
)
def test_refused_move_is_an_error_on_the_form(
    target: str, error: str, campaign: Folder, alice: User, as_clerk: Client
) -> None:
    ensure_folder("Archive/Campaign", alice)
    response = confirm(as_clerk, "move", campaign, to=target)
    assert response.status_code == 200
    assert error in str(response.context["form"].errors)
    assert "Brand/Campaign" in living()


def test_folder_with_files_of_others_stays_and_is_named(campaign: Folder, bob: User, as_clerk: Client) -> None:
    create_row(bob, State.AVAILABLE, name="secret.txt", folder=campaign, visibility=Visibility.PRIVATE)
    assert "its 2 files" in post(as_clerk, "trash", campaign).content.decode()
    moved, stays = messages_of(confirm(as_clerk, "trash", campaign))
    assert (moved, stays[:18]) == ("Moved 2 files to trash.", "“Campaign” stays: ")
    assert "Brand/Campaign" in living()


def test_folders_without_permission_are_listed_as_skipped(campaign: Folder, alice: User, roles: None) -> None:
    staff = factories.create_user("dora", "managers", is_staff=True)
    design = Group.objects.create(name="design")
    staff.groups.add(design)
    folders.set_access(
        campaign,
        {Group.objects.create(name="few"): AccessLevel.MANAGE, design: AccessLevel.VIEW},
        by=factories.create_user("chief", is_superuser=True),
    )
    other = ensure_folder("Brand/Other", alice)
    client = signed_in(staff)
    page = post(client, "trash", campaign, other).content.decode()
    assert "Move “Other” to trash?" in page
    assert "1 folder will be skipped" in page
    assert any("“Campaign”" in text for text in messages_of(confirm(client, "trash", campaign, other)))
    assert "Brand/Campaign" in living()


def test_closed_and_invalid_ids_are_counted_and_not_named(campaign: Folder, admin_user: User, as_clerk: Client) -> None:
    folders.set_access(campaign, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=admin_user)
    data = {"action": "trash", "_selected_action": [str(campaign.pk), "4711", "x", "9" * 40], "confirmed": "yes"}
    (message,) = messages_of(as_clerk.post(LIST, data))
    assert message == "2 items no longer exist or aren't available to you."
    assert "Brand/Campaign" in living()


def test_trash_lists_what_the_person_may_restore(campaign: Folder, admin_user: User, as_clerk: Client) -> None:
    closed = ensure_folder("Closed", admin_user)
    folders.set_access(closed, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=admin_user)
    trash(closed, admin_user)
    trash(ensure_folder("Brand", admin_user), admin_user)
    assert listed(as_clerk, TRASH) == ["Brand"]
    assert listed(signed_in(admin_user), TRASH) == ["Brand", "Closed"]
    assert listed(as_clerk, TRASH + "&q=clos") == []
    assert listed(as_clerk) == listed(as_clerk, "?q=campaign") == []
    confirm(as_clerk, "restore", closed, query=TRASH)
    assert "Closed" not in living()


def test_folder_in_the_trash_has_no_page(campaign: Folder, alice: User, as_clerk: Client) -> None:
    url = reverse("admin:uploads_folder_change", args=[campaign.pk])
    trash(campaign, alice)
    assert url not in as_clerk.get(LIST + TRASH).content.decode()
    for query in ("", TRASH):
        assert as_clerk.get(url + query).status_code == 302
        assert as_clerk.post(url + query, {"name": "Mine", "parent": ""}).status_code == 302
    campaign.refresh_from_db()
    assert campaign.name == "Campaign"


def test_selection_of_all_folders_is_limited(alice: User, as_clerk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_bulk, "MAX_SELECTED", 2)
    selected = [ensure_folder(name, alice) for name in ("a", "b", "c")]
    response = confirm(as_clerk, "trash", selected[0], query="", select_across="1")
    assert messages_of(response) == ["You can select up to 2 folders at a time."]
    assert living() == {"a", "b", "c"}


def test_staff_without_a_role_change_no_folder(campaign: Folder, roles: None) -> None:
    before = living()
    without_role = signed_in(factories.create_user("dora", is_staff=True))
    viewer = signed_in(factories.create_user("viewer", "viewers", is_staff=True))
    for action in ("move", "trash"):
        assert confirm(without_role, action, campaign, to="").status_code == 403
        confirm(viewer, action, campaign, to="")
    assert living() == before


def test_hostile_folder_name_is_escaped_in_the_confirmation(alice: User, as_clerk: Client) -> None:
    folder = ensure_folder("<img src=x onerror=alert(1)>", alice)
    trashed = ensure_folder("<img src=y onerror=alert(1)>", alice)
    trash(trashed, alice)
    pages = [post(as_clerk, name, folder, query="") for name in ("move", "trash")]
    pages += [post(as_clerk, "restore", trashed, query=TRASH), as_clerk.get(LIST + TRASH)]
    for page in pages:
        assert (page.status_code, b"<img src=" in page.content.replace(b'<img src="/static', b"")) == (200, False)


def test_confirmation_of_many_folders_has_few_queries(
    alice: User, as_clerk: Client, django_assert_max_num_queries: Any
) -> None:
    selected = [ensure_folder(f"folder {number}", alice) for number in range(40)]
    with django_assert_max_num_queries(20):
        page = post(as_clerk, "trash", *selected, query="")
    assert "Move 40 folders to trash?" in page.content.decode()
