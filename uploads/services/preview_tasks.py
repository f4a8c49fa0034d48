"""Tasks that make previews."""

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
from uploads.services.previews import LEASE_SECONDS, MAY_BE_SHOWN, forget_refused, make_previews
from uploads.services.queue import MAX_ATTEMPTS, fair_priority, is_under_way, retry_later, tidy, waiting_ids

logger = logging.getLogger(__name__)

# After so long the rest of a task goes to the end of the queue: one person's thousand pictures do not keep others
# waiting, and a worker that is told to stop does.
PREVIEW_TASK_SECONDS = 5.0
# Nobody works on one task for so long: its worker was killed.
PREVIEW_LOST_AFTER_SECONDS = LEASE_SECONDS + 300
PREVIEW_REQUEUE_BATCH_SIZE = 200
FORGOTTEN_WITHIN_SECONDS = 6 * 3600


def request_previews(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Have the previews of these files made soon, in one task of the person who waits for them. Safe to repeat.

    A database that does not take the task is no reason to fail whatever published the files: the sweep
    finds them later.
    """
    wanted = [str(pk) for pk in ids]
    if not wanted:
        return
    try:
        _enqueue_previews(wanted, owner_id)
    except DatabaseError as fault:
        logger.warning("preview_request_failed files=%s fault=%s", len(wanted), type(fault).__name__)


def retry_refused(ids: Sequence[UUID]) -> None:
    """Have previews made of those of these files that the store refused before. Safe to repeat.

    A database that takes no writes is no reason to keep people from their files.
    """
    if not ids:
        return
    try:
        request_previews(forget_refused(ids))
    except DatabaseError as fault:
        logger.warning("preview_request_failed files=%s fault=%s", len(ids), type(fault).__name__)


@task()
def preview_files(ids: list[str], tries: int = 0, owner_id: int | None = None) -> int:
    """Make the previews of these files, as many as fit into one turn; the rest becomes a task of its own.

    Files that the store does not give now are tried later, together; while the store is away, so is all that is left.
    How many files got previews now.
    """
    end = time.monotonic() + PREVIEW_TASK_SECONDS
    watch = CircuitBreaker()
    made = 0
    failed: list[str] = []
    for number, pk in enumerate(ids):
        if number and time.monotonic() > end:
            _enqueue_previews(ids[number:], owner_id)
            break
        file = File.objects.available().filter(pk=pk).first()
        if file is None:
            continue
        try:
            made += _preview(file)
        except StorageUnavailable:
            failed.append(pk)
            if watch.doubt(file.store):
                failed += ids[number + 1 :]
                break
    if failed:
        _try_later(failed, tries, owner_id)
    return made


def requeue_lost_previews() -> int:
    """Give work that a killed worker left to another, ask for previews that nobody asked for, and forget the
    results of old tasks. How many files were asked for. Safe to repeat; cheap when there is nothing to do."""
    tidy(preview_files, lost_after_seconds=PREVIEW_LOST_AFTER_SECONDS)
    if is_under_way(preview_files):
        return 0  # whoever has no preview is still in the queue, as far as we know
    forgotten = _lost_previews(waiting=waiting_ids(preview_files))
    request_previews(forgotten)
    return len(forgotten)


def _preview(file: File) -> bool:
    try:
        return make_previews(file)
    except (DatabaseError, StorageUnavailable):
        raise
    except Exception as fault:  # whatever is wrong with one file, the others go on
        logger.warning("preview_fault file=%s fault=%s", file.pk, type(fault).__name__, exc_info=True)
        return False


def _enqueue_previews(ids: list[str], owner_id: int | None) -> None:
    preview_files.using(priority=fair_priority(owner_id)).enqueue(ids, owner_id=owner_id)


def _try_later(ids: list[str], tries: int, owner_id: int | None) -> None:
    if tries >= MAX_ATTEMPTS:
        logger.error("preview_given_up files=%s", len(ids))
        return
    retry_later(preview_files, tries).enqueue(ids, tries + 1, owner_id=owner_id)


def _lost_previews(*, waiting: set[UUID]) -> list[UUID]:
    """Files of the last hours that nobody made previews of, and those whose makers did not end; but for those that are
    `waiting` for their next try."""
    recent = File.objects.listed().filter(MAY_BE_SHOWN, size__gt=0, previews__isnull=True)
    recent = recent.filter(available_at__gt=seconds_from_now(-FORGOTTEN_WITHIN_SECONDS))
    left = Preview.objects.filter(
        state=PreviewState.MAKING, lease_until__lt=seconds_from_now(0), file__state=State.AVAILABLE
    )
    recent, left = recent.exclude(pk__in=waiting), left.exclude(file__in=waiting)
    ids = dict.fromkeys(left.order_by("lease_until").values_list("file_id", flat=True)[:PREVIEW_REQUEUE_BATCH_SIZE])
    ids |= dict.fromkeys(recent.newest_first().values_list("pk", flat=True)[:PREVIEW_REQUEUE_BATCH_SIZE])
    return list(ids)
