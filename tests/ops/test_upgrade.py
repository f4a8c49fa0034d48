"""Upgrades from each release: its database and its bucket are migrated, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import urllib3
from django.contrib.auth.models import User
from django.core.management import call_command
from django.urls import reverse

from tests.conftest import signed_in
from tests.support.commands import run_command
from tests.support.databases import another_database, postgres
from tests.support.file_rows import folder_of, stored_usage
from tests.support.release_fixture import FIXTURES, UNFINISHED
from tests.support.stores import Bucket
from tests.support.upload_client import UploadClient, composite, cut, put_bytes, sha256
from uploads.models import Event, File, Folder, State, Tag
from uploads.models.querysets import seconds_from_now

RELEASES = sorted(path for path in FIXTURES.glob("release-*"))
DAY = 24 * 3600

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("small_parts")]


class Installation:
    """A release's installation after the upgrade, and what it had before."""

    def __init__(self, folder: Path) -> None:
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        self.files: dict[str, dict[str, Any]] = self.expected["files"]
        self.objects = {unquote(path.name): path.read_bytes() for path in (folder / "objects").iterdir()}


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def installation(request: pytest.FixtureRequest, bucket: Bucket) -> Iterator[Installation]:
    folder: Path = request.param
    installation = Installation(folder)
    bucket.empty()
    for key, body in installation.objects.items():
        bucket.write(key, body)
    with another_database("upgraded"):
        arguments = ["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction", "--file"]
        postgres("psql", "--dbname", "upgraded", *arguments, str(folder / "database.sql"))
        call_command("migrate", verbosity=0)
        # Fixtures age, but nothing in them may expire or be purged.
        File.objects.exclude(expires_at=None).update(expires_at=seconds_from_now(DAY))
        File.objects.exclude(purge_after=None).update(purge_after=seconds_from_now(DAY))
        yield installation


def test_upgrade_keeps_files_people_and_rights(installation: Installation) -> None:
    files = {
        str(file.pk): {
            "link": str(file.permanent_id), "name": file.name, "folder": folder_of(file), "owner": file.owner.username,
            "state": file.state, "current": file.current, "visibility": file.visibility, "size": file.size,
            "tags": sorted(Tag.objects.filter(taggings__file=file).values_list("name", flat=True)), "key": file.key,
            "checksum": file.checksum, "sha256": installation.files.get(str(file.pk), {}).get("sha256"),
        }
        for file in File.objects.all()
    }  # fmt: skip
    assert files == installation.files
    people = User.objects.all()
    listed = File.objects.listed()
    assert sorted(Folder.objects.values_list("name", flat=True)) == installation.expected["folders"]
    for fact, after in {
        "visible": {user.username: sorted(str(file.pk) for file in listed.visible_to(user)) for user in people},
        "usage": {user.username: list(stored_usage(user)) for user in people},
    }.items():
        assert after == installation.expected[fact]
    for name, groups in installation.expected["groups"].items():
        assert set(groups) <= set(User.objects.get(username=name).groups.values_list("name", flat=True))
    assert Event.objects.count() >= installation.expected["events"]


def test_upgrade_keeps_passwords(installation: Installation) -> None:
    assert {
        user.username for user in User.objects.all() if user.check_password(f"the password of {user.username}")
    } == set(installation.expected["groups"])


def test_every_file_can_be_downloaded_after_an_upgrade(installation: Installation) -> None:
    downloaded = {}
    for pk, facts in installation.files.items():
        if facts["state"] == State.AVAILABLE:
            version = reverse("download_version", args=[facts["link"], pk])
            address = reverse("download", args=[facts["link"]]) if facts["current"] else version
            redirect = signed_in(User.objects.get(username=facts["owner"])).get(address)
            assert redirect.status_code == 302, (facts, redirect.content)
            downloaded[pk] = hashlib.sha256(urllib3.request("GET", redirect.headers["Location"]).data).hexdigest()
    assert downloaded == {pk: facts["sha256"] for pk, facts in installation.files.items() if pk in downloaded}
    assert len(downloaded) >= 10


def test_bucket_and_database_are_in_sync_after_an_upgrade(installation: Installation, bucket: Bucket) -> None:
    assert run_command("worker", "--once").status == 0  # what the release left in the queue
    assert run_command("sweep").status == 0
    assert run_command("fsck", "--min-age=0").status == 0
    assert run_command("verify", "--all").status == 0
    assert run_command("recount").status == 0
    assert {key for key in installation.objects if key.startswith("f/")} <= set(bucket.objects())


def test_people_can_continue_after_an_upgrade(installation: Installation, bucket: Bucket) -> None:
    alice = User.objects.get(username="alice")
    client = UploadClient(signed_in(alice))
    (unfinished,) = client.unfinished().json()["uploads"]
    detail = client.client.get(reverse("upload_detail", args=[unfinished["id"]]))
    assert detail.json()["parts"] == []  # a fixture has objects, and no parts
    digests = [sha256(piece) for piece in cut(UNFINISHED, unfinished["part_size"])]
    parts_ = [{"number": number, "sha256": digest} for number, digest in enumerate(digests, 1)]
    response = client.request_parts(unfinished["id"], parts_)
    assert response.status_code == 200, response.content
    for part, piece in zip(response.json()["parts"], cut(UNFINISHED, unfinished["part_size"]), strict=True):
        assert put_bytes(part, piece).status == 200
    finished = client.post(reverse("finish"), {"files": [{"id": unfinished["id"], "sha256": digests}]}).json()
    assert finished["files"][0]["checksum"] == composite(cut(UNFINISHED, unfinished["part_size"]))
    old = File.objects.get(name="old.txt")
    bob = signed_in(User.objects.get(username="bob"))
    assert bob.post(reverse("restore_file", args=[old.permanent_id])).status_code == 302
    old.refresh_from_db()
    assert (old.state, bucket.read(old.key)) == (State.AVAILABLE, b"thrown away")
    assert client.send(b"a new file").state == State.AVAILABLE


def test_releases_have_a_fixture() -> None:
    assert "release-0.1.0" in {path.name for path in RELEASES}
