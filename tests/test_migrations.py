"""What a library has that grew before there were folders: it is all there afterwards."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import signals

from amalga.db import RESPONSE_SECONDS
from tests.rows import facts_of
from uploads.models import Figure, File, Folder, State, Tag, Usage
from uploads.models.statistics import apply_deltas
from uploads.services.recount import recount

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("uploads", "0003_roles")]
BEFORE_FAMILIES = ("uploads", "0017_fold_names_again")


def migrate(to: list[tuple[str, str]] | None = None) -> Any:
    """The apps as they are at that point, after getting there."""
    executor = MigrationExecutor(connection)
    targets = to or executor.loader.graph.leaf_nodes()
    return executor.migrate(targets).apps


@pytest.fixture
def earlier() -> Iterator[Any]:
    """The models of the time before folders; whatever happens, the database ends up to date."""
    yield migrate(BEFORE)
    migrate()


def old_row(earlier: Any, owner: int, name: str, folder: str = "", **more: Any) -> None:
    earlier.get_model("uploads", "File").objects.create(
        owner_id=owner, name=name, folder=folder, size=5, part_size=10, state=State.AVAILABLE,
        **{**facts_of(State.AVAILABLE), **more},
    )  # fmt: skip


def test_texts_become_a_tree_and_names_can_be_searched(earlier: Any) -> None:
    owner = User.objects.create(username="alice").pk
    old_row(earlier, owner, "Été.txt", "Brand/Logos", detected_type="text/plain")
    old_row(earlier, owner, "b.png", "Brand/Logos", claimed_type="image/png")
    old_row(earlier, owner, "c", "Brand")
    old_row(earlier, owner, "top")
    migrate()
    rows = {file.name: file for file in File.objects.listed().matching("t")}
    assert set(rows) == {"Été.txt", "top"}
    paths = Folder.objects.full_names(Folder.objects.values_list("pk", flat=True))
    assert sorted(paths.values()) == ["Brand", "Brand/Logos"]
    placed = {file.name: paths.get(file.folder_id or 0, "") for file in File.objects.all()}
    assert placed == {"Été.txt": "Brand/Logos", "b.png": "Brand/Logos", "c": "Brand", "top": ""}
    assert dict(File.objects.values_list("name", "family"))["b.png"] == "image"


def test_the_totals_are_counted_once(earlier: Any) -> None:
    owner = User.objects.create(username="alice").pk
    for number in range(3):
        old_row(earlier, owner, f"{number}.txt")
    migrate()
    total = Figure.objects.get(kind="total", status="stored")
    assert (total.files, total.bytes) == (3, 15)


def test_folders_that_are_there_count_for_who_made_them() -> None:
    earlier = migrate([("uploads", "0015_content_encoding")])
    try:
        owner = User.objects.create(username="alice").pk
        for name in ("a", "b"):
            earlier.get_model("uploads", "Folder").objects.create(name=name, created_by_id=owner)
        earlier.get_model("uploads", "Folder").objects.create(name="of nobody")
    finally:
        migrate()
    usage = Usage.objects.get(owner_id=owner)
    assert (usage.folders, usage.tags, usage.files, usage.bytes) == (2, 0, 0, 0)


def test_roles_that_are_there_get_the_new_rights(earlier: Any) -> None:
    Group.objects.get_or_create(name="managers")
    migrate()
    rights = set(Group.objects.get(name="managers").permissions.values_list("codename", flat=True))
    assert {"change_folder", "view_event"} <= rights


@pytest.fixture
def folded_before() -> Iterator[Any]:
    """The models of the time when `ł` was no `l`, and a dakuten an accent."""
    yield migrate([("uploads", "0016_count_folders_and_tags")])
    migrate()


def as_it_was(row: Any, name: str, folded: str) -> Any:
    type(row).objects.filter(pk=row.pk).update(name=name, folded=folded)
    return row


def old_file(earlier: Any, owner: int, name: str, folded: str) -> Any:
    row = earlier.get_model("uploads", "File").objects.create(
        owner_id=owner, name="x", size=5, part_size=10, state=State.AVAILABLE, **facts_of(State.AVAILABLE)
    )
    return as_it_was(row, name, folded)


def test_names_are_folded_again(folded_before: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = User.objects.create(username="alice").pk
    for name, folded in [("Łódź", "łodz"), ("ガス", "カス"), ("plain", "plain"), ("Été", "ete"), ("ħ", "ħ")]:
        old_file(folded_before, owner, name, folded)
    as_it_was(folded_before.get_model("uploads", "Folder").objects.create(name="a"), "Œuvres", "œuvres")
    monkeypatch.setattr(importlib.import_module("uploads.migrations.0017_fold_names_again"), "BATCH_SIZE", 2)
    migrate()
    assert set(File.objects.values_list("folded", flat=True)) == {"lodz", "ガス", "plain", "ete", "h"}
    assert Folder.objects.get().folded == "oeuvres"


def test_tags_that_are_one_now_are_merged_and_no_file_loses_its_tag(folded_before: Any) -> None:
    owner = User.objects.create(username="alice").pk
    tag_model, tagging = (folded_before.get_model("uploads", name) for name in ("Tag", "Tagging"))
    files = [old_file(folded_before, owner, str(number), str(number)) for number in range(3)]
    # the first becomes what the second was
    names = [("łи", "łи"), ("lй", "lи"), ("lodz", "lodz"), ("łódź", "łodz"), ("ガス", "カス")]
    tags = [as_it_was(tag_model.objects.create(name=str(number)), *names[number]) for number in range(len(names))]
    for tag, its in zip(tags, [files[:1], files[1:2], files[:1], files, files[2:]], strict=True):
        tagging.objects.bulk_create(tagging(tag=tag, file=file) for file in its)
    migrate()
    kept = {tag.name: tag for tag in Tag.objects.all()}
    assert {name: tag.folded for name, tag in kept.items()} == {"łи": "lи", "lй": "lй", "łódź": "lodz", "ガス": "ガス"}
    assert {name: tag.taggings.count() for name, tag in kept.items()} == {"łи": 1, "lй": 1, "łódź": 3, "ガス": 1}
    assert not [difference for difference in recount() if difference.kind == "tag"]


def test_migrating_takes_its_time_and_pages_do_not() -> None:
    seen: list[str] = []

    def look(**_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            seen.append(cursor.fetchone()[0])

    signals.pre_migrate.connect(look)
    try:
        call_command("migrate", verbosity=0)
    finally:
        signals.pre_migrate.disconnect(look)
    look()
    assert set(seen[:-1]) == {"0"}
    assert seen[-1] == "8s"
    held: Any = connection.connection
    assert held.response_timeout == RESPONSE_SECONDS


def test_families_are_told_apart_again_from_what_is_known() -> None:
    kinds = {
        "a.zip": ("", "application/x-zip-compressed", "archive"),
        "a.aac": ("audio/x-hx-aac-adts", "", "audio"),
        "a.srt": ("application/x-subrip", "text/plain", "text"),
        "a.png": ("image/png", "", "image"),
    }
    files = migrate([BEFORE_FAMILIES]).get_model("uploads", "File").objects
    try:
        owner = User.objects.create(username="alice").pk
        for name, (detected, claimed, _family) in kinds.items():
            files.create(
                owner_id=owner, name=name, size=5, part_size=10, state=State.AVAILABLE,
                **{**facts_of(State.AVAILABLE), "detected_type": detected, "claimed_type": claimed, "family": "other"},
            )  # fmt: skip
    finally:
        migrate()
    families = dict(File.objects.values_list("name", "family"))
    assert families == {name: family for name, (_detected, _claimed, family) in kinds.items()}
    assert File.objects.get(name="a.aac").detected_type == "audio/aac"
    assert folded_families() == {"archive": 1, "audio": 1, "text": 1, "image": 1}


def folded_families() -> dict[str, int]:
    apply_deltas()
    return dict(Figure.objects.filter(kind="family", status="stored", files__gt=0).values_list("key", "files"))
