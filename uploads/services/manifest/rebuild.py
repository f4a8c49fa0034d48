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

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import FieldError
from django.db import DataError, IntegrityError, connection, models
from django.db.models.functions import Concat

from amalga.db import DAY_SECONDS, advisory_lock, statement_timeout
from uploads import s3
from uploads.errors import StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import (
    Action,
    Event,
    File,
    FileRequest,
    Folder,
    Grant,
    GuestSession,
    Installation,
    ShareLink,
    ShareLinkFile,
    Tag,
    Tagging,
    Usage,
    apply_deltas,
)
from uploads.names import normalize_for_search
from uploads.services.after_restore import restart_retention
from uploads.services.bucket_guard import accept_checkpoint
from uploads.services.manifest.export import LEFT_OUT, columns_of
from uploads.services.manifest.format import BadManifest, Head, ManifestComparison, compare, inspect, rows
from uploads.services.recover_orphans import FOLDER, recovered_rows

# Errors that a line raises that is JSON, but not a valid row.
BAD_LINE_ERRORS = (
    KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, DataError, IntegrityError,
    FieldError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The head of the manifest, and its comparison with the bucket."""

    head: Head
    comparison: ManifestComparison


def rebuild(
    path: Path, *, apply: bool, recover_for: str | None = None, on_row: Callable[[], None] = lambda: None
) -> Rebuilt:
    """Check the manifest and the bucket; with `apply`, write all rows in one transaction, or none.

    A file whose object is missing is restored as missing: its name and folder are known, and its bytes may still be
    found. `recover_for` is the username of the owner of objects that no line names; `on_row` is called for each
    compared file. Raises ValidationFailed, WrongMarker, StorageUnavailable.
    """
    require_empty()
    head = inspect(path)
    keep_id = _require_marker(head)
    with _reject_bad_lines():
        owner_id = None if recover_for is None else _person(path, recover_for)
    with _spool() as files, _spool() as unknown, _reject_bad_lines():
        comparison = compare(path, files=files, unknown=unknown, on_row=on_row)
        if apply:
            folder = None
            if owner_id is not None and comparison.counts["unknown"]:
                folder = _new_folder(path, owner_id)
                unknown.seek(0)
                for row in recovered_rows(unknown, owner_id=owner_id, folder_id=folder["id"]):
                    files.write(json.dumps(row) + "\n")
            files.seek(0)
            load(path, files, head, keep_id=keep_id, folder=folder)
            with suppress(StorageUnavailable):  # then `after_restore` must be run
                accept_checkpoint()
    return Rebuilt(head, comparison)


def _require_marker(head: Head) -> bool:
    """Check that the bucket belongs to the manifest's installation or to this database. Raises WrongMarker.

    Return True for the latter: then this database keeps its own installation ID.
    """
    marker = s3.read_marker()
    if marker == UUID(head.installation):
        return False
    if marker == Installation.objects.own_id():
        return True
    owner = "has no marker" if marker is None else f"belongs to another database ({marker})"
    adopt = f" --adopt-marker {marker}" if marker else ""
    raise WrongMarker(
        f"The bucket {owner}, but the manifest is from {head.installation}. Check AWS_STORAGE_BUCKET_NAME. To "
        f"transfer the bucket to this database, run `manage.py provision{adopt} --apply`."
    )


def _person(path: Path, username: str) -> int:
    """Return the user's ID as `load` expects it: from the manifest, or else from this database, negated."""
    for row in rows(path, "person"):
        if row["username"] == username:
            return int(row["id"])
    user = User.objects.filter(username=username).first()
    if user is None:
        raise ValidationFailed(f"No user named “{username}” in the manifest or in this database.")
    return -user.pk


def _new_folder(path: Path, owner_id: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    folder_id = max((row["id"] for row in rows(path, "folder")), default=0) + 1
    name = f"{FOLDER} {now:%Y-%m-%d %H.%M.%S}"
    return {
        "id": folder_id, "name": name, "restricted": False, "created_by_id": owner_id, "created_at": now.isoformat(),
    }  # fmt: skip


@contextmanager
def _reject_bad_lines() -> Iterator[None]:
    """Raise BadManifest for lines that `export_manifest` does not write, although the SHA-256 is right."""
    try:
        yield
    except BAD_LINE_ERRORS as fault:
        reason = str(fault).splitlines()[0] if str(fault) else ""
        raise BadManifest(
            f"A line of the manifest is invalid ({type(fault).__name__}: {reason}). Nothing was written. Use another "
            "manifest."
        ) from fault


def _spool() -> IO[str]:
    return TemporaryFile("w+", encoding="utf-8")


LOCK = 0x72656275696C64  # one at a time


PEOPLE_COLUMNS = {"owner_id", "uploaded_by_id", "created_by_id", "revoked_by_id", "actor_id"}


# Columns that older manifests do not have and that are not null; and the password that no manifest has.
ADDED_LATER = {
    "refusal": "", "unshareable": False, "scan_status": "", "scan_detail": "", "quarantined": False, "password": "",
}  # fmt: skip


# Columns without a default or a trigger, among those that manifests leave out.
COMPUTED = {"normalized_name", "multipart_id", "password"}


USAGE = """
INSERT INTO uploads_usage (owner_id, files, bytes)
SELECT owner_id, count(*), sum(size) FROM uploads_file GROUP BY owner_id
ON CONFLICT (owner_id) DO UPDATE SET files = excluded.files, bytes = excluded.bytes
"""


NEXT_ID = "SELECT setval(pg_get_serial_sequence('{0}', 'id'), greatest((SELECT max(id) FROM {0}), %s, 1))"


@dataclass(frozen=True, slots=True)
class _Ids:
    """Maps the manifest's user and group IDs to those of this database; equal names are the same user or group."""

    people: dict[int, int]
    groups: dict[int, int]


def require_empty() -> None:
    """Raise ValidationFailed if the library has any rows: a rebuild never mixes or overwrites rows."""
    for model in (File, Folder, Tag):
        if model._default_manager.exists():
            raise ValidationFailed(
                f"The library is not empty: it has {model._meta.verbose_name_plural}. Create a new database, set "
                "DATABASE_URL, and run `manage.py migrate`."
            )


def load(path: Path, files: Iterable[str], head: Head, *, keep_id: bool, folder: dict[str, Any] | None = None) -> None:
    """Write all rows in one transaction.

    `files` are the file rows to restore, as JSON lines; the other rows come from the manifest, and `folder` is one
    more. `keep_id` keeps this database's installation ID, which the bucket's marker already has. Raises
    ValidationFailed unless the library is empty. The retention period of the trash starts again.
    """
    with statement_timeout(DAY_SECONDS) as cursor:
        advisory_lock(LOCK)
        require_empty()
        ids = _Ids(people={-pk: pk for pk in User.objects.values_list("pk", flat=True)}, groups=_groups(path))
        ids.people.update(_people(path, ids.groups))
        _copy(Folder, chain(rows(path, "folder"), [folder] if folder else []), ids)
        _copy(Grant, rows(path, "grant"), ids)
        merged = _merged_tags(path)
        _copy(Tag, (row for row in rows(path, "tag") if row["id"] not in merged), ids)
        _copy(FileRequest, rows(path, "file_request"), ids)
        _copy(GuestSession, rows(path, "guest"), ids)
        _copy(File, (json.loads(line) for line in files), ids)
        _copy(Tagging, _taggings(path, merged), ids)
        _copy(ShareLink, rows(path, "share_link"), ids)
        _copy(ShareLinkFile, rows(path, "share_link_file"), ids)
        _copy(Event, rows(path, "event"), ids)
        # people may have restored a file after the manifest was written: give them time to find it before the purge
        restart_retention(File.objects.trashed())
        cursor.execute(USAGE)
        _set_limits(path, ids)
        for model in (Folder, Grant, Tag, Tagging, FileRequest, ShareLink, ShareLinkFile, Event):
            _advance_sequence(model, 0)
        if not keep_id:
            Installation.objects.all().delete()
            Installation.objects.create(number=1, id=uuid.UUID(head.installation))
        Event.objects.record(Action.REPAIR, name="rebuild_rows", manifest=head.at, counts=head.counts)
    apply_deltas()


def _copy(model: Any, source_rows: Iterator[dict[str, Any]], ids: _Ids) -> None:
    computed = LEFT_OUT.get(model, set()) & COMPUTED
    columns = [*columns_of(model), *computed]
    quoted = ", ".join(f'"{column}"' for column in columns)
    sql = f"COPY {model._meta.db_table} ({quoted}) FROM STDIN"
    # Django does not turn the errors of a COPY into its own
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(sql) as copy:
        for row in source_rows:
            if "normalized_name" in computed:
                row["normalized_name"] = normalize_for_search(row["name"])
            row["multipart_id"] = ""
            copy.write_row([_value(column, row.get(column, ADDED_LATER.get(column)), ids) for column in columns])


def _set_limits(path: Path, ids: _Ids) -> None:
    """Restore the limits of people and the counters of file requests, which the trigger has incremented again."""
    for row in rows(path, "limit"):
        limits = {name: row[name] for name in ("quota_bytes", "quota_files")}
        Usage.objects.update_or_create(owner_id=ids.people[row["owner_id"]], defaults=limits)
    for row in rows(path, "file_request"):
        counts = {name: row[name] for name in ("file_count", "byte_count")}
        FileRequest.objects.filter(pk=row["id"]).update(**counts)


def _merged_tags(path: Path) -> dict[int, int]:
    """Map the ID of each duplicate tag to that of the first.

    Tags can become duplicates if names are normalized differently than when the manifest was written.
    """
    first_ids: dict[str, int] = {}
    return {
        row["id"]: pk
        for row in rows(path, "tag")
        if (pk := first_ids.setdefault(normalize_for_search(row["name"]), row["id"])) != row["id"]
    }


def _taggings(path: Path, merged: dict[int, int]) -> Iterator[dict[str, Any]]:
    targets, seen = {*merged.values()}, set()
    for row in rows(path, "tagging"):
        row["tag_id"] = merged.get(row["tag_id"], row["tag_id"])
        if row["tag_id"] in targets:
            if (row["tag_id"], row["file_id"]) in seen:
                continue
            seen.add((row["tag_id"], row["file_id"]))
        yield row


def _value(column: str, value: Any, ids: _Ids) -> Any:
    if column in PEOPLE_COLUMNS:
        return ids.people.get(value)
    if column == "group_id":
        return ids.groups[value]
    return json.dumps(value) if isinstance(value, dict) else value


def _groups(path: Path) -> dict[int, int]:
    permissions = _permission_ids()
    ids = {}
    _advance_sequence(Group, max((row["id"] for row in rows(path, "group")), default=0))
    for row in rows(path, "group"):
        group, _created = Group.objects.get_or_create(name=row["name"], defaults=_free_id(Group, row["id"]))
        group.permissions.add(*(permissions[name] for name in row["permissions"] if name in permissions))
        ids[row["id"]] = group.pk
    return ids


def _people(path: Path, groups: dict[int, int]) -> dict[int, int]:
    """Create the users with unusable passwords. Existing users with the same name keep their data."""
    permissions = _permission_ids()
    ids = {}
    _advance_sequence(User, max((row["id"] for row in rows(path, "person")), default=0))
    for row in rows(path, "person"):
        fields = {name: value for name, value in row.items() if name not in {"kind", "id", "groups", "permissions"}}
        fields |= _free_id(User, row["id"])
        user, _created = User.objects.get_or_create(
            username=row["username"], defaults=fields | {"password": make_password(None)}
        )
        user.groups.add(*(groups[group] for group in row["groups"]))
        user.user_permissions.add(*(permissions[name] for name in row["permissions"] if name in permissions))
        ids[row["id"]] = user.pk
    return ids


def _free_id(model: type[models.Model], pk: int) -> dict[str, int]:
    return {} if model._default_manager.filter(pk=pk).exists() else {"id": pk}


def _advance_sequence(model: type[models.Model], minimum: int) -> None:
    """Advance the ID sequence beyond all existing IDs and `minimum`."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_ID.format(model._meta.db_table), [minimum])


def _permission_ids() -> dict[str, int]:
    labeled = Permission.objects.annotate(label=Concat("content_type__app_label", models.Value("."), "codename"))
    return dict(labeled.values_list("label", "pk"))
