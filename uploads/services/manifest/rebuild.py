"""Lose the database, get the library back: from a manifest and what the bucket has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import UUID

from django.contrib.auth.models import User
from django.core.exceptions import FieldError
from django.db import DataError, IntegrityError

from uploads import s3
from uploads.errors import BadInput, StoreUnavailable, WrongMarker
from uploads.models import Installation
from uploads.services.history import accept_history
from uploads.services.manifest.compare import Compared, compare
from uploads.services.manifest.lines import BadManifest, Head, inspect, rows
from uploads.services.manifest.load import load, require_empty
from uploads.services.manifest.recover import FOLDER, recovered

# What comes of a line that is JSON, and yet no row of ours.
UNREADABLE = (
    KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, DataError, IntegrityError,
    FieldError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the manifest says, and what the bucket says to it."""

    head: Head
    compared: Compared


def rebuild(
    path: Path, *, apply: bool, recover_for: str | None = None, step: Callable[[], None] = lambda: None
) -> Rebuilt:
    """Check the manifest and the bucket; with `apply`, write all rows in one transaction, or none.

    A file whose object is gone comes back as missing: its name and place are known, and its bytes may be found yet.
    `recover_for` names the person who gets what no line names; `step` is told of each file that was compared.
    Raises BadInput, WrongMarker, StoreUnavailable.
    """
    require_empty()
    head = inspect(path)
    keep_id = _require_marker(head)
    with _told_of_odd_lines():
        owner_id = None if recover_for is None else _person(path, recover_for)
    with _spool() as files, _spool() as unknown, _told_of_odd_lines():
        compared = compare(path, files=files, unknown=unknown, step=step)
        if apply:
            folder = None
            if owner_id is not None and compared.counts["unknown"]:
                folder = _new_folder(path, owner_id)
                unknown.seek(0)
                for row in recovered(unknown, owner_id=owner_id, folder_id=folder["id"]):
                    files.write(json.dumps(row) + "\n")
            files.seek(0)
            load(path, files, head, keep_id=keep_id, folder=folder)
            with suppress(StoreUnavailable):  # then `after_restore` is asked for
                accept_history()
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
        raise BadInput(f"There is nobody called {username}, neither in the manifest nor in this database.")
    return -found.pk


def _new_folder(path: Path, owner_id: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    pk = max((row["id"] for row in rows(path, "folder")), default=0) + 1
    return {"id": pk, "name": f"{FOLDER} {now:%Y-%m-%d %H.%M.%S}", "restricted": False, "created_by_id": owner_id,
            "created_at": now.isoformat()}  # fmt: skip


@contextmanager
def _told_of_odd_lines() -> Iterator[None]:
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
