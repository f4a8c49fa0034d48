"""Accept a database that was restored to an earlier moment, without losing files."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Value
from django.db.models.functions import Greatest, Now

from uploads import s3
from uploads.errors import Problem, ValidationFailed
from uploads.models import Action, Event, File, Folder, Installation, State
from uploads.models.querysets import FileQuerySet, database_now, in_batches, seconds_from_now
from uploads.s3.client import STORAGE_CONCURRENCY
from uploads.services.bucket_guard import accept_checkpoint, contains_event, require_marker, stored_checkpoint
from uploads.services.finish import FinishRequest, finish
from uploads.services.sign import require_permission
from uploads.services.task_queue import ENDED, FOLDER_CHANGES, results_of
from uploads.services.verify.fixity import ResumableHasher

logger = logging.getLogger(__name__)

BATCH_SIZE = 500


@dataclass
class Restored:
    """What a run would do, or did. `seen` is the bucket's checkpoint, `behind` whether the database lacks its event.

    `trash` counts files in the trash that get their whole retention period again; `purged` those whose objects were
    purged after the moment of the restore, and which are purged again. `uploads` counts unfinished uploads that get a
    new expiry, `arrived` those of them with a whole object in the bucket, `finished` and `failed` what became of these.
    """

    checkpoint: s3.Checkpoint | None = None
    behind: bool = False
    trash: int = 0
    purged: int = 0
    uploads: int = 0
    arrived: int = 0
    finished: int = 0
    failed: int = 0


def after_restore(*, apply: bool) -> Restored:
    """Count what the sweep would lose after a restore to an earlier moment; with `apply`, extend it, and write a new
    checkpoint. Removes nothing. Safe to repeat and to stop at any point.

    Raises WrongMarker, MarkerMissing, StorageUnavailable, DatabaseError.
    """
    for store in _stores():
        require_marker(store)
    result = Restored(checkpoint=_read_checkpoint())
    result.behind = result.checkpoint is not None and not contains_event(result.checkpoint)
    _extend_uploads(result, apply=apply)
    _extend_trash(result, apply=apply)
    if apply:
        event, at = (result.checkpoint.event, result.checkpoint.at.isoformat()) if result.checkpoint else (None, None)
        Event.objects.record(Action.REPAIR, name="after_restore", checkpoint_event=event, checkpoint_at=at)
        accept_checkpoint()
        logger.info("restore_accepted installation=%s", Installation.objects.own_id())
    return result


def _stores() -> list[str]:
    return [store.name for store in (s3.main_store(), s3.secondary_store()) if store is not None]


def _read_checkpoint() -> s3.Checkpoint | None:
    """Return the bucket's checkpoint; None for an unreadable one, which is then overwritten."""
    try:
        return stored_checkpoint()
    except ValidationFailed as problem:
        logger.warning("checkpoint_unreadable: %s", problem.message)
        return None


# --- uploads ------------------------------------------------------------------------------------


def _extend_uploads(result: Restored, *, apply: bool) -> None:
    """Extend unfinished uploads, which browsers may resume, and finish those that were finished after the moment."""
    rows = File.objects.filter(state=State.UPLOADING, store__in=_stores())
    result.uploads = rows.count()
    if apply:
        expiry = seconds_from_now(settings.UPLOAD_EXPIRY_HOURS * 3600)
        rows.update(expires_at=Greatest("expires_at", expiry), updated_at=Now())
    for files in in_batches(rows.select_related("owner", "guest_session"), BATCH_SIZE):
        for file in _with_object(files):
            result.arrived += 1
            if apply:
                _finish(file, result)


def _finish(file: File, result: Restored) -> None:
    """Finish an upload as its sender did, with digests from reading the object."""
    try:
        hasher = ResumableHasher(file)
        hasher.run()
        if hasher.missing or hasher.size != file.size or file.checksum not in {"", hasher.checksum}:
            result.failed += 1
            return
        require_permission(file)  # `finish` would remove an upload that it refuses
        (outcome,) = finish(file.owner, [FinishRequest(file.pk, hasher.digests)], guest=file.guest_session)
    except Problem as problem:
        outcome = problem
    if isinstance(outcome, Problem):
        result.failed += 1
        logger.warning("restore_upload_failed file=%s code=%s", file.pk, outcome.code)
    else:
        result.finished += 1


# --- the trash ----------------------------------------------------------------------------------


def _extend_trash(result: Restored, *, apply: bool) -> None:
    """Restart the retention of the trash: some of its files were restored after the moment, and must not be purged."""
    rows = File.objects.filter(state=State.TRASHED, store__in=_stores())
    due = rows.filter(purge_after__lte=Now())
    missing = set()
    for files in in_batches(due, BATCH_SIZE):
        missing |= {file.pk for file in files} - {file.pk for file in _with_object(files)}
    result.purged = len(missing)
    result.trash = rows.count() - result.purged
    if apply:
        restart_retention(rows.exclude(pk__in=missing))


def restart_retention(files: FileQuerySet) -> None:
    """Give these files in the trash their whole retention period again, and the folders that are there with them.

    A folder is restored with the files that have its `purge_after`, so both get the same one. A folder whose time is
    over without one of these files stays out of the trash: folders keep their rows after a purge. Tasks that have
    changed a part of a folder use the same date for the rest. Safe to repeat.
    """
    minimum = database_now() + timedelta(days=settings.TRASH_RETENTION_DAYS)
    purge_after = Greatest("purge_after", Value(minimum))
    is_shared = Q(purge_after__in=files.order_by().values("purge_after"))
    with transaction.atomic():
        folders = Folder.objects.filter(Q(purge_after__gt=Now()) | is_shared, removed_at__isnull=False)
        folders.update(purge_after=purge_after)
        files.update(purge_after=purge_after)
        for task in results_of(FOLDER_CHANGES).exclude(status__in=ENDED):
            *arguments, date = task.args_kwargs["args"]
            task.args_kwargs["args"] = [*arguments, max(datetime.fromisoformat(date), minimum).isoformat()]
            task.save(update_fields=["args_kwargs"])


# --- the storage --------------------------------------------------------------------------------


def _with_object(files: list[File]) -> list[File]:
    """Return those of the files whose object exists with the size of the row. Raises StorageUnavailable."""
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        items = threads.map(lambda file: s3.head(file.key, store=file.store), files)
        return [file for file, item in zip(files, items, strict=True) if item is not None and item.size == file.size]
