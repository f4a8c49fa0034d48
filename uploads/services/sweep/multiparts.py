"""Uploads in parts that belong to no file: begun and forgotten, by a process that died between store and row."""

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
from uploads.services.bucket_owner import require_marker
from uploads.services.restore_guard import require_history

logger = logging.getLogger(__name__)

NAME = "strays"  # of the heartbeat
PREFIX = "f/"
# To list all that is open is much to ask of some stores.
PAUSE_SECONDS = 3600
# Between the store's beginning of an upload and the row that names it lie milliseconds. A day allows for any clock.
GRACE = timedelta(hours=24)
BATCH = 1000


def abort_orphaned_multiparts(*, go_on: Callable[[], bool]) -> int:
    """Abort uploads in parts that are open under `f/` since more than a day, and that no row in motion names. How many.

    Looks once an hour, whoever of several comes first, and only into a bucket whose marker is ours, and
    not with a database that is older than it. Raises StorageUnavailable; then the next sweep looks.
    """
    if not _is_due():
        return 0
    try:
        require_marker()
        require_history()
        return sum(_abort(some) for some in _batches(s3.list_multipart_uploads(PREFIX)) if go_on())
    except StorageDenied as problem:  # not every role may list them
        logger.warning("strays_not_looked_for: %s", problem.detail)
        return 0
    except StorageUnavailable:
        Heartbeat.objects.filter(name=NAME).update(at=seconds_from_now(-PAUSE_SECONDS))
        raise
    except (WrongMarker, ValidationFailed, Paused) as problem:
        logger.warning("strays_not_looked_for: %s", problem.message)
        return 0


def _is_due() -> bool:
    Heartbeat.objects.bulk_create([Heartbeat(name=NAME, at=datetime.fromtimestamp(0, UTC))], ignore_conflicts=True)
    return bool(Heartbeat.objects.filter(name=NAME, at__lte=seconds_from_now(-PAUSE_SECONDS)).update(at=Now()))


def _batches(uploads: Iterable[s3.OpenMultipart]) -> Iterator[list[s3.OpenMultipart]]:
    left = iter(uploads)
    while some := list(islice(left, BATCH)):
        yield some


def _abort(uploads: list[s3.OpenMultipart]) -> int:
    """The rows are read after the listing: what was begun since is not in it."""
    latest = database_now() - GRACE
    old = [upload for upload in uploads if upload.initiated < latest]
    rows = {file.key: file for file in File.objects.filter(key__in=[upload.key for upload in old])}
    strays = [upload for upload in old if not _has_row(upload, rows.get(upload.key))]
    for upload in strays:
        s3.abort_multipart(upload.key, upload.id)
        logger.info("stray_aborted key=%s initiated=%s", field_value(upload.key), upload.initiated.isoformat())
    return len(strays)


def _has_row(upload: s3.OpenMultipart, row: File | None) -> bool:
    """By a file that is on its way here, or by one that lies in another store and is perhaps being moved."""
    if row is None:
        return False
    if row.store != s3.main_store().name:
        return True
    return row.state in {State.UPLOADING, State.COMPLETING} and row.multipart_id == upload.id
