"""Orphaned multipart uploads: created by a process that died before it wrote the row."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.db.models.functions import Now

from amalga.log import field_value
from uploads import s3
from uploads.errors import Paused, StorageDenied, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import File, Heartbeat, State
from uploads.models.querysets import database_now, seconds_from_now
from uploads.services.bucket_guard import require_history, require_marker

logger = logging.getLogger(__name__)

NAME = "strays"  # of the heartbeat
PREFIX = "f/"
# Some storages take long to list all open uploads.
PAUSE_SECONDS = 3600
# The row that names an upload follows its creation within milliseconds. A day allows for any clock skew.
GRACE = timedelta(hours=24)
BATCH = 1000


def abort_orphaned_multiparts(*, should_continue: Callable[[], bool]) -> int:
    """Abort multipart uploads under `f/` that are older than a day and that no active row names. Return how many.

    Runs at most once an hour, in one of several sweeps, and only if the bucket's marker is ours and the database is
    not older than the bucket. Raises StorageUnavailable; then the next sweep tries again.
    """
    if not _is_due():
        return 0
    try:
        require_marker()
        require_history()
        return sum(_abort(batch) for batch in _batches(s3.list_multipart_uploads(PREFIX)) if should_continue())
    except StorageDenied as error:  # not every role can list them
        logger.warning("multipart_listing_failed: %s", error.detail)
        return 0
    except StorageUnavailable:
        Heartbeat.objects.filter(name=NAME).update(at=seconds_from_now(-PAUSE_SECONDS))
        raise
    except (WrongMarker, ValidationFailed, Paused) as error:
        logger.warning("multipart_listing_failed: %s", error.message)
        return 0


def _is_due() -> bool:
    Heartbeat.objects.bulk_create([Heartbeat(name=NAME, at=datetime.fromtimestamp(0, UTC))], ignore_conflicts=True)
    return bool(Heartbeat.objects.filter(name=NAME, at__lte=seconds_from_now(-PAUSE_SECONDS)).update(at=Now()))


def _batches(uploads: Iterable[s3.OpenMultipart]) -> Iterator[list[s3.OpenMultipart]]:
    remaining = iter(uploads)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _abort(uploads: list[s3.OpenMultipart]) -> int:
    """Abort those of the uploads that no row explains. Rows are read after the listing, which lacks later uploads."""
    started_before = database_now() - GRACE
    old = [upload for upload in uploads if upload.initiated < started_before]
    rows = {file.key: file for file in File.objects.filter(key__in=[upload.key for upload in old])}
    orphaned = [upload for upload in old if not _has_row(upload, rows.get(upload.key))]
    for upload in orphaned:
        s3.abort_multipart(upload.key, upload.id)
        logger.info("multipart_aborted key=%s initiated=%s", field_value(upload.key), upload.initiated.isoformat())
    return len(orphaned)


def _has_row(upload: s3.OpenMultipart, row: File | None) -> bool:
    """Whether a file explains the upload: it is being uploaded, or is in another store and perhaps being moved here."""
    if row is None:
        return False
    if row.store != s3.main_store().name:
        return True
    return row.state in {State.UPLOADING, State.COMPLETING} and row.multipart_id == upload.id
