"""Background tasks that verify files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

from django.db import DatabaseError
from django_tasks import task

from uploads.errors import ObjectRefused, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import File
from uploads.models.querysets import FileQuerySet
from uploads.services.bucket_owner import refuse_foreign_bucket
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.queue import MAX_ATTEMPTS, fair_priority, is_active, retry_later, tidy, waiting_ids
from uploads.services.refusals import save_refusal
from uploads.services.verify import ResumableHasher, judge, save_results

logger = logging.getLogger(__name__)

# After this time, at the end of a part, the rest of a task goes to the end of the queue, so that a film does not delay
# previews and other people's files, and a worker can stop. The digests so far are stored with the task.
VERIFY_TASK_SECONDS = 5.0
MAX_TASK_RUNS = 200  # of one file: each is a task that holds the digests so far
# Longer than reading the largest part from a slow storage: the task's worker was killed.
VERIFY_LOST_AFTER_SECONDS = 3600
VERIFY_REQUEUE_BATCH_SIZE = 500


def request_verification(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Enqueue one task, with the priority of the owner's tasks, to verify these files in this order. Safe to repeat.

    A database error is only logged, so that it does not fail the upload: the sweep finds the files later.
    """
    file_ids = [str(pk) for pk in ids]
    if not file_ids:
        return
    try:
        _enqueue_verification(file_ids, owner_id=owner_id)
    except DatabaseError as fault:
        logger.warning("verify_request_failed files=%s error=%s", len(file_ids), type(fault).__name__)


@task()
def verify_files(ids: list[str], digests: Sequence[str] = (), tries: int = 0, owner_id: int | None = None) -> int:
    """Verify the checksums of these files within VERIFY_TASK_SECONDS, and enqueue the rest as another task.

    `digests` are those of the parts of the first file that earlier tasks read. If the storage is unavailable, or its
    bucket is not ours, the rest is retried later. Returns how many files were verified.
    """
    run = _TaskRun(owner_id)
    for number, pk in enumerate(ids):
        if number and run.is_over():
            _enqueue_verification(ids[number:], owner_id=owner_id)
            break
        file = _unverified().filter(pk=pk).first()
        if file is not None and not run.read(file, digests if number == 0 else (), rest=ids[number + 1 :], tries=tries):
            break
    return run.verified


def requeue_lost_verifications() -> int:
    """Requeue tasks of killed workers, request verification of files without a task, and return how many.

    Safe to repeat; cheap when there is nothing to do.
    """
    tidy(verify_files, lost_after_seconds=VERIFY_LOST_AFTER_SECONDS)
    if is_active(verify_files):
        return 0
    files = _unverified().exclude(pk__in=waiting_ids(verify_files))
    # Start at a random id, so that files that cannot be read do not block the others forever.
    ids = list(files.filter(pk__gt=uuid4()).order_by("pk").values_list("pk", flat=True)[:VERIFY_REQUEUE_BATCH_SIZE])
    ids = ids or list(files.order_by("pk").values_list("pk", flat=True)[:VERIFY_REQUEUE_BATCH_SIZE])
    request_verification(ids)
    return len(ids)


class _TaskRun:
    """The state of one task: its time limit, and the stores that it has checked."""

    def __init__(self, owner_id: int | None) -> None:
        self.verified = 0
        self._owner_id = owner_id
        self._end = time.monotonic() + VERIFY_TASK_SECONDS
        self._breaker = CircuitBreaker()
        self._checked_stores: set[str] = set()

    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def read(self, file: File, digests: Sequence[str], *, rest: list[str], tries: int) -> bool:
        """Read a file on from where earlier tasks stopped. Returns False when this task ends and `rest` is enqueued."""
        hasher = ResumableHasher(file, digests)
        min_digests = len(digests) + file.part_count // MAX_TASK_RUNS
        try:
            self._require_readable_bucket(file.store)
        except (StorageUnavailable, WrongMarker, ValidationFailed) as problem:  # no file of that store may be read
            logger.error("verify_refused files=%s: %s", 1 + len(rest), problem.message)
            self._retry([str(file.pk), *rest], digests, tries)
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
            self._retry([str(file.pk), *(rest if is_unavailable else [])], hasher.digests, tries)
            return not is_unavailable
        except (WrongMarker, ValidationFailed) as problem:  # missing or corrupted, but the bucket is no longer ours
            logger.error("verify_refused files=%s: %s", 1 + len(rest), problem.message)
            self._retry([str(file.pk), *rest], digests, tries)
            return False
        except Exception as fault:  # one file must not stop the others
            logger.warning("verify_error file=%s error=%s", file.pk, type(fault).__name__, exc_info=True)
            return True
        if is_complete:
            return True
        if rest:
            _enqueue_verification(rest, owner_id=self._owner_id)
        _enqueue_verification([str(file.pk)], hasher.digests, owner_id=self._owner_id)
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


def _enqueue_verification(ids: list[str], digests: Sequence[str] = (), *, owner_id: int | None) -> None:
    verify_files.using(priority=fair_priority(owner_id)).enqueue(ids, list(digests), owner_id=owner_id)
