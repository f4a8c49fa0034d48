"""Folders: the tree, who may do what in it, and that the bucket never notices."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection, connections, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.rows import make_row
from tests.senders import Sender
from tests.stores import Bucket
from uploads import services
from uploads.errors import BadInput, Conflict, Forbidden, Problem, WrongState
from uploads.models import Action, Event, File, Folder, Level, State, Visibility
from uploads.services import folders

pytestmark = pytest.mark.django_db


def plant(path: str, by: User) -> Folder:
    folder = folders.ensure([path], by=by)[path]
    assert isinstance(folder, Folder)
    return folder


def names_up(folder: Folder) -> str:
    return Folder.objects.full_names([folder.pk])[folder.pk]


def test_a_path_becomes_a_tree_once(alice: User, bob: User) -> None:
    first = plant("Brand/Logos", alice)
    assert plant("Brand/Logos", bob) == first
    assert names_up(first) == "Brand/Logos"
    assert list(Folder.objects.order_by("id").values_list("name", "created_by")) == [
        ("Brand", alice.pk), ("Logos", alice.pk)
    ]  # fmt: skip


def test_a_name_is_unique_among_siblings_only(alice: User) -> None:
    brand = plant("Brand/Logos", alice).parent
    plant("Logos", alice)
    with pytest.raises(Conflict):
        folders.create("Logos", parent=brand, by=alice)
    assert folders.create("logos", parent=brand, by=alice).name == "logos"


@pytest.mark.django_db(transaction=True)
def test_many_who_make_one_path_at_once_get_one_folder(alice: User, bob: User) -> None:
    made: list[object] = []
    start = threading.Barrier(8)

    def make(user: User) -> None:
        start.wait()
        made.append(folders.ensure(["a/b/c"], by=user)["a/b/c"])
        connections.close_all()

    threads = [threading.Thread(target=make, args=[user]) for user in [alice, bob] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len({folder.pk for folder in made if isinstance(folder, Folder)}) == 1
    assert Folder.objects.count() == 3


def test_an_upload_makes_its_folders(sender: Sender, alice: User) -> None:
    file = sender.send(b"x", folder="Brand/Logos")
    assert file.folder is not None
    assert names_up(file.folder) == "Brand/Logos"
    assert plant("Brand/Logos", alice) == file.folder


def test_an_upload_into_a_folder_keeps_its_own_path_below_it(sender: Sender, alice: User) -> None:
    base = plant("Brand", alice)
    answer = sender.client.post(
        "/uploads/", {"files": [sender.item(b"x", folder="2026/May")], "into": base.pk}, "application/json"
    )
    file = File.objects.get(pk=answer.json()["files"][0]["id"])
    assert file.folder is not None
    assert names_up(file.folder) == "Brand/2026/May"


@pytest.mark.parametrize("into", [0, -1, 10**18, "1", [], True, 1.5])
def test_an_upload_into_nonsense_is_refused(sender: Sender, into: object) -> None:
    answer = sender.client.post("/uploads/", {"files": [sender.item(b"x")], "into": into}, "application/json")
    assert answer.status_code == 400
    assert not File.objects.exists()


def test_a_path_of_five_hundred_folders_is_kept(sender: Sender) -> None:
    file = sender.send(b"x", folder="/".join("d" * 500))
    assert file.folder is not None
    assert file.folder.depth == 500


def test_moving_and_renaming_never_touch_the_bucket(sender: Sender, alice: User, bucket: Bucket) -> None:
    file = sender.send(b"hello", folder="Old/Deep")
    before = bucket.objects()
    old, new = plant("Old", alice), plant("New", alice)
    folders.move(old, new, by=alice)
    folders.rename(old, "Older", by=alice)
    file.refresh_from_db()
    assert file.folder is not None
    assert names_up(file.folder) == "New/Older/Deep"
    assert bucket.objects() == before


def test_what_is_below_moves_along(alice: User, manager: User) -> None:
    deep = plant("a/b/c", alice)
    folders.move(plant("a/b", alice), plant("x/y", alice), by=manager)
    deep.refresh_from_db()
    assert names_up(deep) == "x/y/b/c"
    below = Folder.objects.below(plant("x", alice))
    assert set(below.values_list("name", flat=True)) == {"x", "y", "b", "c"}
    folders.move(plant("x/y/b", alice), None, by=manager)
    deep.refresh_from_db()
    assert deep.path == [plant("b", alice).pk, deep.pk]


@pytest.mark.parametrize("target", ["a", "a/b", "a/b/c"])
def test_a_folder_cannot_be_moved_into_itself(alice: User, target: str) -> None:
    plant("a/b/c", alice)
    with pytest.raises(WrongState, match="into itself"):
        folders.move(plant("a", alice), plant(target, alice), by=alice)
    assert plant("a", alice).path == [plant("a", alice).pk]


@pytest.mark.django_db(transaction=True)
def test_two_crossing_moves_never_make_a_ring(alice: User) -> None:
    for _round in range(5):
        left, right = plant("left", alice), plant("right", alice)
        outcomes: list[str] = []
        start = threading.Barrier(2)
        crossing = [(left, right), (right, left)]
        threads = [threading.Thread(target=_try_move, args=[a, b, alice, start, outcomes]) for a, b in crossing]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["WrongState", "moved"]
        for folder in Folder.objects.all():
            above = folder.parent.path if folder.parent else []
            assert folder.path == [*above, folder.pk]
        for name in ("left", "right"):
            folder = Folder.objects.get(name=name)
            if folder.parent:
                folders.move(folder, None, by=alice)


def _try_move(folder: Folder, target: Folder, by: User, start: threading.Barrier, outcomes: list[str]) -> None:
    start.wait()
    try:
        folders.move(folder, target, by=by)
        outcomes.append("moved")
    except Problem as problem:
        outcomes.append(type(problem).__name__)
    connections.close_all()


def test_a_move_to_where_the_name_is_taken_is_refused_and_changes_nothing(alice: User) -> None:
    plant("a/Logos", alice)
    logos = plant("Logos", alice)
    with pytest.raises(Conflict, match="Logos"):
        folders.move(logos, plant("a", alice), by=alice)
    logos.refresh_from_db()
    assert logos.parent is None
    with pytest.raises(Conflict):
        folders.rename(logos, "a", by=alice)


def test_who_made_a_folder_or_manages_may_change_it_and_nobody_else(
    alice: User, bob: User, viewer: User, manager: User
) -> None:
    folder = plant("Brand", alice)
    for stranger in (bob, viewer):
        with pytest.raises(Forbidden):
            folders.rename(folder, "Mine", by=stranger)
    folders.rename(folder, "By alice", by=alice)
    folders.rename(folder, "By a manager", by=manager)


@pytest.fixture
def team(roles: None) -> Group:
    return Group.objects.create(name="design")


@pytest.fixture
def secret(alice: User, manager: User, team: Group) -> Folder:
    """A folder that only the design team manages; the manager put herself into it."""
    folder = plant("Secret/Deep", alice).parent
    assert folder is not None
    manager.groups.add(team)
    folders.set_access(folder, {team: Level.MANAGE}, by=manager)
    return folder


def test_a_closed_folder_hides_itself_and_everything_below(
    secret: Folder, alice: User, bob: User, viewer: User, manager: User
) -> None:
    file = make_row(alice, State.AVAILABLE, folder=plant("Secret", manager).children.get())
    for stranger in (bob, viewer):
        assert not Folder.objects.visible_to(stranger).filter(name__in=["Secret", "Deep"]).exists()
        assert not File.objects.visible_to(stranger).filter(pk=file.pk).exists()
    assert Folder.objects.visible_to(manager).filter(name="Deep").exists()
    assert File.objects.visible_to(manager).filter(pk=file.pk).exists()
    assert File.objects.visible_to(alice).filter(pk=file.pk).exists(), "what is their own people always see"


@pytest.mark.parametrize(
    ("level", "sees", "uploads", "manages"),
    [(Level.VIEW, True, False, False), (Level.UPLOAD, True, True, False), (Level.MANAGE, True, True, True)],
)
def test_each_level_gives_what_it_says(
    secret: Folder, alice: User, bob: User, admin_user: User, level: Level, sees: bool, uploads: bool, manages: bool
) -> None:
    group = Group.objects.create(name="others")
    bob.groups.add(group)
    design = Group.objects.get(name="design")
    folders.set_access(secret, {design: Level.MANAGE, group: level}, by=admin_user)
    file = make_row(alice, State.AVAILABLE, folder=secret)
    assert File.objects.visible_to(bob).filter(pk=file.pk).exists() == sees
    assert Folder.objects.open_to(bob).filter(pk=secret.pk).exists() == uploads
    assert File.objects.changeable_by(bob).filter(pk=file.pk).exists() == manages
    assert File.objects.removable_by(bob).filter(pk=file.pk).exists() == manages


def test_private_files_stay_private_in_a_folder_one_manages(secret: Folder, alice: User, manager: User) -> None:
    file = make_row(alice, State.AVAILABLE, folder=secret, visibility=Visibility.PRIVATE)
    assert not File.objects.visible_to(manager).filter(pk=file.pk).exists()


def test_a_managers_role_does_not_open_a_closed_folder(secret: Folder, alice: User) -> None:
    other = User.objects.create(username="other-manager")
    other.groups.add(Group.objects.get(name="managers"))
    file = make_row(alice, State.AVAILABLE, folder=secret)
    trashed = make_row(alice, State.TRASHED, folder=secret)
    for rows in (File.objects.visible_to(other), File.objects.changeable_by(other), File.objects.removable_by(other)):
        assert not rows.filter(pk__in=[file.pk, trashed.pk]).exists()


def test_nobody_uploads_into_a_closed_folder(secret: Folder, bob: User, as_bob: Client) -> None:
    sender = Sender(as_bob)
    by_path = sender.announce(sender.item(b"x", folder="Secret/Deep"))
    assert by_path.json()["files"][0]["error"]["code"] == "forbidden"
    by_id = sender.client.post("/uploads/", {"files": [sender.item(b"x")], "into": secret.pk}, "application/json")
    assert by_id.status_code == 400
    assert not File.objects.exists()
    assert not Folder.objects.filter(created_by=bob).exists()


def test_a_folder_takes_the_rules_of_where_it_is_moved(secret: Folder, alice: User, bob: User, manager: User) -> None:
    folder = plant("Open/Inside", alice).parent
    assert folder is not None
    folders.move(folder, secret, by=manager)
    assert not Folder.objects.visible_to(bob).filter(name="Inside").exists()
    folders.move(folder, None, by=manager)
    assert Folder.objects.visible_to(bob).filter(name="Inside").exists()


def test_rules_further_down_take_the_place_of_those_above(
    secret: Folder, bob: User, admin_user: User, team: Group
) -> None:
    inner = Group.objects.create(name="inner")
    bob.groups.add(inner)
    deep = Folder.objects.get(name="Deep")
    folders.set_access(deep, {inner: Level.MANAGE}, by=admin_user)
    assert list(Folder.objects.visible_to(bob).values_list("name", flat=True)) == ["Deep"]
    folders.set_access(deep, None, by=admin_user)
    assert not Folder.objects.visible_to(bob).exists()


def test_opening_a_folder_again_opens_what_is_below(secret: Folder, bob: User, manager: User) -> None:
    folders.set_access(secret, None, by=manager)
    assert set(Folder.objects.visible_to(bob).values_list("name", flat=True)) == {"Secret", "Deep"}
    assert Event.objects.filter(action=Action.ACCESS, actor="manager").count() == 2


def test_nobody_locks_everyone_out(alice: User, manager: User, team: Group) -> None:
    with pytest.raises(BadInput, match="manage"):
        folders.set_access(plant("Brand", alice), {team: Level.VIEW}, by=manager)
    with pytest.raises(Forbidden):
        folders.set_access(plant("Brand", alice), None, by=alice)


def test_only_an_empty_folder_is_removed_and_comes_back_by_its_name(alice: User) -> None:
    folder = plant("Brand/Logos", alice).parent
    assert folder is not None
    file = make_row(alice, State.AVAILABLE, folder=plant("Brand/Logos", alice))
    with pytest.raises(WrongState, match="still holds"):
        folders.remove(folder, by=alice)
    file.move_to(State.TRASHED, purge_after=file.available_at)
    folders.remove(folder, by=alice)
    assert not Folder.objects.visible_to(alice).exists()
    assert plant("Brand/Logos", alice) == file.folder
    assert Folder.objects.visible_to(alice).count() == 2


def test_a_folder_removed_while_bytes_arrive_is_back_with_the_file(sender: Sender, alice: User) -> None:
    upload = sender.start(b"x", folder="Brand")
    sender.put(upload)
    Folder.objects.update(removed_at="2026-01-01T00:00:00Z")
    sender.finished(upload)
    assert Folder.objects.visible_to(alice).get().name == "Brand"


def test_sorting_and_searching_see_the_folded_name(alice: User) -> None:
    assert plant("Été ÅNGSTRÖM", alice).folded == "ete angstrom"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO uploads_folder (name, folded, path, restricted, parent_id) "
        "SELECT name, folded, path, restricted, parent_id FROM uploads_folder LIMIT 1",
        "UPDATE uploads_folder SET name = ''",
    ],
)
def test_the_database_refuses_impossible_folders(alice: User, sql: str) -> None:
    plant("Brand", alice)
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(sql)


def test_the_number_of_queries_for_full_names_does_not_grow(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ids = [plant(f"a/b{number}/c", alice).pk for number in range(20)]
    with django_assert_num_queries(2):
        assert len(Folder.objects.full_names(ids)) == 20


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["close", "move", "remove"])
def test_a_folder_made_while_the_branch_changes_follows_it(alice: User, manager: User, team: Group, act: str) -> None:
    top, deep, other = plant("A", alice), plant("A/D", alice), plant("B", alice)
    manager.groups.add(team)
    made, go_on = threading.Event(), threading.Event()

    def make_slowly() -> None:
        with transaction.atomic():
            folders.create("C", parent=deep, by=alice)
            made.set()
            go_on.wait(2)
        connections.close_all()

    maker = threading.Thread(target=make_slowly)
    maker.start()
    made.wait()
    threading.Timer(0.5, go_on.set).start()
    {
        "close": lambda: folders.set_access(top, {team: Level.MANAGE}, by=manager),
        "move": lambda: folders.move(top, other, by=manager),
        "remove": lambda: folders.remove(top, by=manager),
    }[act]()
    maker.join()
    child = Folder.objects.get(name="C")
    assert child.path == [*Folder.objects.get(name="D").path, child.pk]
    assert child.governor == (top if act == "close" else None)
    assert (child.removed_at is not None) == (act == "remove")


def test_who_made_a_folder_does_not_carry_others_files_out_of_a_closed_one(
    secret: Folder, alice: User, bob: User, admin_user: User
) -> None:
    group = Group.objects.create(name="fillers")
    alice.groups.add(group)
    folders.set_access(secret, {Group.objects.get(name="design"): Level.MANAGE, group: Level.UPLOAD}, by=admin_user)
    mine = folders.create("Mine", parent=secret, by=alice)
    make_row(admin_user, State.AVAILABLE, folder=mine)
    with pytest.raises(Forbidden, match="Ask a manager"):
        folders.move(mine, None, by=alice)
    folders.move(mine, plant("Secret/Deep", admin_user), by=alice)
    assert not File.objects.visible_to(bob).exists()


def test_a_closed_folder_that_was_removed_is_not_brought_back_by_a_stranger(
    secret: Folder, alice: User, manager: User
) -> None:
    folders.remove(secret, by=manager)
    with pytest.raises(Conflict, match="not open to you"):
        folders.create("Secret", parent=None, by=alice)
    assert Folder.objects.get(pk=secret.pk).removed_at is not None


def test_the_protocol_tells_no_name_of_a_closed_folder(sender: Sender, alice: User, admin_user: User) -> None:
    upload = sender.start(b"x", folder="Board/Layoffs")
    board = Folder.objects.get(name="Board")
    folders.set_access(board, {Group.objects.create(name="few"): Level.MANAGE}, by=admin_user)
    assert sender.look(upload).json()["folder"] == "…/…"
    assert sender.unfinished().json()["uploads"][0]["folder"] == "…/…"


def test_a_file_moved_into_a_removed_folder_brings_it_back(alice: User) -> None:
    folder = plant("Brand/Logos", alice)
    file = make_row(alice, State.AVAILABLE)
    folders.remove(folder, by=alice)
    assert services.move_files([file.pk], folder, by=alice).links == [file.pk]
    assert Folder.objects.visible_to(alice).filter(pk=folder.pk).exists()
