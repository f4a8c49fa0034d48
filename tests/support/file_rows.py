"""Create rows in any state without services or objects, for tests of rules."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from tests.support.upload_client import sha256
from uploads.actions.move import MoveAction
from uploads.actions.trash import TrashAction
from uploads.models import File, Folder, State, Usage
from uploads.services import folders

MINUTE = timedelta(minutes=1)


def move_folder(folder: Folder, target: Folder | None, *, by: User) -> None:
    """Move a folder by the bulk action, and refresh it."""
    result = MoveAction().execute([], {"to": target}, by=by, folders=[folder.pk])
    assert [row.pk for row in result.folders] == [folder.pk]
    folder.refresh_from_db()


def trash_folder(folder: Folder, *, by: User) -> None:
    """Move a folder to the trash by the bulk action."""
    result = TrashAction().execute([], {}, by=by, folders=[folder.pk])
    assert [row.pk for row in result.folders] == [folder.pk]


def required_fields(state: State) -> dict[str, Any]:
    """Return the additional fields that a row in this state requires."""
    now = timezone.now()
    stored = {"etag": "e" * 32, "checksum": sha256(b"x"), "available_at": now}
    needed: dict[State, dict[str, Any]] = {
        State.UPLOADING: {"expires_at": now + MINUTE},
        State.COMPLETING: {"lease_until": now + MINUTE, "checksum": sha256(b"x")},
        State.AVAILABLE: stored,
        State.TRASHED: {**stored, "purge_after": now + MINUTE},
        State.DELETING: {},
    }
    return needed[state]


@transaction.atomic
def create_row(owner: User, state: State = State.UPLOADING, **more: Any) -> File:
    """Create a row in this state, counted in its owner's usage, without an object."""
    plain = {"owner": owner, "name": "report.txt", "size": 1, "part_size": 10}
    file = File.objects.create(**{**plain, "state": state, **required_fields(state), **more})
    if state != State.DELETING:
        Usage.objects.locked(owner.pk).change(files=1, bytes=file.size)
    return file


def path_of(file: File) -> str:
    """Return the folder path and name of a file."""
    return "/".join([*folder_of(file).split("/"), file.name]) if file.folder_id else file.name


def folder_of(file: File) -> str:
    """Return the path of its folder, or "" at the top level."""
    return full_path(file.folder) if file.folder else ""


def full_path(folder: Folder) -> str:
    """Return the names of the folders from the top level down to this one, joined by slashes."""
    names = dict(Folder.objects.filter(pk__in=folder.path).values_list("pk", "name"))
    return "/".join(names[pk] for pk in folder.path)


def stored_usage(owner: User) -> tuple[int, int]:
    """Return files and bytes of the owner's usage row."""
    usage = Usage.objects.filter(owner=owner).first()
    return (usage.files, usage.bytes) if usage else (0, 0)


def usage_by_rows(owner: User) -> tuple[int, int]:
    """Return files and bytes of all rows that are not being deleted."""
    rows = File.objects.filter(owner=owner).exclude(state=State.DELETING)
    sums = rows.aggregate(files=Count("pk"), bytes=Sum("size", default=0))
    return sums["files"], sums["bytes"]


def ensure_folder(path: str, by: User) -> Folder:
    """Return the folder with this path, created if missing."""
    folder = folders.ensure([path], by=by)[path]
    assert isinstance(folder, Folder)
    return folder
