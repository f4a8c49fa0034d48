"""Access rules of folders, for the folder itself and its subfolders."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections, transaction
from django.test import Client

from tests.support.file_rows import create_row, ensure_folder, move_folder, trash_folder
from tests.support.upload_client import UploadClient
from uploads import listing, services
from uploads.errors import Conflict, Forbidden, ValidationFailed
from uploads.listing import ListQuery
from uploads.models import AccessLevel, Action, Event, File, Folder, State, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db


@pytest.fixture
def team(roles: None) -> Group:
    return Group.objects.create(name="design")


@pytest.fixture
def secret(alice: User, manager: User, team: Group) -> Folder:
    """A folder that only the design team manages; the manager is a member of it."""
    folder = ensure_folder("Secret/Deep", alice).parent
    assert folder is not None
    manager.groups.add(team)
    folders.set_access(folder, {team: AccessLevel.MANAGE}, by=manager)
    return folder


def test_closed_folder_hides_itself_and_its_contents(
    secret: Folder, alice: User, bob: User, viewer: User, manager: User
) -> None:
    file = create_row(alice, State.AVAILABLE, folder=ensure_folder("Secret", manager).children.get())
    for stranger in (bob, viewer):
        assert not Folder.objects.visible_to(stranger).filter(name__in=["Secret", "Deep"]).exists()
        assert not File.objects.visible_to(stranger).filter(pk=file.pk).exists()
    assert Folder.objects.visible_to(manager).filter(name="Deep").exists()
    assert File.objects.visible_to(manager).filter(pk=file.pk).exists()
    assert File.objects.visible_to(alice).filter(pk=file.pk).exists(), "owners always see their own files"


@pytest.mark.parametrize(
    ("level", "sees", "uploads", "manages"),
    [
        (AccessLevel.VIEW, True, False, False),
        (AccessLevel.UPLOAD, True, True, False),
        (AccessLevel.MANAGE, True, True, True),
    ],
)
def test_access_level_grants_permissions(
    secret: Folder,
    alice: User,
    bob: User,
    admin_user: User,
    level: AccessLevel,
    sees: bool,
    uploads: bool,
    manages: bool,
) -> None:
    group = Group.objects.create(name="others")
    bob.groups.add(group)
    design = Group.objects.get(name="design")
    folders.set_access(secret, {design: AccessLevel.MANAGE, group: level}, by=admin_user)
    file = create_row(alice, State.AVAILABLE, folder=secret)
    assert File.objects.visible_to(bob).filter(pk=file.pk).exists() == sees
    assert Folder.objects.writable_by(bob).filter(pk=secret.pk).exists() == uploads
    assert File.objects.changeable_by(bob).filter(pk=file.pk).exists() == manages
    assert File.objects.removable_by(bob).filter(pk=file.pk).exists() == manages


def test_private_files_are_hidden_from_managers_of_the_folder(secret: Folder, alice: User, manager: User) -> None:
    file = create_row(alice, State.AVAILABLE, folder=secret, visibility=Visibility.PRIVATE)
    assert not File.objects.visible_to(manager).filter(pk=file.pk).exists()


def test_managers_role_does_not_open_a_closed_folder(secret: Folder, alice: User) -> None:
    other = User.objects.create(username="other-manager")
    other.groups.add(Group.objects.get(name="managers"))
    file = create_row(alice, State.AVAILABLE, folder=secret)
    trashed = create_row(alice, State.TRASHED, folder=secret)
    for rows in (File.objects.visible_to(other), File.objects.changeable_by(other), File.objects.removable_by(other)):
        assert not rows.filter(pk__in=[file.pk, trashed.pk]).exists()


def test_upload_into_a_closed_folder_is_refused(secret: Folder, bob: User, as_bob: Client) -> None:
    upload_client = UploadClient(as_bob)
    by_path = upload_client.announce(upload_client.item(b"x", folder="Secret/Deep"))
    assert by_path.json()["files"][0]["error"]["code"] == "forbidden"
    by_id = upload_client.client.post(
        "/uploads/", {"files": [upload_client.item(b"x")], "folder_id": secret.pk}, "application/json"
    )
    assert by_id.status_code == 400
    assert not File.objects.exists()
    assert not Folder.objects.filter(created_by=bob).exists()


def test_moved_folder_inherits_the_rules_of_its_parent(secret: Folder, alice: User, bob: User, manager: User) -> None:
    folder = ensure_folder("Open/Inside", alice).parent
    assert folder is not None
    move_folder(folder, secret, by=manager)
    assert not Folder.objects.visible_to(bob).filter(name="Inside").exists()
    move_folder(folder, None, by=manager)
    assert Folder.objects.visible_to(bob).filter(name="Inside").exists()


def test_rules_of_a_subfolder_replace_those_above(secret: Folder, bob: User, admin_user: User, team: Group) -> None:
    inner = Group.objects.create(name="inner")
    bob.groups.add(inner)
    deep = Folder.objects.get(name="Deep")
    folders.set_access(deep, {inner: AccessLevel.MANAGE}, by=admin_user)
    assert list(Folder.objects.visible_to(bob).values_list("name", flat=True)) == ["Deep"]
    folders.set_access(deep, None, by=admin_user)
    assert not Folder.objects.visible_to(bob).exists()


def test_removed_rules_open_the_subfolders(secret: Folder, bob: User, manager: User) -> None:
    folders.set_access(secret, None, by=manager)
    assert set(Folder.objects.visible_to(bob).values_list("name", flat=True)) == {"Secret", "Deep"}
    assert Event.objects.filter(action=Action.ACCESS, actor="manager").count() == 2


def test_rules_without_a_managing_group_are_refused(alice: User, manager: User, team: Group) -> None:
    with pytest.raises(ValidationFailed, match="manage"):
        folders.set_access(ensure_folder("Brand", alice), {team: AccessLevel.VIEW}, by=manager)
    with pytest.raises(Forbidden):
        folders.set_access(ensure_folder("Brand", alice), None, by=alice)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["close", "move", "remove"])
def test_folder_created_during_a_change_above_follows_it(alice: User, manager: User, team: Group, act: str) -> None:
    top, deep, other = ensure_folder("A", alice), ensure_folder("A/D", alice), ensure_folder("B", alice)
    manager.groups.add(team)
    created, commit = threading.Event(), threading.Event()

    def create_slowly() -> None:
        with transaction.atomic():
            folders.create("C", parent=deep, by=alice)
            created.set()
            commit.wait(2)
        connections.close_all()

    maker = threading.Thread(target=create_slowly)
    maker.start()
    created.wait()
    threading.Timer(0.5, commit.set).start()
    {
        "close": lambda: folders.set_access(top, {team: AccessLevel.MANAGE}, by=manager),
        "move": lambda: move_folder(top, other, by=manager),
        "remove": lambda: trash_folder(top, by=manager),
    }[act]()
    maker.join()
    child = Folder.objects.get(name="C")
    assert child.path == [*Folder.objects.get(name="D").path, child.pk]
    assert child.access_root == (top if act == "close" else None)
    assert (child.removed_at is not None) == (act == "remove")


@pytest.mark.django_db(transaction=True)
def test_file_moved_into_a_closed_folder_while_waiting_for_its_lock_is_refused(secret: Folder, alice: User) -> None:
    outsider = User.objects.create(username="other-manager")
    outsider.groups.add(Group.objects.get(name="managers"))
    file = create_row(alice, State.AVAILABLE)
    assert File.objects.changeable_by(outsider).filter(pk=file.pk).exists()
    moved, commit = threading.Event(), threading.Event()

    def move_slowly() -> None:
        with transaction.atomic():
            File.objects.filter(pk=file.pk).update(folder=secret)
            moved.set()
            commit.wait(2)
        connections.close_all()

    thread = threading.Thread(target=move_slowly)
    thread.start()
    moved.wait()
    threading.Timer(0.5, commit.set).start()
    with pytest.raises(Forbidden):
        services.rename(file, "renamed.txt", by=outsider)
    thread.join()


def test_creator_cannot_move_files_of_others_out_of_a_closed_folder(
    secret: Folder, alice: User, bob: User, admin_user: User
) -> None:
    group = Group.objects.create(name="fillers")
    alice.groups.add(group)
    folders.set_access(
        secret, {Group.objects.get(name="design"): AccessLevel.MANAGE, group: AccessLevel.UPLOAD}, by=admin_user
    )
    mine = folders.create("Mine", parent=secret, by=alice)
    create_row(admin_user, State.AVAILABLE, folder=mine)
    with pytest.raises(Forbidden, match="Ask a manager"):
        move_folder(mine, None, by=alice)
    move_folder(mine, ensure_folder("Secret/Deep", admin_user), by=alice)
    assert not File.objects.visible_to(bob).exists()


def test_removed_closed_folder_is_not_restored_by_an_outsider(secret: Folder, alice: User, manager: User) -> None:
    trash_folder(secret, by=manager)
    with pytest.raises(Conflict, match="can't access"):
        folders.create("Secret", parent=None, by=alice)
    assert Folder.objects.get(pk=secret.pk).removed_at is not None


def test_protocol_hides_names_of_closed_folders(upload_client: UploadClient, alice: User, admin_user: User) -> None:
    upload = upload_client.start(b"x", folder="Board/Layoffs")
    board = Folder.objects.get(name="Board")
    folders.set_access(board, {Group.objects.create(name="few"): AccessLevel.MANAGE}, by=admin_user)
    assert upload_client.retrieve(upload).json()["folder"] == "…/…"
    assert upload_client.unfinished().json()["uploads"][0]["folder"] == "…/…"


def test_rights_of_rows_match_the_permissions_of_actions(
    secret: Folder, team: Group, alice: User, bob: User, viewer: User, manager: User, admin_user: User
) -> None:
    others = Group.objects.create(name="others")
    bob.groups.add(others)
    folders.set_access(secret, {team: AccessLevel.MANAGE, others: AccessLevel.UPLOAD}, by=admin_user)
    for owner in (alice, bob):
        for folder in (None, secret, secret.children.get(), ensure_folder("Open", alice)):
            create_row(owner, State.AVAILABLE, folder=folder)
        create_row(owner, State.AVAILABLE, visibility=Visibility.PRIVATE)
        create_row(owner, State.AVAILABLE, quarantined=True, scan_status="infected")
    query = ListQuery(subfolders=True)
    for user in (alice, bob, viewer, manager, admin_user):
        page = listing.paginate(
            query,
            files=listing.files_for(user, query, None),
            folders=Folder.objects.visible_to(user),
            columns=listing.COLUMNS,
            after=None,
        )
        rights = listing.row_rights(user, page, listing.FolderRights(user, listing.restricted_folders(page)))
        permitted = [
            "cd" * folders.can_edit(folder, user)
            + "m" * Folder.objects.managed_by(user).filter(pk=folder.pk).exists()
            + "f" * Folder.objects.writable_by(user).filter(pk=folder.pk).exists()
            for folder in page.folders
        ]
        for row in page.files:
            file = File.objects.filter(pk=row.pk)
            permitted.append(
                "c" * (file & File.objects.changeable_by(user)).exists()
                + "d" * (file & File.objects.removable_by(user)).exists()
                + "o" * (row.owner == user.username)
            )
        assert rights == permitted, user


def test_rights_of_an_open_folder_need_no_query(alice: User, django_assert_num_queries: Any) -> None:
    ensure_folder("Open", alice)
    create_row(alice, State.AVAILABLE)
    alice.get_all_permissions()
    query = ListQuery()
    page = listing.paginate(
        query,
        files=listing.files_for(alice, query, None),
        folders=listing.folders_for(alice, query, None),
        columns=listing.COLUMNS,
        after=None,
    )
    with django_assert_num_queries(0):
        rights = listing.FolderRights(alice, listing.restricted_folders(page))
        assert listing.row_rights(alice, page, rights) == ["cdf", "cdo"]
