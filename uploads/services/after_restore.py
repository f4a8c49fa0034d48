"""After the database was restored to an earlier moment: take it as it is, and lose nothing over it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.conf import settings
from django.db.models.functions import Greatest, Now

from uploads import s3
from uploads.errors import Problem, ValidationFailed
from uploads.models import Action, Event, File, Installation, State
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.services.bucket_owner import require_marker
from uploads.services.finish import finish
from uploads.services.restore_guard import accept_high_water_mark, contains_event, stored_high_water_mark
from uploads.services.rights import require_right
from uploads.services.verify.reader import ResumableHasher
from uploads.upload_requests import FinishRequest

logger = logging.getLogger(__name__)

BATCH = 500
AT_ONCE = 8


@dataclass
class Restored:
    """What there is to do, or was done. `seen` is what the bucket remembers, `behind` that the database has it not.

    `trash` are files in the trash that get their whole time again, `purged` those whose objects were purged in the time
    that is lost: they go the same way again. `uploads` are unfinished ones that get new time, `arrived` those of them
    whose object is whole in the bucket, `finished` how many of these became files, `failed` how many did not.
    """

    seen: s3.HighWaterMark | None = None
    behind: bool = False
    trash: int = 0
    purged: int = 0
    uploads: int = 0
    arrived: int = 0
    finished: int = 0
    failed: int = 0


def after_restore(*, apply: bool) -> Restored:
    """Look at what a restore to an earlier moment would make the sweep lose; with `apply`, keep it from that, and have
    the bucket remember this database from now on. Removes nothing. Safe to repeat and to end anywhere.

    Raises WrongMarker, MarkerMissing, StorageUnavailable, DatabaseError.
    """
    for store in _stores():
        require_marker(store)
    done = Restored(seen=_seen())
    done.behind = done.seen is not None and not contains_event(done.seen)
    _keep_uploads(done, apply=apply)
    _keep_trash(done, apply=apply)
    if apply:
        event, at = (done.seen.event, done.seen.at.isoformat()) if done.seen else (None, None)
        Event.objects.record(Action.REPAIR, name="after_restore", remembered=event, remembered_at=at)
        accept_high_water_mark()
        logger.info("restore_accepted installation=%s", Installation.objects.own_id())
    return done


def _stores() -> list[str]:
    return [store.name for store in (s3.main_store(), s3.secondary_store()) if store is not None]


def _seen() -> s3.HighWaterMark | None:
    """What makes no sense is written anew."""
    try:
        return stored_high_water_mark()
    except ValidationFailed as problem:
        logger.warning("clock_unreadable: %s", problem.message)
        return None


# --- uploads ------------------------------------------------------------------------------------


def _keep_uploads(done: Restored, *, apply: bool) -> None:
    """Their browsers may go on with them; and some were finished in the time that is lost."""
    rows = File.objects.filter(state=State.UPLOADING, store__in=_stores())
    done.uploads = rows.count()
    if apply:
        later = seconds_from_now(settings.UPLOAD_EXPIRY_HOURS * 3600)
        rows.update(expires_at=Greatest("expires_at", later), updated_at=Now())
    for files in _batches(rows):
        for file in _those_there(files):
            done.arrived += 1
            if apply:
                _finish(file, done)


def _finish(file: File, done: Restored) -> None:
    """As its sender did: with the digests of the bytes, which are read for that."""
    try:
        reading = ResumableHasher(file)
        reading.run()
        if reading.missing or reading.size != file.size or file.checksum not in {"", reading.checksum}:
            done.failed += 1
            return
        require_right(file)  # as `finish` asks, which removes what it refuses
        (answer,) = finish(file.owner, [FinishRequest(file.pk, reading.digests)])
    except Problem as problem:
        answer = problem
    if isinstance(answer, Problem):
        done.failed += 1
        logger.warning("restore_upload_left file=%s code=%s", file.pk, answer.code)
    else:
        done.finished += 1


# --- the trash ----------------------------------------------------------------------------------


def _keep_trash(done: Restored, *, apply: bool) -> None:
    """Whoever took a file out of the trash in the time that is lost must find it before it is purged."""
    rows = File.objects.filter(state=State.TRASHED, store__in=_stores())
    later = seconds_from_now(settings.TRASH_DAYS * 24 * 3600)
    due = rows.filter(purge_after__lte=Now())
    gone = set()
    for files in _batches(due):
        gone |= {file.pk for file in files} - {file.pk for file in _those_there(files)}
    done.purged = len(gone)
    done.trash = rows.count() - done.purged
    if apply:
        rows.exclude(pk__in=gone).update(purge_after=Greatest("purge_after", later))


# --- the store ----------------------------------------------------------------------------------


def _those_there(files: list[File]) -> list[File]:
    """Those of them whose object is there with the size of the row. Raises StorageUnavailable."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        items = threads.map(lambda file: s3.head(file.key, store=file.store), files)
        return [file for file, item in zip(files, items, strict=True) if item is not None and item.size == file.size]


def _batches(rows: FileQuerySet) -> Iterator[list[File]]:
    last = None
    while files := list((rows.filter(pk__gt=last) if last else rows).select_related("owner").order_by("pk")[:BATCH]):
        yield files
        last = files[-1].pk
