"""Recover orphans: create files for objects without a row."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from uploads import s3
from uploads.errors import Problem
from uploads.keys import FILE_PREFIX
from uploads.media_types import category_of, extension_of_type
from uploads.models import (
    Action,
    Category,
    ChecksumStatus,
    Event,
    File,
    Finding,
    FindingKind,
    Folder,
    Origin,
    State,
    Usage,
    Visibility,
)
from uploads.models.querysets import in_batches
from uploads.parts import part_size_for
from uploads.s3.client import STORAGE_CONCURRENCY
from uploads.services.folders import ensure
from uploads.services.fsck import Scope
from uploads.services.fsck.diff import KeyVerdict, recheck
from uploads.services.fsck.repair import complete_run
from uploads.services.mime import detect_type

ADOPT_BATCH_SIZE = 500
RECOVER_BATCH_SIZE = 1000
FOLDER = "Recovered"  # followed by the time
REPAIRED = "made a file again"


def adopt_orphans(owner: User, *, apply: bool) -> int:
    """Create a private file of `owner` for each orphan under `f/` in the last complete run of fsck.

    Returns how many there are. The files go into a new folder. Their names are lost with the rows, so each is named by
    its key. Safe to repeat. Raises Refused without such a run in the last 24 hours, StorageUnavailable, Forbidden.
    """
    scope = Scope(s3.main_store().name)
    orphans = complete_run(scope).findings.filter(kind=FindingKind.ORPHAN, repaired_by="", key__startswith=FILE_PREFIX)
    if not apply:
        return orphans.count()
    count, folder = 0, None
    for findings in in_batches(orphans, ADOPT_BATCH_SIZE):
        # an object that has got a row since is no orphan
        verdicts = recheck([finding.key for finding in findings], store=scope.store, grace=0)
        verdicts = [verdict for verdict in verdicts if verdict.kind == FindingKind.ORPHAN]
        if verdicts:
            folder = folder or _create_folder(owner)
            count += _create_files(owner, folder, verdicts, scope.store)
        Finding.objects.filter(pk__in=[finding.pk for finding in findings]).update(repaired_by=REPAIRED)
    return count


def _create_files(owner: User, folder: Folder, verdicts: Sequence[KeyVerdict], store: str) -> int:
    items = [verdict.snapshot.item for verdict in verdicts if verdict.snapshot.item is not None]
    objects = [{"key": item.key, "store": store, "size": item.size, "at": item.modified.isoformat()} for item in items]
    lines = io.StringIO("".join(json.dumps(line) + "\n" for line in objects))
    files = [File(**row) for row in recovered_rows(lines, owner_id=owner.pk, folder_id=folder.pk)]
    with transaction.atomic():
        Usage.objects.locked(owner.pk).change(files=len(files), bytes=sum(file.size for file in files))
        File.objects.bulk_create(files)
        Event.objects.record_all(Action.REPAIR, files, by=None, outcome=REPAIRED)
    return len(files)


def _create_folder(owner: User) -> Folder:
    path = f"{FOLDER} {datetime.now(UTC):%Y-%m-%d %H.%M.%S}"
    folder = ensure([path], by=owner, limited=False)[path]
    if isinstance(folder, Problem):
        raise folder
    if folder is None:
        raise AssertionError("a path that is not empty has a folder")
    return folder


def recovered_rows(unknown: IO[str], *, owner_id: int, folder_id: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each of these objects, JSON lines with `key`, `store`, `size` and `at`.

    Each is named by its key, typed by its first bytes, private to `owner_id`, and is deleted with its object. Its
    checksum is unknown until `verify` reads it. Raises StorageUnavailable.
    """
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as workers:
        while batch := [json.loads(line) for line in islice(unknown, RECOVER_BATCH_SIZE)]:
            for line, stored in zip(batch, workers.map(_head, batch), strict=True):
                if stored is not None:
                    yield _row(line, stored, owner_id, folder_id)


def _head(line: dict[str, Any]) -> s3.ObjectHead | None:
    return s3.head_and_sniff(line["key"], size=line["size"], store=line["store"])


def _row(line: dict[str, Any], stored: s3.ObjectHead, owner_id: int, folder_id: int) -> dict[str, Any]:
    detected = detect_type(stored.first_bytes)
    category = Category.ARCHIVE if stored.content_encoding else Category(category_of(detected))
    pk = str(uuid.uuid4())
    return {
        "id": pk, "token": pk, "key": line["key"], "store": line["store"], "origin": Origin.ADOPTED.value,
        "owner_id": owner_id, "folder_id": folder_id, "name": _name(line["key"], detected), "series": None,
        "current": True, "visibility": Visibility.PRIVATE.value, "declared_type": "", "detected_type": detected,
        "content_encoding": stored.content_encoding, "refusal": "", "category": category.value,
        "modified": line["at"], "state": State.AVAILABLE.value,
        "size": stored.size, "part_size": part_size_for(stored.size, smallest=settings.UPLOAD_PART_BYTES),
        "etag": stored.etag, "checksum": "", "checksum_algorithm": "sha256",
        "checksum_status": ChecksumStatus.UNVERIFIED.value,
        "created_at": line["at"], "updated_at": line["at"], "available_at": line["at"],
    }  # fmt: skip


def _name(key: str, detected: str) -> str:
    return key.rpartition("/")[2] + extension_of_type(detected)
