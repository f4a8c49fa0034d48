"""Background tasks that make previews and verify files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError
from django_tasks import task
from django_tasks.base import TASK_MIN_PRIORITY

from uploads.errors import ObjectRefused, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import File, Preview, PreviewKind, PreviewState, State
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.services.bucket_guard import refuse_foreign_bucket
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.previews import CAN_HAVE_PREVIEW, LEASE_SECONDS, make_pages, make_previews, reset_refused
from uploads.services.stored_objects import save_refusal
from uploads.services.task_queue import (
    MAX_ATTEMPTS,
    AnyTask,
    fair_priority,
    ids_to_requeue,
    is_active,
    requeue_lost,
    retry_later,
    waiting_ids,
)
from uploads.services.verify.fixity import ResumableHasher, judge, save_results

logger = logging.getLogger(__name__)

# After this time the rest of a task goes to the end of the queue, so that one person's thousand pictures, or a film, do
# not delay others, and a worker can stop.
TASK_SECONDS = 5.0
MAX_TASK_RUNS = 200  # of one file: each is a task that holds the digests so far
# No task takes this long: its worker was killed. Verifying reads a part, the largest perhaps from a slow storage.
PREVIEW_LOST_AFTER_SECONDS = LEASE_SECONDS + 300
VERIFY_LOST_AFTER_SECONDS = 3600
PREVIEW_REQUEUE_BATCH_SIZE = 200
VERIFY_REQUEUE_BATCH_SIZE = 500
FORGOTTEN_WITHIN_SECONDS = 6 * 3600


def _enqueue(task: AnyTask, ids: list[str], *arguments: Any, owner_id: int | None, priority: int | None = None) -> None:
    """Enqueue a task with this priority, otherwise with that of the owner's tasks."""
    if priority is None:
        priority = fair_priority(owner_id)
    task.using(priority=priority).enqueue(ids, *arguments, owner_id=owner_id)


# --- previews ------------------------------------------------------------------------------------


