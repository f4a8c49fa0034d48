"""Stored statistics match a count of the rows, whatever users do; `recount` reports and repairs differences."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from tests.support import factories
from tests.support.commands import run_command
from tests.support.stores import Bucket
from uploads import actions, services
from uploads.models import (
    File,
    Folder,
    State,
    Statistic,
    StatisticDelta,
    StatisticKind,
    StatisticStatus,
    Tagging,
    Visibility,
    apply_deltas,
)
from uploads.models.publish import promote_version
from uploads.services import folders
from uploads.services import recount as module
from uploads.services.recount import recount

pytestmark = pytest.mark.django_db


def test_recount_of_an_empty_database_finds_no_differences(db: None) -> None:
    assert run_command("recount") == (0, "applied: no\ndifferences: 0\n", "")


def test_recount_dry_run_reports_a_difference(alice: User) -> None:
    factories.create_file(alice, b"x" * 10)
    apply_deltas()
    Statistic.objects.filter(kind=StatisticKind.TOTAL).update(files=7, bytes=70)
    before = factories.database_rows()
    status, output, _errors = run_command("recount")
    assert 'kind=total key="" status=stored stored_files=7 stored_bytes=70 files=1 bytes=10' in output
    assert status == 1
    assert factories.database_rows() == before


def test_recount_repairs_missing_and_stale_statistics(alice: User) -> None:
    factories.create_file(alice, b"x" * 10)
    apply_deltas()
    Statistic.objects.filter(kind=StatisticKind.OWNER).delete()
    Statistic.objects.create(kind=StatisticKind.FOLDER, key="99", status=StatisticStatus.STORED, files=3, bytes=3)
    rows = factories.database_rows()["uploads.File"]
    status, output, _errors = run_command("recount", "--apply")
    assert (output.splitlines()[-2:], status) == (["applied: yes", "differences: 2"], 0)
    assert run_command("recount") == (0, "applied: no\ndifferences: 0\n", "")
    assert factories.database_rows()["uploads.File"] == rows


def test_recount_prints_json(alice: User) -> None:
    factories.create_file(alice, b"x" * 10)
    StatisticDelta.objects.filter(kind=StatisticKind.TOTAL).delete()
    status, output, _errors = run_command("recount", "--json")
    assert status == 1
    assert json.loads(output) == {
        "applied": False,
        "count": 1,
        "differences": [{"kind": "total", "key": "", "status": "stored", "stored_files": 0, "stored_bytes": 0,
                         "files": 1, "bytes": 10}],
    }  # fmt: skip


def test_pending_statistics_are_no_difference(alice: User) -> None:
    factories.create_file(alice)
    assert StatisticDelta.objects.exists()
    assert recount() == []


def test_recount_can_exceed_the_database_timeout_of_a_page(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.create_file(alice)
    raw: Any = connection.connection
    monkeypatch.setattr(raw, "response_timeout", 0.3)
    slow = module.DIFFERENCES.replace("FROM differing ORDER", "FROM differing, pg_sleep(1) ORDER")
    StatisticDelta.objects.all().delete()
    monkeypatch.setattr(module, "DIFFERENCES", slow)
    assert len(recount()) == 6
    assert raw.response_timeout == 0.3


class RandomActions:
    """Users who perform random actions."""

    def __init__(self, people: list[User], bucket: Bucket, dice: random.Random) -> None:
        self.people, self.bucket, self.dice = people, bucket, dice

    def act(self) -> None:
        getattr(self, self.dice.choice(self.acts))()

    acts = ("upload", "upload", "begin", "publish", "version", "go_back", "move", "move_folder", "tag", "rename",
            "hide", "trash", "restore", "purge", "cancel", "apply_some_deltas")  # fmt: skip

    def any_file(self, **filters: Any) -> File | None:
        files = list(File.objects.filter(**filters).order_by("pk"))
        return self.dice.choice(files) if files else None

    def any_folder(self) -> Folder | None:
        folders: list[Folder | None] = [None, *Folder.objects.order_by("pk")]
        return self.dice.choice(folders)

    def body(self) -> bytes:
        return b"x" * self.dice.randrange(2000)

    def upload(self) -> None:
        category = self.dice.choice(["image", "pdf", "other"])
        factories.create_file(self.dice.choice(self.people), self.body(), folder=self.any_folder(), category=category)

    def begin(self) -> None:
        factories.create_file(self.dice.choice(self.people), self.body(), state=State.UPLOADING)

    def publish(self) -> None:
        if file := self.any_file(state=State.UPLOADING, current=True):
            File.objects.filter(pk=file.pk).acquire_lease(checksum="c")
            File.objects.filter(pk=file.pk).update(
                state=State.AVAILABLE,
                etag="e",
                checksum_status="unverified",
                available_at=file.created_at,
                category="audio",
            )

    def version(self) -> None:
        if file := self.any_file(state=State.AVAILABLE, current=True):
            other = self.dice.choice(self.people)
            promote_version(factories.create_file(other, self.body(), series=file.permanent_id, current=False))

    def go_back(self) -> None:
        if old := self.any_file(state=State.AVAILABLE, current=False):
            file = File.objects.by_permanent_id(old.permanent_id).get()
            services.restore_version(file, old, by=file.owner)

    def move(self) -> None:
        self._with_some(lambda links, by: actions.move_files(links, self.any_folder(), by=by))

    def move_folder(self) -> None:
        name = f"folder {self.dice.randrange(4)}"
        folders.ensure([f"{name}/{self.dice.randrange(3)}"], by=self.people[0])

    def tag(self) -> None:
        words = [self.dice.choice("abc")]
        self._with_some(lambda links, by: actions.tag_files(links, add=words, by=by))
        self._with_some(lambda links, by: actions.tag_files(links, remove=words, by=by))

    def rename(self) -> None:
        if file := self.any_file(state=State.AVAILABLE, current=True):
            services.rename(file, f"n{self.dice.randrange(9)}", by=file.owner)

    def hide(self) -> None:
        visibility = self.dice.choice(list(Visibility))
        self._with_some(lambda links, by: actions.set_visibility(links, visibility, by=by))

    def trash(self) -> None:
        self._with_some(lambda links, by: actions.trash_files(links, by=by))

    def restore(self) -> None:
        self._with_some(lambda links, by: actions.restore_files(links, by=by), state=State.TRASHED)

    def purge(self) -> None:
        if file := self.any_file(state=State.TRASHED):
            File.objects.filter(pk=file.pk).discard(owner_id=file.owner_id)
            services.erase(file)

    def cancel(self) -> None:
        if file := self.any_file(state=State.UPLOADING):
            services.cancel(file, by=file.owner)

    def apply_some_deltas(self) -> None:
        apply_deltas()

    def _with_some(self, verb: Callable[[list[Any], User], object], state: State = State.AVAILABLE) -> None:
        if file := self.any_file(state=state, current=True):
            verb([file.permanent_id, *(other.permanent_id for other in File.objects.order_by("?")[:2])], file.owner)


@pytest.mark.parametrize("seed", range(2))
def test_statistics_match_a_recount_after_random_actions(seed: int, alice: User, bob: User, bucket: Bucket) -> None:
    actions = RandomActions([alice, bob], bucket, random.Random(seed))
    for step in range(150):
        actions.act()
        if step % 10 == 0:
            assert recount() == [], f"after {step} acts"
    apply_deltas()
    assert recount() == []
    assert File.objects.available().exists()
    assert Tagging.objects.exists()
