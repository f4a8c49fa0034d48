"""Background tasks that make previews."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import DatabaseError
from django_tasks import task

from uploads.errors import StorageUnavailable
from uploads.models import File, Preview, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.previews import CAN_HAVE_PREVIEW, LEASE_SECONDS, make_previews, reset_refused
from uploads.services.queue import MAX_ATTEMPTS, fair_priority, is_active, retry_later, tidy, waiting_ids

logger = logging.getLogger(__name__)

# After this time the rest of a task goes to the end of the queue, so that one person's thousand pictures do not delay
# others, and a worker can stop.
PREVIEW_TASK_SECONDS = 5.0
# No task takes this long: its worker was killed.
PREVIEW_LOST_AFTER_SECONDS = LEASE_SECONDS + 300
PREVIEW_REQUEUE_BATCH_SIZE = 200
FORGOTTEN_WITHIN_SECONDS = 6 * 3600


def request_previews(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Enqueue one task, with the priority of the owner's tasks, for the previews of these files. Safe to repeat.

    A database error is only logged, so that it does not fail the upload: the sweep finds the files later.
    """
    file_ids = [str(pk) for pk in ids]
    if not file_ids:
        return
    try:
        _enqueue_previews(file_ids, owner_id)
    except DatabaseError as fault:
        logger.warning("preview_request_failed files=%s error=%s", len(file_ids), type(fault).__name__)


def retry_refused(ids: Sequence[UUID]) -> None:
    """Request previews for those of these files that the storage refused before. Safe to repeat.

    A database error is only logged, so that downloads go on while it is read-only.
    """
    if not ids:
        return
    try:
        request_previews(reset_refused(ids))
    except DatabaseError as fault:
        logger.warning("preview_request_failed files=%s error=%s", len(ids), type(fault).__name__)


@task()
def preview_files(ids: list[str], tries: int = 0, owner_id: int | None = None) -> int:
    """Make the previews of these files within PREVIEW_TASK_SECONDS, and enqueue the rest as another task.

    Files that fail with StorageUnavailable are retried later, together; if the storage is unavailable, so are all the
    rest. Returns how many files got previews.
    """
    end = time.monotonic() + PREVIEW_TASK_SECONDS
    breaker = CircuitBreaker()
    count = 0
    failed: list[str] = []
    for number, pk in enumerate(ids):
        if number and time.monotonic() > end:
            _enqueue_previews(ids[number:], owner_id)
            break
        file = File.objects.available().filter(pk=pk).first()
        if file is None:
            continue
        try:
            count += _preview(file)
        except StorageUnavailable:
            failed.append(pk)
            if breaker.record_failure(file.store):
                failed += ids[number + 1 :]
                break
    if failed:
        _retry(failed, tries, owner_id)
    return count


def requeue_lost_previews() -> int:
    """Requeue tasks of killed workers, request missing previews, and delete the results of old tasks.

    Returns how many files were requested. Safe to repeat; cheap when there is nothing to do.
    """
    tidy(preview_files, lost_after_seconds=PREVIEW_LOST_AFTER_SECONDS)
    if is_active(preview_files):
        return 0  # files without a preview may still be in the queue
    lost = _lost_previews(waiting=waiting_ids(preview_files))
    request_previews(lost)
    return len(lost)


def _preview(file: File) -> bool:
    try:
        return make_previews(file)
    except (DatabaseError, StorageUnavailable):
        raise
    except Exception as fault:  # one file must not stop the others
        logger.warning("preview_error file=%s error=%s", file.pk, type(fault).__name__, exc_info=True)
        return False


def _enqueue_previews(ids: list[str], owner_id: int | None) -> None:
    preview_files.using(priority=fair_priority(owner_id)).enqueue(ids, owner_id=owner_id)


def _retry(ids: list[str], tries: int, owner_id: int | None) -> None:
    if tries >= MAX_ATTEMPTS:
        logger.error("preview_abandoned files=%s", len(ids))
        return
    retry_later(preview_files, tries).enqueue(ids, tries + 1, owner_id=owner_id)


def _lost_previews(*, waiting: set[UUID]) -> list[UUID]:
    """Return recent files without previews, and files whose previews have an expired lease, except those that are
    `waiting` for their next try."""
    recent = File.objects.listed().filter(CAN_HAVE_PREVIEW, size__gt=0, previews__isnull=True)
    recent = recent.filter(available_at__gt=seconds_from_now(-FORGOTTEN_WITHIN_SECONDS))
    expired = Preview.objects.filter(
        state=PreviewState.PENDING, lease_until__lt=seconds_from_now(0), file__state=State.AVAILABLE
    )
    recent, expired = recent.exclude(pk__in=waiting), expired.exclude(file__in=waiting)
    ids = dict.fromkeys(expired.order_by("lease_until").values_list("file_id", flat=True)[:PREVIEW_REQUEUE_BATCH_SIZE])
    ids |= dict.fromkeys(recent.newest_first().values_list("pk", flat=True)[:PREVIEW_REQUEUE_BATCH_SIZE])
    return list(ids)
