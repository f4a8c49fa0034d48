"""Rebuild rows from a manifest."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import FieldError
from django.db import DataError, IntegrityError, connection, models
from django.db.models.functions import Concat

from amalga.db.timeouts import long_transaction
from uploads import s3
from uploads.errors import StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import Action, Event, File, Folder, Grant, Installation, Tag, Tagging, apply_deltas
from uploads.names import normalize_for_search as folded
from uploads.services.manifest.compare import Comparison, compare
from uploads.services.manifest.export import columns_of
from uploads.services.manifest.format import BadManifest, Head, inspect, rows
from uploads.services.recover_orphans import FOLDER, recovered_rows
from uploads.services.restore_guard import accept_high_water_mark

# What comes of a line that is JSON, and yet no row of ours.
UNREADABLE = (
    KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, DataError, IntegrityError,
    FieldError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the manifest says, and what the bucket says to it."""

    head: Head
    compared: Comparison


def rebuild(
    path: Path, *, apply: bool, recover_for: str | None = None, step: Callable[[], None] = lambda: None
) -> Rebuilt:
    """Check the manifest and the bucket; with `apply`, write all rows in one transaction, or none.

    A file whose object is gone comes back as missing: its name and place are known, and its bytes may be found yet.
    `recover_for` names the person who gets what no line names; `step` is told of each file that was compared.
    Raises ValidationFailed, WrongMarker, StorageUnavailable.
    """
    require_empty()
    head = inspect(path)
    keep_id = _require_marker(head)
    with _naming_bad_lines():
        owner_id = None if recover_for is None else _person(path, recover_for)
    with _spool() as files, _spool() as unknown, _naming_bad_lines():
        compared = compare(path, files=files, unknown=unknown, step=step)
        if apply:
            folder = None
            if owner_id is not None and compared.counts["unknown"]:
                folder = _new_folder(path, owner_id)
                unknown.seek(0)
                for row in recovered_rows(unknown, owner_id=owner_id, folder_id=folder["id"]):
                    files.write(json.dumps(row) + "\n")
            files.seek(0)
            load(path, files, head, keep_id=keep_id, folder=folder)
            with suppress(StorageUnavailable):  # then `after_restore` is asked for
                accept_high_water_mark()
    return Rebuilt(head, compared)


def _require_marker(head: Head) -> bool:
    """The bucket belongs to the library of the manifest, or was given to this database: then it keeps its own name.
    True for the latter. Raises WrongMarker."""
    marker = s3.read_marker()
    if marker == UUID(head.installation):
        return False
    if marker == Installation.objects.own_id():
        return True
    whose = "has no marker that says whose it is" if marker is None else f"belongs to another database ({marker})"
    raise WrongMarker(
        f"The bucket {whose}; the manifest is that of {head.installation}. Check AWS_STORAGE_BUCKET_NAME. If the "
        "bucket is to belong to this database, run `manage.py provision --apply`, with --adopt-marker where it has "
        "another."
    )


def _person(path: Path, username: str) -> int:
    """By what `load` knows this person: the id in the manifest, or, less than nothing, the one in this database."""
    for row in rows(path, "person"):
        if row["username"] == username:
            return int(row["id"])
    found = User.objects.filter(username=username).first()
    if found is None:
        raise ValidationFailed(f"There is nobody called {username}, neither in the manifest nor in this database.")
    return -found.pk


def _new_folder(path: Path, owner_id: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    pk = max((row["id"] for row in rows(path, "folder")), default=0) + 1
    return {"id": pk, "name": f"{FOLDER} {now:%Y-%m-%d %H.%M.%S}", "restricted": False, "created_by_id": owner_id,
            "created_at": now.isoformat()}  # fmt: skip


@contextmanager
def _naming_bad_lines() -> Iterator[None]:
    """What is whole by its SHA-256 may still not be what `export_manifest` writes."""
    try:
        yield
    except UNREADABLE as fault:
        why = str(fault).splitlines()[0] if str(fault) else ""
        raise BadManifest(
            f"A line of the manifest is not as this Amalga writes it ({type(fault).__name__}: {why}). Nothing was "
            "written; take another one."
        ) from fault


def _spool() -> IO[str]:
    return TemporaryFile("w+", encoding="utf-8")


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
    """Raises ValidationFailed where there is anything that a manifest would bring: rows are never mixed or written
    over."""
    for model in (File, Folder, Tag):
        if model._default_manager.exists():
            raise ValidationFailed(
                f"This library is not empty: it has {model._meta.verbose_name_plural}. A library is only rebuilt in an "
                "empty database: make a new one, run `manage.py migrate`, and name it by DATABASE_URL."
            )


def load(path: Path, files: Iterable[str], head: Head, *, keep_id: bool, folder: dict[str, Any] | None = None) -> None:
    """Write all rows. `files` are JSON lines as they are to be restored; the other rows come from the manifest.
    `folder` is one more. `keep_id` leaves this database the name that the bucket's marker has already. Raises
    ValidationFailed
    for a library that is not empty. What is in the trash stays there for the whole time from now on."""
    with long_transaction() as cursor:
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
    apply_deltas()


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