def request_previews(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Enqueue one task, with the priority of the owner's tasks, for the previews of these files. Safe to repeat.

    A database error is only logged, so that it does not fail the upload: the sweep finds the files later.
    """
    _request(preview_files, ids, owner_id=owner_id)


def request_pages(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Enqueue one task for the other pages of these documents, after all other tasks: no list shows them. Safe to
    repeat. A database error is only logged, as in `request_previews`.
    """
    _request(preview_pages, ids, owner_id=owner_id, priority=TASK_MIN_PRIORITY)


def _request(task: AnyTask, ids: Iterable[UUID], *, owner_id: int | None, priority: int | None = None) -> None:
    file_ids = [str(pk) for pk in ids]
    if not file_ids:
        return
    try:
        _enqueue(task, file_ids, owner_id=owner_id, priority=priority)
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
    """Make the previews of these files within TASK_SECONDS, enqueue the rest as another task, and request the pages.

    Files that fail with StorageUnavailable are retried later, together; if the storage is unavailable, so are all the
    rest. Returns how many files got previews.
    """
    run = _make_each(make_previews, ids)
    if run.remaining:
        _enqueue(preview_files, run.remaining, owner_id=owner_id)
    if run.failed:
        _retry_previews(preview_files, run.failed, tries, owner_id)
    request_pages(_with_waiting_pages(map(UUID, ids)), owner_id=owner_id)
    return run.created


@task()
def preview_pages(ids: list[str], tries: int = 0, owner_id: int | None = None) -> int:
    """Make the other pages of these documents, as `preview_files` does, with the lowest priority."""
    run = _make_each(make_pages, ids)
    request_pages(map(UUID, run.remaining), owner_id=owner_id)
    if run.failed:
        _retry_previews(preview_pages.using(priority=TASK_MIN_PRIORITY), run.failed, tries, owner_id)
    return run.created


class _Run(NamedTuple):
    """What one task did: how many files it made previews of, and the ids that are left or that failed."""

    created: int
    remaining: list[str]
    failed: list[str]


def _make_each(make: Callable[[File], bool], ids: list[str]) -> _Run:
    """Make the previews of these files, until the time of the task is over or the storage is unavailable."""
    end = time.monotonic() + TASK_SECONDS
    breaker = CircuitBreaker()
    count = 0
    failed: list[str] = []
    for number, pk in enumerate(ids):
        if number and time.monotonic() > end:
            return _Run(count, ids[number:], failed)
        file = File.objects.available().filter(pk=pk, quarantined=False).first()
        if file is None:
            continue
        try:
            count += _preview(make, file)
        except StorageUnavailable:
            failed.append(pk)
            if breaker.record_failure(file.store):
                return _Run(count, [], failed + ids[number + 1 :])
    return _Run(count, [], failed)


def _with_waiting_pages(ids: Iterable[UUID]) -> list[UUID]:
    """Return the ids of those of these files that have pages that no worker is making."""
    waiting = Preview.objects.filter(file__in=list(ids), kind=PreviewKind.PAGE, state=PreviewState.PENDING)
    return list(waiting.filter(lease_until__lte=seconds_from_now(0)).values_list("file_id", flat=True).distinct())


def requeue_lost_previews() -> int:
    """Requeue tasks of killed workers, request missing previews, and delete the results of old tasks.

    Returns how many files were requested. Safe to repeat; cheap when there is nothing to do.
    """
    for each in (preview_files, preview_pages):
        requeue_lost(each, lost_after_seconds=PREVIEW_LOST_AFTER_SECONDS)
    if is_active(preview_files):
        return 0  # files without a preview may still be in the queue
    lost = _lost_previews(waiting=waiting_ids(preview_files) | waiting_ids(preview_pages))
    request_previews(lost)
    return len(lost)


def _preview(make: Callable[[File], bool], file: File) -> bool:
    try:
        return make(file)
    except (DatabaseError, StorageUnavailable):
        raise
    except Exception as fault:  # one file must not stop the others
        logger.warning("preview_error file=%s error=%s", file.pk, type(fault).__name__, exc_info=True)
        return False


def _retry_previews(task: AnyTask, ids: list[str], tries: int, owner_id: int | None) -> None:
    if tries >= MAX_ATTEMPTS:
        logger.error("preview_abandoned files=%s", len(ids))
        return
    retry_later(task, tries).enqueue(ids, tries + 1, owner_id=owner_id)


def _lost_previews(*, waiting: set[UUID]) -> list[UUID]:
    """Return recent files without previews, and files whose previews have an expired lease, except those that are
    `waiting` for their next try."""
    recent = File.objects.listed().filter(CAN_HAVE_PREVIEW, size__gt=0, previews__isnull=True, quarantined=False)
    recent = recent.filter(available_at__gt=seconds_from_now(-FORGOTTEN_WITHIN_SECONDS))
    expired = Preview.objects.filter(
        state=PreviewState.PENDING, lease_until__lt=seconds_from_now(0), file__state=State.AVAILABLE,
        file__quarantined=False,
    )  # fmt: skip
    if is_active(preview_pages):
        expired = expired.exclude(kind=PreviewKind.PAGE)
    recent, expired = recent.exclude(pk__in=waiting), expired.exclude(file__in=waiting)
    ids = dict.fromkeys(expired.order_by("lease_until").values_list("file_id", flat=True)[:PREVIEW_REQUEUE_BATCH_SIZE])
    ids |= dict.fromkeys(recent.newest_first().values_list("pk", flat=True)[:PREVIEW_REQUEUE_BATCH_SIZE])
    return list(ids)


# --- verification --------------------------------------------------------------------------------


def request_verification(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Enqueue one task, with the priority of the owner's tasks, to verify these files in this order. Safe to repeat.

    A database error is only logged, so that it does not fail the upload: the sweep finds the files later.
    """
    file_ids = [str(pk) for pk in ids]
    if not file_ids:
        return
    try:
        _enqueue(verify_files, file_ids, [], owner_id=owner_id)
    except DatabaseError as fault:
        logger.warning("verify_request_failed files=%s error=%s", len(file_ids), type(fault).__name__)


@task()
def verify_files(ids: list[str], digests: Sequence[str] = (), tries: int = 0, owner_id: int | None = None) -> int:
    """Verify the checksums of these files within TASK_SECONDS, and enqueue the rest as another task.

    `digests` are those of the parts of the first file that earlier tasks read. If the storage is unavailable, or its
    bucket is not ours, the rest is retried later. Returns how many files were verified.
    """
    run = _VerifyRun(owner_id)
    for number, pk in enumerate(ids):
        if number and run.is_over():
            _enqueue(verify_files, ids[number:], [], owner_id=owner_id)
            break
        file = _unverified().filter(pk=pk).first()
        saved_digests = digests if number == 0 else ()
        if file is not None and not run.read(file, saved_digests, remaining=ids[number + 1 :], tries=tries):
            break
    return run.verified


def requeue_lost_verifications() -> int:
    """Requeue tasks of killed workers, request verification of files without a task, and return how many.

    Safe to repeat; cheap when there is nothing to do.
    """
    requeue_lost(verify_files, lost_after_seconds=VERIFY_LOST_AFTER_SECONDS)
    if is_active(verify_files):
        return 0
    ids = ids_to_requeue(_unverified(), verify_files, size=VERIFY_REQUEUE_BATCH_SIZE)
    request_verification(ids)
    return len(ids)


class _VerifyRun:
    """The state of one task: its time limit, and the stores that it has checked."""

    def __init__(self, owner_id: int | None) -> None:
        self.verified = 0
        self._owner_id = owner_id
        self._end = time.monotonic() + TASK_SECONDS
        self._breaker = CircuitBreaker()
        self._checked_stores: set[str] = set()

    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def read(self, file: File, digests: Sequence[str], *, remaining: list[str], tries: int) -> bool:
        """Read a file on from where earlier tasks stopped. Returns False when this task ends and `rest` is enqueued."""
        hasher = ResumableHasher(file, digests)
        min_digests = len(digests) + file.part_count // MAX_TASK_RUNS
        try:
            self._require_readable_bucket(file.store)
        except (StorageUnavailable, WrongMarker, ValidationFailed) as problem:  # no file of that store may be read
            logger.error("verify_refused files=%s: %s", 1 + len(remaining), problem.message)
            self._retry([str(file.pk), *remaining], digests, tries)
            return False
        try:
            is_complete = hasher.run(should_pause=lambda: self.is_over() and len(hasher.digests) > min_digests)
            self.verified += len(save_results([judge(hasher)])) if is_complete else 0
        except DatabaseError:
            raise
        except ObjectRefused as fault:  # until an operator changes that, or it is requested again
            save_refusal(file, fault.reason)
            return True
        except StorageUnavailable:
            is_unavailable = self._breaker.record_failure(file.store)
            self._retry([str(file.pk), *(remaining if is_unavailable else [])], hasher.digests, tries)
            return not is_unavailable
        except (WrongMarker, ValidationFailed) as problem:  # missing or corrupted, but the bucket is no longer ours
            logger.error("verify_refused files=%s: %s", 1 + len(remaining), problem.message)
            self._retry([str(file.pk), *remaining], digests, tries)
            return False
        except Exception as fault:  # one file must not stop the others
            logger.warning("verify_error file=%s error=%s", file.pk, type(fault).__name__, exc_info=True)
            return True
        if is_complete:
            return True
        if remaining:
            _enqueue(verify_files, remaining, [], owner_id=self._owner_id)
        _enqueue(verify_files, [str(file.pk)], hasher.digests, owner_id=self._owner_id)
        return False

    def _retry(self, ids: list[str], digests: Sequence[str], tries: int) -> None:
        if tries >= MAX_ATTEMPTS:
            logger.error("verify_abandoned files=%s", len(ids))
            return
        retry_later(verify_files, tries).enqueue(ids, list(digests), tries + 1, owner_id=self._owner_id)

    def _require_readable_bucket(self, store: str) -> None:
        """Check the marker of the store's bucket, once in this task."""
        if store not in self._checked_stores:
            refuse_foreign_bucket(store)
            self._checked_stores.add(store)


def _unverified() -> FileQuerySet:
    return File.objects.available().unverified().filter(refusal="")
