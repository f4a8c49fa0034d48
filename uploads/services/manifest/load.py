"""Write the rows of a manifest into an empty library, in one transaction: all of them, or none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.db import connection, models
from django.db.models.functions import Concat

from uploads.errors import BadInput
from uploads.models import Action, Event, File, Folder, Grant, Installation, Tag, Tagging, fold
from uploads.names import fold as folded
from uploads.services.leisure import at_leisure
from uploads.services.manifest.lines import Head, rows
from uploads.services.manifest.tables import columns_of

LOCK = 0x72656275696C64  # one at a time
PEOPLE_COLUMNS = {"owner_id", "uploaded_by_id", "created_by_id", "actor_id"}
# Columns that older manifests do not have and that are not null.
ADDED_LATER = {"refusal": ""}
# Who took a file out of the trash after the manifest was written must find it before it is purged.
PATIENCE = """
UPDATE uploads_file SET purge_after = greatest(purge_after, now() + make_interval(days => %s)) WHERE state = 'trashed'
"""
USAGE = """
INSERT INTO uploads_usage (owner_id, files, bytes)
SELECT owner_id, count(*), sum(size) FROM uploads_file GROUP BY owner_id
ON CONFLICT (owner_id) DO UPDATE SET files = excluded.files, bytes = excluded.bytes
"""
NEXT_ID = "SELECT setval(pg_get_serial_sequence('{0}', 'id'), greatest((SELECT max(id) FROM {0}), %s, 1))"


@dataclass(frozen=True, slots=True)
class _Ids:
    """What people and groups of the manifest are here: who is there already by that name is the same one."""

    people: dict[int, int]
    groups: dict[int, int]


def require_empty() -> None:
    """Raises BadInput where there is anything that a manifest would bring: rows are never mixed or written over."""
    for model in (File, Folder, Tag):
        if model._default_manager.exists():
            raise BadInput(
                f"This library is not empty: it has {model._meta.verbose_name_plural}. A library is only rebuilt in an "
                "empty database: make a new one, run `manage.py migrate`, and name it by DATABASE_URL."
            )


def load(path: Path, files: Iterable[str], head: Head, *, keep_id: bool, folder: dict[str, Any] | None = None) -> None:
    """Write all rows. `files` are JSON lines as they are to be restored; the other rows come from the manifest.
    `folder` is one more. `keep_id` leaves this database the name that the bucket's marker has already. Raises BadInput
    for a library that is not empty. What is in the trash stays there for the whole time from now on."""
    with at_leisure() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        require_empty()
        ids = _Ids(people={-pk: pk for pk in User.objects.values_list("pk", flat=True)}, groups=_groups(path))
        ids.people.update(_people(path, ids.groups))
        _copy(Folder, chain(rows(path, "folder"), [folder] if folder else []), ids)
        _copy(Grant, rows(path, "grant"), ids)
        same = _same_tags(path)
        _copy(Tag, (row for row in rows(path, "tag") if row["id"] not in same), ids)
        _copy(File, (json.loads(line) for line in files), ids)
        _copy(Tagging, _taggings(path, same), ids)
        _copy(Event, rows(path, "event"), ids)
        cursor.execute(PATIENCE, [settings.TRASH_DAYS])
        cursor.execute(USAGE)
        for model in (Folder, Grant, Tag, Tagging, Event):
            _go_on_after(model, 0)
        if not keep_id:
            Installation.objects.all().delete()
            Installation.objects.create(number=1, id=uuid.UUID(head.installation))
        Event.objects.record(Action.REPAIR, name="rebuild_rows", manifest=head.at, counts=head.counts)
    fold()


def _copy(model: Any, told: Iterator[dict[str, Any]], ids: _Ids) -> None:
    columns = [*columns_of(model), *_made(model)]
    named = ", ".join(f'"{column}"' for column in columns)
    into = f"COPY {model._meta.db_table} ({named}) FROM STDIN"
    # Django does not turn the errors of a COPY into its own
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(into) as copy:
        for row in told:
            if model in {Folder, Tag, File}:
                row["folded"] = folded(row["name"])
            row["multipart_id"] = ""
            copy.write_row([_value(column, row.get(column, ADDED_LATER.get(column)), ids) for column in columns])


def _same_tags(path: Path) -> dict[int, int]:
    """Tags that were two when the manifest was written and are one by the way names are folded now: by the id of each
    but the first, that of the first."""
    first: dict[str, int] = {}
    return {
        row["id"]: pk
        for row in rows(path, "tag")
        if (pk := first.setdefault(folded(row["name"]), row["id"])) != row["id"]
    }


def _taggings(path: Path, same: dict[int, int]) -> Iterator[dict[str, Any]]:
    merged, seen = {*same.values()}, set()
    for row in rows(path, "tagging"):
        row["tag_id"] = same.get(row["tag_id"], row["tag_id"])
        if row["tag_id"] in merged:
            if (row["tag_id"], row["file_id"]) in seen:
                continue
            seen.add((row["tag_id"], row["file_id"]))
        yield row


def _made(model: Any) -> list[str]:
    """Columns that no manifest has, and that are not empty."""
    return {File: ["folded", "multipart_id"], Folder: ["folded"], Tag: ["folded"]}.get(model, [])


def _value(column: str, value: Any, ids: _Ids) -> Any:
    if column in PEOPLE_COLUMNS:
        return ids.people.get(value)
    if column == "group_id":
        return ids.groups[value]
    return json.dumps(value) if isinstance(value, dict | list) else value


def _groups(path: Path) -> dict[int, int]:
    rights = _rights()
    ids = {}
    _go_on_after(Group, max((row["id"] for row in rows(path, "group")), default=0))
    for row in rows(path, "group"):
        group, _new = Group.objects.get_or_create(name=row["name"], defaults=_same_id(Group, row["id"]))
        group.permissions.add(*(rights[name] for name in row["permissions"] if name in rights))
        ids[row["id"]] = group.pk
    return ids


def _people(path: Path, groups: dict[int, int]) -> dict[int, int]:
    """Everybody, with a password that nobody has. Who is here already by that name stays as they are."""
    rights = _rights()
    ids = {}
    _go_on_after(User, max((row["id"] for row in rows(path, "person")), default=0))
    for row in rows(path, "person"):
        facts = {name: value for name, value in row.items() if name not in {"kind", "id", "groups", "permissions"}}
        facts |= _same_id(User, row["id"])
        person, _new = User.objects.get_or_create(
            username=row["username"], defaults=facts | {"password": make_password(None)}
        )
        person.groups.add(*(groups[group] for group in row["groups"]))
        person.user_permissions.add(*(rights[name] for name in row["permissions"] if name in rights))
        ids[row["id"]] = person.pk
    return ids


def _same_id(model: type[models.Model], pk: int) -> dict[str, int]:
    return {} if model._default_manager.filter(pk=pk).exists() else {"id": pk}


def _go_on_after(model: type[models.Model], least: int) -> None:
    """Ids that are made up from now on come behind those that are there, and behind `least`."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_ID.format(model._meta.db_table), [least])


def _rights() -> dict[str, int]:
    named = Permission.objects.annotate(told=Concat("content_type__app_label", models.Value("."), "codename"))
    return dict(named.values_list("told", "pk"))
