"""Orphaned multipart uploads: created by a process that died before it wrote the row. The sweep aborts them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.db.models.functions import Now

from amalga.db import statement_timeout
from amalga.log import field_value
from uploads import s3
from uploads.errors import Paused, StorageDenied, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.keys import FILE_PREFIX
from uploads.models import File, Heartbeat, State
from uploads.models.querysets import database_now, seconds_from_now
from uploads.services.bucket_guard import require_history, require_marker

logger = logging.getLogger(__name__)

NAME = "orphaned_multiparts"  # of the heartbeat
# Some storages take long to list all open uploads.
PAUSE_SECONDS = 3600
# The row that names an upload follows its creation within milliseconds. A day allows for any clock skew.
GRACE = timedelta(hours=24)
BATCH_SIZE = 1000
QUERY_SECONDS = 300.0  # for the rows of a batch, which lie all over a cold disk


def abort_orphaned_multiparts(*, should_continue: Callable[[], bool]) -> int:
    """Abort multipart uploads under `f/` that are older than a day and that no row explains. Return how many.

    Runs at most once an hour, in one of several sweeps, and only if the bucket's marker is ours and the database is
    not older than the bucket. Raises StorageUnavailable; then the next sweep tries again.
    """
    if not _is_due():
        return 0
    count = 0
    try:
        require_marker()
        require_history()
        for uploads in orphaned_multiparts(FILE_PREFIX, store=s3.main_store().name, grace=GRACE):
            if not should_continue():
                break
            count += _abort(uploads)
    except StorageDenied as error:  # not every role can list them
        logger.warning("multipart_listing_failed: %s", error.detail)
    except StorageUnavailable:
        Heartbeat.objects.filter(name=NAME).update(at=seconds_from_now(-PAUSE_SECONDS))
        raise
    except (WrongMarker, ValidationFailed, Paused) as error:
        logger.warning("multipart_listing_failed: %s", error.message)
    return count


def orphaned_multiparts(prefix: str, *, store: str, grace: timedelta) -> Iterator[list[s3.OpenMultipart]]:
    """Yield the multipart uploads with this prefix that are older than `grace` and that no row explains, in batches.

    Rows are read after the listing, which lacks later uploads. Raises StorageUnavailable, StorageDenied.
    """
    uploads = s3.list_multipart_uploads(prefix, store=store)
    while batch := list(islice(uploads, BATCH_SIZE)):
        started_before = database_now() - grace
        yield unexplained([upload for upload in batch if upload.initiated < started_before], store=store)


def unexplained(uploads: Sequence[s3.OpenMultipart], *, store: str) -> list[s3.OpenMultipart]:
    """Return those of the uploads in this store that no row explains now."""
    rows: dict[str, list[File]] = defaultdict(list)
    with statement_timeout(QUERY_SECONDS):
        for file in File.objects.filter(key__in={upload.key for upload in uploads}):
            rows[file.key].append(file)
    return [upload for upload in uploads if not any(_explains(file, upload, store) for file in rows[upload.key])]


def _explains(file: File, upload: s3.OpenMultipart, store: str) -> bool:
    """Whether the file is being uploaded so, is being erased with all its uploads, or is perhaps being moved here."""
    if file.store != store or file.state == State.DELETING:
        return True
    return file.state in {State.UPLOADING, State.COMPLETING} and file.multipart_id == upload.id


def _is_due() -> bool:
    Heartbeat.objects.bulk_create([Heartbeat(name=NAME, at=datetime.fromtimestamp(0, UTC))], ignore_conflicts=True)
    return bool(Heartbeat.objects.filter(name=NAME, at__lte=seconds_from_now(-PAUSE_SECONDS)).update(at=Now()))


def _abort(uploads: Sequence[s3.OpenMultipart]) -> int:
    for upload in uploads:
        s3.abort_multipart(upload.key, upload.id)
        logger.info("multipart_aborted key=%s initiated=%s", field_value(upload.key), upload.initiated.isoformat())
    return len(uploads)
