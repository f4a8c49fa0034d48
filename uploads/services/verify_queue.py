"""Settling claims soon after they were made: where the store checks no digests, a task reads what was published."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

from django.db import DatabaseError
from django_tasks import task

from uploads.errors import BadInput, ObjectRefused, StoreUnavailable, WrongMarker
from uploads.models import Basis, File
from uploads.models.queries import FileQuerySet
from uploads.services import queue
from uploads.services.marker import refuse_anothers
from uploads.services.refusals import keep_refusal
from uploads.services.verify import Reading, judge, settle
from uploads.services.watch import StoreWatch

logger = logging.getLogger(__name__)

# After so long the rest of a task goes to the end of the queue, at the end of a part: a film does not keep previews and
# other people's files waiting, and a worker that is told to stop does. What was read of it is kept with the task.
TURN_SECONDS = 5.0
MOST_TURNS = 200  # of one file: each costs a task that holds the digests so far
# Longer than the largest part takes from a slow store; then the task's worker was killed.
LOST_AFTER_SECONDS = 3600
FORGOTTEN_AT_ONCE = 500


def request_verification(ids: Iterable[UUID], *, owner_id: int | None = None) -> None:
    """Have these files read soon, in one task of the person who waits for it, in this order. Safe to repeat.

    A database that does not take the task is no reason to fail whatever published the files: the sweep finds them
    later.
    """
    wanted = [str(pk) for pk in ids]
    if not wanted:
        return
    try:
        _enqueue(wanted, owner_id=owner_id)
    except DatabaseError as fault:
        logger.warning("verify_request_failed files=%s fault=%s", len(wanted), type(fault).__name__)


@task()
def verify_files(ids: list[str], digests: Sequence[str] = (), tries: int = 0, owner_id: int | None = None) -> int:
    """Settle the claims of these files, as many as fit into one turn; the rest becomes a task of its own. `digests` are
    those of the parts of the first file that earlier turns read.

    While the store is away, or its bucket is not ours, all that is left waits. How many claims were settled now.
    """
    turn = _Turn(owner_id)
    for number, pk in enumerate(ids):
        if number and turn.is_over():
            _enqueue(ids[number:], owner_id=owner_id)
            break
        file = _claims().filter(pk=pk).first()
        if file is not None and not turn.read(
            file, digests if number == 0 else (), rest=ids[number + 1 :], tries=tries
        ):
            break
    return turn.settled


def tend_claims() -> int:
    """Give work that a killed worker left to another, and have claims settled that are in nobody's hands. How many.

    Safe to repeat; cheap when there is nothing to do.
    """
    queue.tidy(verify_files, lost_after_seconds=LOST_AFTER_SECONDS)
    if queue.is_under_way(verify_files):
        return 0
    claims = _claims().exclude(pk__in=queue.waiting_ids(verify_files))
    # From anywhere on: files that cannot be read are not in the way of the others for ever.
    ids = list(claims.filter(pk__gt=uuid4()).order_by("pk").values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
    ids = ids or list(claims.order_by("pk").values_list("pk", flat=True)[:FORGOTTEN_AT_ONCE])
    request_verification(ids)
    return len(ids)


class _Turn:
    def __init__(self, owner_id: int | None) -> None:
        self.settled = 0
        self._owner_id = owner_id
        self._end = time.monotonic() + TURN_SECONDS
        self._watch = StoreWatch()
        self._may_be_read: set[str] = set()  # stores

    def is_over(self) -> bool:
        return time.monotonic() > self._end

    def read(self, file: File, digests: Sequence[str], *, rest: list[str], tries: int) -> bool:
        """Read a file on from where earlier turns left it. False when the turn ends here, and `rest` is cared for."""
        reading = Reading(file, digests)
        least = len(digests) + file.part_count // MOST_TURNS
        try:
            self._refuse_anothers(file.store)
        except (StoreUnavailable, WrongMarker, BadInput) as problem:  # then no file of that store is read
            logger.error("verify_refused files=%s: %s", 1 + len(rest), problem.message)
            self._try_later([str(file.pk), *rest], digests, tries)
            return False
        try:
            whole = reading.run(enough=lambda: self.is_over() and len(reading.digests) > least)
            self.settled += len(settle([judge(reading)])) if whole else 0
        except DatabaseError:
            raise
        except ObjectRefused as fault:  # until that is changed there, or it is requested again
            keep_refusal(file, fault.reason)
            return True
        except StoreUnavailable:
            away = self._watch.doubt(file.store)
            self._try_later([str(file.pk), *(rest if away else [])], reading.digests, tries)
            return not away
        except (WrongMarker, BadInput) as problem:  # missing or damaged, in a bucket that is not ours by now
            logger.error("verify_refused files=%s: %s", 1 + len(rest), problem.message)
            self._try_later([str(file.pk), *rest], digests, tries)
            return False
        except Exception as fault:  # whatever is wrong with one file, the others go on
            logger.warning("verify_fault file=%s fault=%s", file.pk, type(fault).__name__, exc_info=True)
            return True
        if whole:
            return True
        if rest:
            _enqueue(rest, owner_id=self._owner_id)
        _enqueue([str(file.pk)], reading.digests, owner_id=self._owner_id)
        return False

    def _try_later(self, ids: list[str], digests: Sequence[str], tries: int) -> None:
        if tries >= queue.MOST_TRIES:
            logger.error("verify_given_up files=%s", len(ids))
            return
        queue.later(verify_files, tries).enqueue(ids, list(digests), tries + 1, owner_id=self._owner_id)

    def _refuse_anothers(self, store: str) -> None:
        """Once for each store."""
        if store not in self._may_be_read:
            refuse_anothers(store)
            self._may_be_read.add(store)


def _claims() -> FileQuerySet:
    return File.objects.available().filter(checksum_basis=Basis.CLAIMED, refusal="")


def _enqueue(ids: list[str], digests: Sequence[str] = (), *, owner_id: int | None) -> None:
    verify_files.using(priority=queue.fair_priority(owner_id)).enqueue(ids, list(digests), owner_id=owner_id)
