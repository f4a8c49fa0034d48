"""Create the fixture of a release for the upgrade test: its database and bucket.

At the commit of the release: `python -m amalga.local --ephemeral python -m tests.support.release_fixture VERSION`

It writes tests/fixtures/release-VERSION/: `database.sql` (pg_dump), `objects/` (the bucket) and `expected.json`:
each file with its SHA-256, folder, tags, owner, state, and the people who can see it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import django

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
PART_BYTES = 10
MULTIPART = b"ten bytes " * 2 + b"a rest"
UNFINISHED = b"0123456789abcdefghijKLM"
OPTIONS = [
    "--no-owner",
    "--no-privileges",
    "--exclude-table-data=django_session",
    "--exclude-table-data=usersessions_*",
]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    django.setup()
    from django.core.management import call_command
    from django.test import override_settings
    from django.test.utils import setup_test_environment

    folder = FIXTURES / f"release-{sys.argv[1]}"
    (folder / "objects").mkdir(parents=True)
    call_command("migrate", verbosity=0)
    call_command("provision", "--apply", stdout=io.StringIO())
    setup_test_environment()
    with override_settings(UPLOAD_PART_BYTES=PART_BYTES):
        make_library()
    for command in (
        ["worker", "--once"],
        ["verify", "--all"],
        ["sweep"],
        ["recount", "--apply"],
        ["fsck", "--min-age=0"],
    ):
        call_command(*command, stdout=io.StringIO(), stderr=io.StringIO())
    leave_tasks()
    write_objects(folder / "objects")
    (folder / "expected.json").write_text(json.dumps(expected(), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    (folder / "database.sql").write_text(dump())


def make_library() -> None:
    """Upload, organize, restrict, replace, trash and import files, and leave an upload unfinished."""
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.test import Client

    from tests.support.pictures import as_file, two_halves
    from tests.support.stores import Address, Bucket
    from tests.support.upload_client import UploadClient
    from uploads import actions, services
    from uploads.models import AccessLevel, Folder, Visibility

    def person(name: str, *roles: str) -> User:
        user = User.objects.create_user(name, f"{name}@example.org", password=f"the password of {name}")
        user.groups.set(Group.objects.filter(name__in=roles))
        return user

    def client_of(user: User) -> UploadClient:
        client = Client()
        client.force_login(user)
        return UploadClient(client)

    root = User.objects.create_superuser("root", "root@example.org", password="the password of root")
    Group.objects.create(name="press")
    alice, bob = person("alice", "uploaders", "press"), person("bob", "uploaders")
    person("maria", "managers"), person("vera", "viewers"), person("charlie")
    of_alice, of_bob = client_of(alice), client_of(bob)

    of_alice.send(b"hello", name="hello.txt")
    of_alice.send(b"", name="empty.txt", folder="Brand")
    of_alice.send(MULTIPART, name="Łódź – plan.txt", folder="Brand/Logos")
    picture = of_bob.send(as_file(two_halves(64, 40)), name="logo.png", folder="Brand/Logos", type="image/png")
    of_alice.send(b"nobody else", name="diary.txt", visibility="private")
    interview = of_alice.send(b"embargo", name="interview.txt", folder="Press")
    press = Folder.objects.get(name="Press")
    services.folders.set_access(press, {Group.objects.get(name="press"): AccessLevel.MANAGE}, by=root)
    actions.tag_files([picture.permanent_id, interview.permanent_id], add=["Campaign 2027", "Łódź"], by=root)
    report = of_bob.send(b"the first report", name="report.txt")
    of_bob.send(b"the second report", replaces=str(report.pk))
    hidden = of_bob.send(b"hidden later", name="hidden.txt")
    actions.set_visibility([hidden.permanent_id], Visibility.PRIVATE, by=bob)
    actions.trash_file(of_bob.send(b"thrown away", name="old.txt"), by=bob)
    of_bob.client.get(f"/files/{report.pk}/download")
    unfinished = of_alice.start(UNFINISHED, name="unfinished.txt")
    of_alice.put(unfinished, 1)

    Bucket(Address.of_this_run()).write("photos/2019/sea.txt", b"an object of another program")
    call_command("import_bucket", "photos/", "--owner=maria", "--folder=Archive", "--apply", stdout=io.StringIO())


def leave_tasks() -> None:
    """Upload a file whose verification and previews stay in the queue."""
    from django.contrib.auth.models import User
    from django.test import Client

    from tests.support.upload_client import UploadClient

    client = Client()
    client.force_login(User.objects.get(username="bob"))
    UploadClient(client).send(b"still in the queue", name="queued.txt")


def expected() -> dict[str, Any]:
    """Return the expected contents of `expected.json`."""
    from django.contrib.auth.models import User

    from tests.support.file_rows import folder_of, stored_usage
    from tests.support.stores import Address, Bucket
    from uploads.models import Event, File, Folder, State, Tag

    bucket = Bucket(Address.of_this_run())
    files = {}
    for file in File.objects.order_by("pk"):
        stored = file.state in {State.AVAILABLE, State.TRASHED}
        files[str(file.pk)] = {
            "link": str(file.permanent_id), "name": file.name, "folder": folder_of(file), "owner": file.owner.username,
            "state": file.state, "current": file.current, "visibility": file.visibility, "size": file.size,
            "tags": sorted(Tag.objects.filter(taggings__file=file).values_list("name", flat=True)),
            "key": file.key, "checksum": file.checksum,
            "sha256": hashlib.sha256(bucket.read(file.key)).hexdigest() if stored else None,
        }  # fmt: skip
    people = User.objects.order_by("username")
    listed = File.objects.listed()
    return {
        "files": files,
        "folders": sorted(Folder.objects.values_list("name", flat=True)),
        "groups": {user.username: sorted(user.groups.values_list("name", flat=True)) for user in people},
        "visible": {user.username: sorted(str(file.pk) for file in listed.visible_to(user)) for user in people},
        "usage": {user.username: list(stored_usage(user)) for user in people},
        "events": Event.objects.count(),
    }


def write_objects(folder: Path) -> None:
    """Write one file for each object, named by its percent-encoded key."""
    from tests.support.stores import CHECKPOINT, MARKER, Address, Bucket

    bucket = Bucket(Address.of_this_run())
    for key in (*bucket.objects(), MARKER, CHECKPOINT):
        (folder / quote(key, safe="")).write_bytes(bucket.read(key))


def dump() -> str:
    """Return a dump of the database without statements that depend on the server version."""
    from django.db import connection

    from amalga.local.postgres import installed_programs

    to = connection.settings_dict
    where = ["--host", str(to["HOST"]), "--port", str(to["PORT"]), "--username", str(to["USER"])]
    command = [str(installed_programs() / "pg_dump"), *where, *OPTIONS, str(to["NAME"])]
    env = {**os.environ, "PGPASSWORD": str(to["PASSWORD"])}
    sql = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=60).stdout
    return re.sub(
        r"^(\\(un)?restrict .*|SET transaction_timeout .*|COMMENT ON EXTENSION .*)\n", "", sql, flags=re.MULTILINE
    )


if __name__ == "__main__":
    main()
