"""Rehearsal of a restore: the database goes back to an older backup, and the bucket does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from tests.conftest import signed_in
from tests.support.commands import run_command
from tests.support.databases import another_database, connect_to, postgres
from tests.support.file_rows import stored_usage, usage_by_rows
from tests.support.stores import Bucket
from tests.support.upload_client import Upload, UploadClient
from uploads import actions
from uploads.models import File, Heartbeat, State
from uploads.models.querysets import seconds_from_now
from uploads.services import bucket_guard

BODY = b"0123456789abcdefghijKLM"  # parts of 10, 10 and 3 bytes

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_parts")]


@contextmanager
def restored(dump: Path) -> Iterator[None]:
    """Restore the backup into a separate database and connect this process to it."""
    with another_database("restored"):
        postgres("pg_restore", "--dbname", "restored", "--no-owner", str(dump))
        yield


def run_json(*args: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the JSON document."""
    status, output, _errors = run_command(*args, "--json")
    return status, json.loads(output or "{}")


def sweep() -> int:
    """Sweep, after the pause between two checkpoints."""
    Heartbeat.objects.filter(name=bucket_guard.NAME).update(at=seconds_from_now(-bucket_guard.PAUSE_SECONDS))
    return run_json("sweep")[0]


class Hour:
    """What users do before and after the backup."""

    def __init__(self, alice: User, bucket: Bucket) -> None:
        self.alice, self.bucket = alice, bucket
        self.upload_client = UploadClient(signed_in(alice))
        self.later: list[File] = []
        self.lost = str(connection.settings_dict["NAME"])

    def before(self) -> None:
        self.kept = self.upload_client.send(b"kept")
        self.saved = self.upload_client.send(b"taken out of the trash in time")
        self.growing: Upload = self.upload_client.start(BODY)
        self.upload_client.put(self.growing)
        actions.trash_file(self.saved, by=self.alice)

    def owner(self) -> User:
        """Return Alice from the restored database."""
        return User.objects.get(username="alice")

    def after(self) -> None:
        actions.restore_file(self.saved, by=self.alice)
        self.upload_client.finished(self.growing)
        self.later = [self.upload_client.send(b"one of the last hour"), self.upload_client.send(BODY)]
        actions.trash_file(self.kept, by=self.alice)


@pytest.fixture
def hour(alice: User, bucket: Bucket, tmp_path: Path) -> Iterator[Hour]:
    """The bucket is current; the database is restored from an older backup."""
    hour = Hour(alice, bucket)
    hour.before()
    assert sweep() == 0
    postgres("pg_dump", "--format=custom", "--file", str(tmp_path / "dump"), str(connection.settings_dict["NAME"]))
    hour.after()
    assert sweep() == 0
    with restored(tmp_path / "dump"):
        File.objects.filter(pk=hour.saved.pk).update(purge_after=seconds_from_now(-1))  # an hour goes by
        yield hour


def differences() -> dict[str, set[str]]:
    keys_by_kind: dict[str, set[str]] = {}
    for finding in run_json("fsck", "--min-age", "0")[1]["findings"]:
        keys_by_kind.setdefault(finding["kind"], set()).add(finding["key"])
    return keys_by_kind


def diagnosis() -> dict[str, str]:
    lines: Any = run_json("doctor")[1]["checks"]
    (line,) = [line for line in lines if line["subject"] == "purge"]
    return dict(line)


def test_after_a_restore_nothing_is_missing_and_nothing_is_lost(hour: Hour, bucket: Bucket) -> None:
    objects = bucket.objects()
    assert File.objects.get(pk=hour.saved.pk).state == State.TRASHED  # her later restore is lost
    assert sweep() == 2
    assert bucket.objects() == objects

    assert diagnosis()["level"] == "fail"
    assert "the database is older than the bucket" in diagnosis()["reason"]

    orphans = {file.key for file in hour.later}
    assert differences() == {"orphan": orphans, "stuck": {hour.saved.key}}  # its purge is overdue; nothing is missing

    assert run_json("after_restore")[0] == 1
    assert run_json("after_restore", "--apply")[0] == 0
    assert sweep() == 0
    assert bucket.objects() == objects
    assert hour.growing.row().state == State.AVAILABLE
    assert bucket.read(hour.growing.row().key) == BODY
    actions.restore_file(File.objects.get(pk=hour.saved.pk), by=hour.owner())
    assert differences() == {"orphan": orphans}


def test_later_uploads_are_assigned_to_a_user_for_review(hour: Hour, bucket: Bucket) -> None:
    run_json("after_restore", "--apply")
    # fsck must find them first
    assert run_json("after_restore", "--recover-orphans", "--owner", "alice", "--apply")[0] == 2
    differences()
    assert run_json("after_restore", "--recover-orphans", "--owner", "alice")[1]["orphans"] == 2
    assert run_json("after_restore", "--recover-orphans", "--owner", "alice", "--apply") == (
        0, {"applied": True, "orphans": 2, "owner": "alice"},
    )  # fmt: skip
    files = File.objects.filter(folder__name__startswith="Recovered").order_by("size")
    assert [(file.key, file.visibility) for file in files] == [
        (file.key, "private") for file in sorted(hour.later, key=lambda file: file.size)
    ]
    assert differences() == {}
    assert run_json("verify", str(files[0].pk))[0] == 0
    assert stored_usage(hour.owner()) == usage_by_rows(hour.owner())
    assert run_json("after_restore", "--recover-orphans", "--owner", "alice", "--apply")[1]["orphans"] == 0


@pytest.mark.parametrize("args", [["--owner", "alice"], ["--recover-orphans"], ["--recover-orphans", "--owner", "x"]])
def test_invalid_options_are_refused(bucket: Bucket, args: list[str]) -> None:
    assert run_json("after_restore", *args)[0] == 2


def test_old_database_deletes_nothing_after_a_restore(hour: Hour, bucket: Bucket) -> None:
    """The old database and its sweep run again, but the bucket belongs to the restored database."""
    assert run_json("after_restore", "--apply")[0] == 0
    connect_to(hour.lost)
    File.objects.filter(state=State.TRASHED).update(purge_after=seconds_from_now(-1))
    assert sweep() == 2
    assert hour.kept.key in bucket.objects()
