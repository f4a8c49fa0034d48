"""Read the text of documents for searches, in the worker. Off unless CONTENT_SEARCH is on."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q
from django_tasks import task

from uploads import previews, s3
from uploads.errors import ObjectRefused, StorageUnavailable
from uploads.models import Category, File, FileContent
from uploads.models.content import INTERRUPTED, MAX_TRIES
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.models.states import FAILED_CHECKSUMS
from uploads.services.previews import TEMP_PREFIX, fetch
from uploads.services.stored_objects import fetch_encoding
from uploads.services.task_queue import MAX_ATTEMPTS, fair_priority, is_active, requeue_lost, retry_later, waiting_ids

logger = logging.getLogger(__name__)

TASK_SECONDS = 5.0
LOST_AFTER_SECONDS = 900
REQUEUE_BATCH_SIZE = 500
FORGOTTEN_WITHIN_SECONDS = 6 * 3600
MAX_DOCUMENT_BYTES = 100 * 1024**2
HAS_TEXT = (
    Q(category__in=[Category.TEXT, Category.PDF])
    | Q(detected_type__in=previews.TEXT_DOCUMENTS)
    | Q(detected_type="", declared_type__in=previews.TEXT_DOCUMENTS)
)


def unindexed() -> FileQuerySet:
    """Return the files that can have text and were not read yet. Files in quarantine are never read."""
    is_new = Q(content__isnull=True) | Q(content__reason=INTERRUPTED, content__tries__lt=MAX_TRIES)
    rows = File.objects.available().filter(HAS_TEXT, is_new, size__gt=0, quarantined=False)
    return rows.exclude(checksum_status__in=FAILED_CHECKSUMS)


def request_contents(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Enqueue one task, with the priority of the owner's tasks, that reads the text of those of these files that can
    have some. Safe to repeat.

    A database error is only logged, so that it does not fail the upload: the sweep finds the files later.
    """
    pks = list(ids)
    if not pks or not settings.CONTENT_SEARCH:
        return
    try:
        file_ids = [str(pk) for pk in unindexed().filter(pk__in=pks).values_list("pk", flat=True)]
        if file_ids:
            index_files.using(priority=fair_priority(owner_id)).enqueue(file_ids, owner_id=owner_id)
    except DatabaseError as fault:
        logger.warning("content_request_failed files=%s error=%s", len(pks), type(fault).__name__)


@task()
def index_files(ids: list[str], tries: int = 0, owner_id: int | None = None) -> int:
    """Read the text of these files within TASK_SECONDS, and enqueue the rest as another task. Returns how many.

    If the storage is unavailable, the rest is retried later.
    """
    end, count = time.monotonic() + TASK_SECONDS, 0
    for number, pk in enumerate(ids):
        if not settings.CONTENT_SEARCH:
            break
        if number and time.monotonic() > end:
            request_contents(map(UUID, ids[number:]), owner_id=owner_id)
            break
        file = unindexed().filter(pk=pk).first()
        if file is None:
            continue
        try:
            count += index_file(file)
        except StorageUnavailable:
            _retry(ids[number:], tries, owner_id)
            break
    return count


def index_file(file: File) -> bool:
    """Read the text of a file and save it, or the reason why there is none. Returns False if that was done already.

    Safe to repeat and to race. Raises StorageUnavailable.
    """
    if not FileContent.objects.start(file):
        return False
    try:
        fetch_encoding(file)
        text, reason = ("", "encoded") if file.content_encoding else (_read_text(file), "")
    except previews.PreviewFailed as problem:
        text, reason = "", problem.reason
    except ObjectRefused as problem:
        text, reason = "", problem.reason
    except StorageUnavailable:
        FileContent.objects.filter(pk=file.pk, reason=INTERRUPTED).delete()
        raise
    except DatabaseError:
        raise
    except Exception as fault:  # one file must not stop the others
        logger.warning("content_error file=%s error=%s", file.pk, type(fault).__name__, exc_info=True)
        text, reason = "", "error"
    FileContent.objects.save_text(file, text, reason=reason)
    if reason:
        logger.info("content_failed file=%s reason=%s", file.pk, reason)
    else:
        logger.info("content_indexed file=%s characters=%s", file.pk, len(text))
    return True


def requeue_lost_contents() -> int:
    """Request the text of recent files that were not read, and return how many. Older files need `index_contents`.

    Safe to repeat; cheap when there is nothing to do.
    """
    requeue_lost(index_files, lost_after_seconds=LOST_AFTER_SECONDS)
    if not settings.CONTENT_SEARCH or is_active(index_files):
        return 0
    recent = unindexed().filter(current=True, available_at__gt=seconds_from_now(-FORGOTTEN_WITHIN_SECONDS))
    recent = recent.exclude(pk__in=waiting_ids(index_files)).newest_first()
    ids = list(recent.values_list("pk", flat=True)[:REQUEUE_BATCH_SIZE])
    request_contents(ids)
    return len(ids)


def _retry(ids: list[str], tries: int, owner_id: int | None) -> None:
    if tries >= MAX_ATTEMPTS:
        logger.error("content_abandoned files=%s", len(ids))
        return
    retry_later(index_files, tries).enqueue(ids, tries + 1, owner_id=owner_id)


def _read_text(file: File) -> str:
    """Return the text of a file. Raises PreviewFailed, ObjectRefused, StorageUnavailable."""
    with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX) as folder:
        output, copy = Path(folder) / "text", Path(folder) / "file"
        output.mkdir()
        _fetch(file, copy)
        return previews.read_text(copy, output)


def _fetch(file: File, copy: Path) -> None:
    """Copy what is read of the file: all of a document, the beginning of a plain text."""
    if file.category == Category.TEXT:
        beginning = s3.read_start(file.key, max_bytes=previews.MAX_TEXT_BYTES, store=file.store)
        if beginning is None:
            raise previews.PreviewFailed("missing")
        copy.write_bytes(beginning)
        return
    if file.size > MAX_DOCUMENT_BYTES:
        raise previews.PreviewFailed("too_large")
    fetch(file, copy)
