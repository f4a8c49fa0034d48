"""Tasks that verify files."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

from django.db import DatabaseError
from django_tasks import task

from uploads.errors import ObjectRefused, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import ChecksumStatus, File
from uploads.models.querysets import FileQuerySet
from uploads.services.bucket_owner import refuse_anothers
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.queue import MAX_ATTEMPTS, fair_priority, is_under_way, retry_later, tidy, waiting_ids
from uploads.services.refusals import keep_refusal
from uploads.services.verify import ResumableHasher, judge, save_results

logger = logging.getLogger(__name__)

# After so long the rest of a task goes to the end of the queue, at the end of a part: a film does not keep previews and
# other people's files waiting, and a worker that is told to stop does. What was read of it is kept with the task.
VERIFY_TASK_SECONDS = 5.0
MAX_TASK_RUNS = 200  # of one file: each costs a task that holds the digests so far
# Longer than the largest part takes from a slow store; then the task's worker was killed.
VERIFY_LOST_AFTER_SECONDS = 3600
VERIFY_REQUEUE_BATCH_SIZE = 500


def request_verification(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Have these files read soon, in one task of the person who waits for it, in this order. Safe to repeat.

    A database that does not take the task is no reason to fail whatever published the files: the sweep finds them
    later.
    """
    wanted = [str(pk) for pk in ids]
    if not wanted:
        return
    try:
        _enqueue_verification(wanted, owner_id=owner_id)
    except DatabaseError as fault:
        logger.warning("verify_request_failed files=%s fault=%s", len(wanted), type(fault).__name__)


@task()
def verify_files(ids: list[str], digests: Sequence[str] = (), tries: int = 0, owner_id: int | None = None) -> int:
    """Settle the claims of these files, as many as fit into one turn; the rest becomes a task of its own. `digests` are
    those of the parts of the first file that earlier turns read.

    While the store is away, or its bucket is not ours, all that is left waits. How many claims were settled now.
    """
    turn = _TaskRun(owner_id)
    for number, pk in enumerate(ids):
        if number and turn.is_over():
            _enqueue_verification(ids[number:], owner_id=owner_id)
            break
        file = _queued_claims().filter(pk=pk).first()
        if file is not None and not turn.read(
            file, digests if number == 0 else (), rest=ids[number + 1 :], tries=tries
        ):
            break
    return turn.settled


def requeue_lost_claims() -> int:
    """Give work that a killed worker left to another, and have claims settled that are in nobody's hands. How many.

    Safe to repeat; cheap when there is nothing to do.
    """
    tidy(verify_files, lost_after_seconds=VERIFY_LOST_AFTER_SECONDS)
    if is_under_way(verify_files):
        return 0
    claims = _queued_claims().exclude(pk__in=waiting_ids(verify_files))
    # From anywhere on: files that cannot be read are not in the way of the others for ever.
    ids = list(claims.filter(pk__gt=uuid4()).order_by("pk").values_list("pk", flat=True)[:VERIFY_REQUEUE_BATCH_SIZE])
    ids = ids or list(claims.order_by("pk").values_list("pk", flat=True)[:VERIFY_REQUEUE_BATCH_SIZE])
    request_verification(ids)
    return len(ids)


class _TaskRun:
    def __init__(self, owner_id: int | None) -> None:
        self.settled = 0
        self._owner_id = owner_id
        self._end = time.monotonic() + VERIFY_TASK_SECONDS
        self._watch = CircuitBreaker()
        self._may_be_read: set[str] = set()  # stores

    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def read(self, file: File, digests: Sequence[str], *, rest: list[str], tries: int) -> bool:
        """Read a file on from where earlier turns left it. False when the turn ends here, and `rest` is cared for."""
        reading = ResumableHasher(file, digests)
        least = len(digests) + file.part_count // MAX_TASK_RUNS
        try:
            self._refuse_anothers(file.store)
        except (StorageUnavailable, WrongMarker, ValidationFailed) as problem:  # then no file of that store is read
            logger.error("verify_refused files=%s: %s", 1 + len(rest), problem.message)
            self._try_later([str(file.pk), *rest], digests, tries)
            return False
        try:
            whole = reading.run(enough=lambda: self.is_over() and len(reading.digests) > least)
            self.settled += len(save_results([judge(reading)])) if whole else 0
        except DatabaseError:
            raise
        except ObjectRefused as fault:  # until that is changed there, or it is requested again
            keep_refusal(file, fault.reason)
            return True
        except StorageUnavailable:
            away = self._watch.doubt(file.store)
            self._try_later([str(file.pk), *(rest if away else [])], reading.digests, tries)
            return not away
        except (WrongMarker, ValidationFailed) as problem:  # missing or damaged, in a bucket that is not ours by now
            logger.error("verify_refused files=%s: %s", 1 + len(rest), problem.message)
            self._try_later([str(file.pk), *rest], digests, tries)
            return False
        except Exception as fault:  # whatever is wrong with one file, the others go on
            logger.warning("verify_fault file=%s fault=%s", file.pk, type(fault).__name__, exc_info=True)
            return True
        if whole:
            return True
        if rest:
            _enqueue_verification(rest, owner_id=self._owner_id)
        _enqueue_verification([str(file.pk)], reading.digests, owner_id=self._owner_id)
        return False

    def _try_later(self, ids: list[str], digests: Sequence[str], tries: int) -> None:
        if tries >= MAX_ATTEMPTS:
            logger.error("verify_given_up files=%s", len(ids))
            return
        retry_later(verify_files, tries).enqueue(ids, list(digests), tries + 1, owner_id=self._owner_id)

    def _refuse_anothers(self, store: str) -> None:
        """Once for each store."""
        if store not in self._may_be_read:
            refuse_anothers(store)
            self._may_be_read.add(store)


def _queued_claims() -> FileQuerySet:
    return File.objects.available().filter(checksum_basis=ChecksumStatus.CLAIMED, refusal="")


def _enqueue_verification(ids: list[str], digests: Sequence[str] = (), *, owner_id: int | None) -> None:
    verify_files.using(priority=fair_priority(owner_id)).enqueue(ids, list(digests), owner_id=owner_id)
