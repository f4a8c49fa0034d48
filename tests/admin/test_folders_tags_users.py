"""Folders, tags and people in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from tests.conftest import signed_in
from tests.support import factories
from tests.support.file_rows import ensure_folder, trash_folder
from uploads import actions
from uploads.accounts.password_reset import create_reset
from uploads.models import AccessLevel, Action, Event, File, Folder, Grant, PasswordReset, Tag, Tagging, apply_deltas
from uploads.services import folders

pytestmark = pytest.mark.django_db

FOLDERS = "/admin/uploads/folder/"
TAGS = "/admin/uploads/tag/"
HOSTILE = "<img src=x onerror=alert(1)>"


def listed(client: Client, **query: str) -> set[str]:
    response = client.get(FOLDERS, query)
    assert response.status_code == 200
    return {folder.whole_path for folder in response.context["cl"].result_list}


def save_folder(
    client: Client, folder: Folder | None, grants: list[tuple[Group, AccessLevel]] | None = None, **data: str
) -> Any:
    """Post the form of a folder with new grants only."""
    rows = {"grants-TOTAL_FORMS": str(len(grants or [])), "grants-INITIAL_FORMS": "0"}
    for number, (group, level) in enumerate(grants or []):
        rows |= {f"grants-{number}-group": str(group.pk), f"grants-{number}-level": str(level)}
    url = reverse("admin:uploads_folder_change", args=[folder.pk]) if folder else reverse("admin:uploads_folder_add")
    return client.post(url, {"parent": "", **data, **rows})


# --- folders ----------------------------------------------------------------------------------


def test_list_shows_one_level_and_search_covers_all_levels(alice: User, as_admin: Client) -> None:
    ensure_folder("Brand/Logos", alice)
    ensure_folder("Press/Été", alice)
    assert listed(as_admin) == listed(as_admin, inside="/") == {"Brand", "Press"}
    assert listed(as_admin, inside="Brand") == {"Brand/Logos"}
    assert listed(as_admin, q="ETE") == {"Press/Été"}
    assert listed(as_admin, inside="No/Such") == set()


def test_folder_list_has_a_constant_number_of_queries(
    alice: User, as_admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ensure_folder("one", alice)
    as_admin.get(FOLDERS)
    with django_assert_num_queries(10) as few:
        as_admin.get(FOLDERS)
    for number in range(20):
        factories.create_file(alice, folder=ensure_folder(f"more {number}", alice))
    with django_assert_num_queries(len(few)):
        as_admin.get(FOLDERS)


def test_folder_is_created_renamed_and_moved(admin_user: User, as_admin: Client) -> None:
    assert save_folder(as_admin, None, name="Brand").status_code == 302
    assert save_folder(as_admin, None, name="Logos\u202e ", parent="Brand").status_code == 302
    brand, logos = Folder.objects.order_by("pk")
    assert (logos.name, logos.path, logos.created_by) == ("Logos", [brand.pk, logos.pk], admin_user)
    assert save_folder(as_admin, logos, name="Signs", parent="").status_code == 302
    logos.refresh_from_db()
    assert (logos.name, logos.normalized_name, logos.path) == ("Signs", "signs", [logos.pk])
    audit_actions = Event.objects.filter(folder_id=logos.pk).values_list("action", flat=True)
    assert {Action.FOLDER, Action.ADMIN} <= set(audit_actions)


def test_name_of_a_removed_folder_can_be_reused(admin_user: User, as_admin: Client) -> None:
    folder = ensure_folder("Brand", admin_user)
    trash_folder(folder, by=admin_user)
    assert save_folder(as_admin, None, name="Brand").status_code == 302
    assert Folder.objects.living().get().pk == folder.pk


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"name": "Press"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "Brand/Signs"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "Brand", "parent": "Brand"}, "parent"),
        ({"name": "Brand", "parent": "Brand/Logos"}, "parent"),
        ({"name": "Brand", "parent": "No/Such"}, "parent"),
        ({"name": "Brand", "parent": "x" * 9999}, "parent"),
        ({"name": "Brand", "parent": "#9999999999999999999"}, "parent"),
    ],
)
def test_invalid_folder_names_the_field(data: dict[str, str], field: str, as_admin: Client) -> None:
    root = User.objects.get(username="root")
    ensure_folder("Brand/Logos", root)
    ensure_folder("Press", root)
    before = list(Folder.objects.order_by("pk").values())
    brand = Folder.objects.get(name="Brand")
    response = save_folder(as_admin, brand, None, **data)
    assert (response.status_code, list(response.context["adminform"].form.errors)) == (200, [field])
    assert list(Folder.objects.order_by("pk").values()) == before


def test_group_access_is_granted_and_removed(admin_user: User, as_admin: Client) -> None:
    folder, group = ensure_folder("Brand", admin_user), Group.objects.create(name="design")
    assert (
        save_folder(as_admin, folder, [(group, AccessLevel.MANAGE)], name="Brand", restricted="on").status_code == 302
    )
    folder.refresh_from_db()
    assert (folder.restricted, folder.access_root_id, Grant.objects.get().level) == (
        True,
        folder.pk,
        AccessLevel.MANAGE,
    )
    assert save_folder(as_admin, folder, name="Brand").status_code == 302
    folder.refresh_from_db()
    assert (folder.restricted, folder.access_root_id, Grant.objects.exists()) == (False, None, False)


def test_existing_grants_can_be_edited(admin_user: User, as_admin: Client) -> None:
    folder, group, other = (
        ensure_folder("Brand", admin_user),
        Group.objects.create(name="a"),
        Group.objects.create(name="b"),
    )
    folders.set_access(folder, {group: AccessLevel.MANAGE, other: AccessLevel.VIEW}, by=admin_user)
    rows: dict[str, str] = {"grants-TOTAL_FORMS": "2", "grants-INITIAL_FORMS": "2"}
    for number, (grant, level) in enumerate(zip(folder.grants.order_by("group__name"), ["3", "2"], strict=True)):
        rows |= {f"grants-{number}-{name}": str(value) for name, value in
                 {"id": grant.pk, "folder": folder.pk, "group": grant.group_id, "level": level}.items()}  # fmt: skip
    url = reverse("admin:uploads_folder_change", args=[folder.pk])
    assert as_admin.post(url, {"name": "Brand", "parent": "", "restricted": "on", **rows}).status_code == 302
    assert dict(folder.grants.values_list("group__name", "level")) == {"a": AccessLevel.MANAGE, "b": AccessLevel.UPLOAD}
    before = Event.objects.filter(action=Action.ACCESS).count()
    unchanged = {
        f"grants-{number}-id": str(grant.pk) for number, grant in enumerate(folder.grants.order_by("group__name"))
    }
    as_admin.post(url, {"name": "Signs", "parent": "", "restricted": "on", **rows, **unchanged})
    assert Event.objects.filter(action=Action.ACCESS).count() == before, "renaming records no access event"


@pytest.mark.parametrize("restricted", [{"restricted": "on"}, {}])
def test_grants_that_lock_everyone_out_or_have_no_effect_are_rejected(
    restricted: dict[str, str], admin_user: User, as_admin: Client
) -> None:
    folder, group = ensure_folder("Brand", admin_user), Group.objects.create(name="design")
    response = save_folder(as_admin, folder, [(group, AccessLevel.VIEW)], name="Brand", **restricted)
    assert response.status_code == 200
    assert response.context["errors"]
    assert not Grant.objects.exists()


def test_error_of_the_service_is_shown_as_a_message(admin_user: User, as_admin: Client) -> None:
    """For example, if a sibling with this name was created after validation."""
    folder = ensure_folder("Brand", admin_user)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uploads.admin.folders.FolderForm.clean", lambda form: form.cleaned_data)
        ensure_folder("Press", admin_user)
        response = save_folder(as_admin, folder, name="Press")
    assert response.status_code == 302
    assert "already" in str(next(iter(get_messages(response.wsgi_request))))
    assert Folder.objects.get(pk=folder.pk).name == "Brand"


def test_manager_cannot_see_or_edit_a_restricted_folder(admin_user: User, as_clerk: Client) -> None:
    folder = ensure_folder("Board", admin_user)
    folders.set_access(folder, {Group.objects.create(name="board"): AccessLevel.MANAGE}, by=admin_user)
    assert listed(as_clerk) == set()
    assert as_clerk.get(reverse("admin:uploads_folder_change", args=[folder.pk])).status_code == 302
    save_folder(as_clerk, folder, name="Mine")
    folder.refresh_from_db()
    assert folder.name == "Board"


def test_invalid_folder_queries_cause_no_errors(as_admin: Client) -> None:
    for query in ({"inside": "x" * 5000}, {"inside": "#"}, {"q": "\u202e%_'"}, {"p": "9" * 30}, {"o": "1.-2"},
                  {"x": "1"}, {"parent__name": "x"}, {"grants__group": "1"},
                  {"created_by__password__startswith": "p"}):  # fmt: skip
        assert as_admin.get(FOLDERS, query).status_code in {200, 302, 400}, query


def test_hostile_folder_name_is_escaped(admin_user: User, as_admin: Client) -> None:
    folder = ensure_folder(HOSTILE, admin_user)
    factories.create_file(admin_user, folder=folder)
    apply_deltas()
    for url in (FOLDERS, reverse("admin:uploads_folder_change", args=[folder.pk]), "/admin/uploads/file/",
                "/admin/storage/", "/admin/uploads/event/"):  # fmt: skip
        assert b"<img src=x" not in as_admin.get(url).content


def test_file_with_a_very_long_folder_path_can_be_edited(admin_user: User, as_admin: Client) -> None:
    file = factories.create_file(admin_user, folder=ensure_folder("/".join(["x" * 250] * 5), admin_user))
    url = reverse("admin:uploads_file_change", args=[file.pk])
    path = as_admin.get(url).context["adminform"].form.initial["folder"]
    assert len(path) > 1_024
    data = {"name": "new.txt", "visibility": "team", "tags": "", "folder": path}
    assert as_admin.post(url, data).status_code == 302
    assert (File.objects.get().name, File.objects.get().folder) == ("new.txt", file.folder)


def test_own_file_in_an_inaccessible_folder_can_be_edited(admin_user: User, roles: None) -> None:
    clerk = factories.create_user("clerk", "managers", is_staff=True)
    board = ensure_folder("Board", admin_user)
    file = factories.create_file(clerk, folder=board)
    folders.set_access(board, {Group.objects.create(name="board"): AccessLevel.MANAGE}, by=admin_user)
    url, data = reverse("admin:uploads_file_change", args=[file.pk]), {"name": "new.txt", "visibility": "team"}
    unchanged = f"#{file.folder_id}"
    assert signed_in(clerk).get(url).context["adminform"].form.initial["folder"] == unchanged
    assert signed_in(clerk).post(url, {**data, "folder": f"{unchanged}0"}).status_code == 200
    assert signed_in(clerk).post(url, {**data, "folder": unchanged}).status_code == 302
    assert (File.objects.get().name, File.objects.get().folder) == ("new.txt", file.folder)


# --- tags -------------------------------------------------------------------------------------


def test_tag_list_shows_the_number_of_files(alice: User, as_admin: Client) -> None:
    actions.tag_files([factories.create_file(alice).pk, factories.create_file(alice).pk], add=["Été"], by=alice)
    apply_deltas()
    (tag,) = as_admin.get(TAGS, {"q": "ete"}).context["cl"].result_list
    assert (tag.name, tag.count) == ("Été", 2)
    assert as_admin.get(TAGS, {"q": "winter"}).context["cl"].result_list == []


def test_tag_cannot_be_renamed_to_an_existing_tag(as_admin: Client) -> None:
    tag, _other = Tag.objects.create(name="Été"), Tag.objects.create(name="winter")
    url = reverse("admin:uploads_tag_change", args=[tag.pk])
    assert "already" in str(as_admin.post(url, {"name": "WINTER"}).context["adminform"].form.errors)
    assert as_admin.post(url, {"name": "Summer"}).status_code == 302
    tag.refresh_from_db()
    assert (tag.name, tag.normalized_name) == ("Summer", "summer")


@pytest.mark.parametrize("name", ["", "  ", "x" * 51, "a\x00b", "a,b"])
def test_invalid_tag_is_rejected(name: str, as_admin: Client) -> None:
    assert as_admin.post(reverse("admin:uploads_tag_add"), {"name": name}).status_code == 200
    assert not Tag.objects.exists()


def test_deleting_a_tag_shows_its_file_count_and_keeps_the_files(alice: User, as_clerk: Client) -> None:
    actions.tag_files([factories.create_file(alice).pk], add=["gone"], by=alice)
    apply_deltas()
    url = reverse("admin:uploads_tag_delete", args=[Tag.objects.get().pk])
    assert "1 file" in as_clerk.get(url).content.decode()
    assert as_clerk.post(url, {"post": "yes"}).status_code == 302
    assert (Tag.objects.count(), Tagging.objects.count(), File.objects.count()) == (0, 0, 1)
    assert Event.objects.filter(action=Action.ADMIN, name="gone", detail__change="deleted").exists()


# --- people -----------------------------------------------------------------------------------


def test_user_list_shows_usage_with_constant_queries(
    alice: User, as_admin: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    factories.create_file(alice, b"x" * 1200)
    as_admin.get("/admin/auth/user/")
    with django_assert_num_queries(9) as few:
        page = as_admin.get("/admin/auth/user/").content.decode()
    assert "1\u00a0kB" in page
    assert ">Uploader<" in page
    for number in range(20):
        factories.create_file(factories.create_user(f"more{number}"))
    with django_assert_num_queries(len(few)):
        as_admin.get("/admin/auth/user/")


def test_usage_shows_the_quota(alice: User, as_clerk: Client) -> None:
    factories.create_file(alice)
    page = as_clerk.get("/admin/uploads/usage/").content.decode()
    assert "11\u00a0TB" in page
    assert "owner=alice" in page
    assert as_clerk.get(reverse("admin:uploads_usage_change", args=[alice.pk])).status_code == 200


def save_user(client: Client, user: User, **changes: str) -> Any:
    """Post the form of a person as the admin shows it, with some changes; an empty text clears a checkbox."""
    url = reverse("admin:auth_user_change", args=[user.pk])
    form = client.get(url).context["adminform"].form
    data = {name: form[name].value() or "" for name in ("username", "email", "first_name", "last_name")}
    data |= {name: "on" for name in ("is_active", "is_staff", "is_superuser") if form[name].value()}
    data |= {"groups": [group.pk for group in user.groups.all()]}
    return client.post(url, {name: value for name, value in (data | changes).items() if value != ""})


def test_changed_address_revokes_links_for_a_new_password(bob: User, admin_user: User, as_admin: Client) -> None:
    create_reset(bob, by=admin_user)
    assert save_user(as_admin, bob, email="bob@example.org").status_code == 302
    bob.refresh_from_db()
    assert bob.email == "bob@example.org"
    assert PasswordReset.objects.get().revoked_at


def test_deactivation_ends_links_and_spares_the_last_administrator(
    bob: User, admin_user: User, as_admin: Client
) -> None:
    create_reset(bob, by=admin_user)
    assert save_user(as_admin, bob, is_active="").status_code == 302
    bob.refresh_from_db()
    assert not bob.is_active
    assert PasswordReset.objects.get().revoked_at
    response = save_user(as_admin, admin_user, is_active="")
    (error,) = response.context["adminform"].form.errors["is_active"]
    assert error.startswith("You can't deactivate your own account.")
    assert User.objects.get(pk=admin_user.pk).is_active


def test_staff_cannot_take_over_the_account_of_someone_with_more_permissions(bob: User, roles: None) -> None:
    clerk = factories.create_user("helpdesk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["change_user", "view_user"]))
    bob.groups.set(Group.objects.filter(name="managers"))
    url = reverse("admin:auth_user_password_change", args=[bob.pk])
    assert signed_in(clerk).post(url, {"password1": "a-new-Passw0rd", "password2": "a-new-Passw0rd"}).status_code == 403
    bob.groups.clear()
    assert signed_in(clerk).get(url).status_code == 200
