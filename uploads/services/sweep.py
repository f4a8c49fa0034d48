"""Expire, purge, erase and repair what is due, in batches, until nothing is left; several sweeps share the work."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, ProtectedError, Q
from django.db.models.functions import Greatest, Now

from uploads import s3
from uploads.errors import Paused, Problem, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.failpoints import failpoint
from uploads.models import (
    Action,
    Event,
    File,
    Heartbeat,
    Preview,
    PreviewKind,
    PreviewState,
    State,
    Usage,
    apply_deltas,
)
from uploads.models.audit import event
from uploads.models.querysets import FileQuerySet, database_now, seconds_from_now
from uploads.services import mail
from uploads.services.bucket_guard import require_history, require_marker, write_checkpoint
from uploads.services.circuit_breaker import CircuitBreaker
from uploads.services.contents import requeue_lost_contents
from uploads.services.erase import erase_all, urls_expired
from uploads.services.file_requests import delete_empty_sessions
from uploads.services.finish import resume_completion
from uploads.services.hand_over import requeue_lost_handovers
from uploads.services.malware import requeue_lost_scans
from uploads.services.notifications import delete_old_notifications, warn_of_expiring_links
from uploads.services.orphaned_multiparts import abort_orphaned_multiparts
from uploads.services.task_queue import (
    FOLDER_CHANGE_LOST_AFTER_SECONDS,
    FOLDER_CHANGES,
    RESET_MAILS,
    RESET_MAILS_LOST_AFTER_SECONDS,
    requeue_lost,
)
from uploads.services.tasks import requeue_lost_previews, requeue_lost_verifications

logger = logging.getLogger(__name__)

NAME = "sweep"  # of the heartbeat
HEARTBEAT_SECONDS = 20.0
ERASE_BATCH_SIZE = 500
RESOLVE_BATCH_SIZE = 50
BATCH_SIZE = 1000  # of owners, and of the files of each
PREVIEWS_BATCH_SIZE = 500
PREVIEW_LEASE_SECONDS = 120

# Longer than a batch takes. Afterwards other sweeps can take the rows of one that was killed.
LEASE_SECONDS = 120
# The next sweep retries a row that failed once; later pauses double from the first of these to the last.
MIN_BACKOFF_SECONDS = 60
MAX_BACKOFF_SECONDS = 6 * 3600


def _log(reason: str) -> None:
    logger.error("sweep_refused: %s", reason)


def sweep(
    *, should_continue: Callable[[], bool] = lambda: True, on_refusal: Callable[[str], None] = _log
) -> Counter[str]:
    """Run one sweep, until nothing is due or `should_continue` returns False. Return how many of each, and `failed`.

    A sweep expires overdue uploads, completes or gives up interrupted completions, purges and erases files, aborts
    orphaned multipart uploads, and maintains the previews. Safe to repeat; several sweeps at once share the work.

    A row that fails does not stop the others: the next sweep retries it, later ones with backoff. A sweep sends no
    more requests to a storage that is unavailable, and leaves its rows to the next one. Rows of a bucket that is not
    ours stay as they are, because deleting would miss the objects and lose the rows: `on_refusal` gets the reason,
    once per bucket. Nothing is expired, purged or erased with PURGE_PAUSED, or when the database is older than its
    bucket; `on_refusal` gets that reason as well.
    """
    return SweepRun(should_continue, on_refusal).run()


class SweepRun:
    def __init__(self, should_continue: Callable[[], bool], on_refusal: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._should_continue = should_continue
        self._on_refusal = on_refusal
        self._circuit_breaker = CircuitBreaker()
        self._foreign_stores: set[str] = set()  # stores whose bucket is not ours
        self._paused = settings.PURGE_PAUSED  # nothing is expired, purged or erased
        self._since = database_now()
        self._last_heartbeat = 0.0
        self._wait_for_locks = False
        self._waiting_rows = 0  # rows that were processed and cannot be erased yet
        self._discards = [
            Discards("expired", lambda: self._is_own_store(File.objects.overdue()), expire, self.counts),
            Discards("purged", lambda: self._is_own_store(File.objects.due_for_purge()), purge, self.counts),
        ]

    def run(self) -> Counter[str]:
        while self._should_continue():
            self._heartbeat()
            before = self.counts.total() + self._waiting_rows
            self._run_round()
            if self.counts.total() + self._waiting_rows > before:
                self._wait_for_locks = False
            elif not self._paused and any(discards.busy for discards in self._discards):
                self._wait_for_locks = True  # other sweeps have locked all remaining rows
            else:
                break
        self._maintain()
        return +self.counts

    def _run_round(self) -> None:
        """Run one batch of each step, so that no step waits for another to finish."""
        if stores := self._stores_with_work():
            for store in stores:
                self._require_owner(store)
            self._require_history()
            self._write_checkpoint()  # in each round, because a backlog can take hours
        for step in (self._resolve, self._discard, self._erase):
            if self._should_continue() and not (self._paused and step != self._resolve):
                step()

    def _maintain(self) -> None:
        """Run the steps that need no batches."""
        if self._should_continue():
            apply_deltas()
        self._write_checkpoint()
        for step_name, step in (("aborted", abort_orphaned_multiparts), ("previews", delete_unfinished_previews)):
            if self._should_continue() and not (
                self._paused or self._circuit_breaker.unavailable or self._foreign_stores
            ):
                self._count(step_name, step)
        if self._should_continue():
            requeue_lost_previews()
            requeue_lost_verifications()
            requeue_lost_contents()
            requeue_lost_handovers()
            requeue_lost(FOLDER_CHANGES, lost_after_seconds=FOLDER_CHANGE_LOST_AFTER_SECONDS)
            requeue_lost(RESET_MAILS, lost_after_seconds=RESET_MAILS_LOST_AFTER_SECONDS)
            mail.requeue_lost_mails()
            warn_of_expiring_links()
            delete_old_notifications()
            delete_empty_sessions(should_continue=self._should_continue)
            requeue_lost_scans()
        self._heartbeat(now=True)

    def _write_checkpoint(self) -> None:
        """Write the checkpoint to the bucket, unless the sweep is paused; after a failure the next sweep does."""
        if not self._should_continue() or self._paused or self._circuit_breaker.unavailable or self._foreign_stores:
            return
        try:
            write_checkpoint()
        except Paused as problem:
            self._pause(problem)
        except StorageUnavailable as fault:
            logger.warning("checkpoint_write_failed: %s", fault.detail)

    def _pause(self, problem: Problem) -> None:
        self._paused = True
        self._on_refusal(problem.message)

    def _count(self, step_name: str, step: Callable[..., int]) -> None:
        try:
            self.counts[step_name] += step(should_continue=self._should_continue)
        except StorageUnavailable as fault:
            self.counts["failed"] += 1
            logger.warning("sweep_failed step=%s error=%s", step_name, type(fault).__name__)
        except (WrongMarker, ValidationFailed) as problem:
            self._on_refusal(problem.message)

    def _heartbeat(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._last_heartbeat > HEARTBEAT_SECONDS:
            Heartbeat.objects.beat(NAME)
            self._last_heartbeat = time.monotonic()

    # --- bucket owners --------------------------------------------------------------------------

    def _stores_with_work(self) -> list[str]:
        """Return the stores whose rows are due, so that an idle sweep sends no request to any."""
        names = {store.name for store in (s3.main_store(), s3.secondary_store()) if store is not None}
        due = [File.objects.stuck(), File.objects.overdue(), File.objects.due_for_purge(), self._deleting()]
        free_rows = [free(self._reachable(rows), since=self._since) for rows in due]
        return [store for store in sorted(names) if any(rows.filter(store=store).exists() for rows in free_rows)]

    def _require_owner(self, store: str) -> None:
        """Check the bucket's marker, once per round and store, before anything is expired or erased there."""
        try:
            require_marker(store)
        except StorageUnavailable as fault:
            self.counts["failed"] += 1
            self._circuit_breaker.unavailable.add(store)
            logger.warning("sweep_failed step=marker store=%r error=%s", store, type(fault).__name__)
        except (WrongMarker, ValidationFailed) as problem:
            self._foreign_stores.add(store)
            self._on_refusal(problem.message)

    def _require_history(self) -> None:
        """Pause the sweep if the database is older than the main bucket. Checked once per round, for all stores."""
        if self._paused or s3.main_store().name in self._circuit_breaker.unavailable:
            self._paused = True
            return
        try:
            require_history()
        except StorageUnavailable as fault:
            self._paused = True
            self.counts["failed"] += 1
            logger.warning("sweep_failed step=history error=%s", type(fault).__name__)
        except (Paused, ValidationFailed) as problem:
            self._pause(problem)

    def _is_own_store(self, rows: FileQuerySet) -> FileQuerySet:
        return rows.exclude(store__in=self._foreign_stores) if self._foreign_stores else rows

    # --- one batch of each ----------------------------------------------------------------------

    def _resolve(self) -> None:
        stuck = free(self._reachable(File.objects.stuck()), since=self._since).order_by("updated_at")
        for file in list(stuck[:RESOLVE_BATCH_SIZE]):
            if not self._should_continue() or file.store in self._circuit_breaker.unavailable:
                return
            try:
                self.counts["resolved"] += resume_completion(file)
            except Exception as fault:  # a failure of one row must not stop the others
                self._handle_failures("resolved", [file], {file.pk: fault})

    def _discard(self) -> None:
        for discards in self._discards:
            discards.run_batch(
                since=self._since, wait_for_locks=self._wait_for_locks, should_continue=self._should_continue
            )

    def _erase(self) -> None:
        """Erase files that one request can delete by hundreds before those that each need requests of their own."""
        deleting = self._reachable(self._deleting())
        single_request = Q(size__lte=F("part_size"), multipart_id="")
        for rows in (deleting.filter(single_request), deleting.exclude(single_request)):
            if files := acquire(rows, since=self._since, limit=ERASE_BATCH_SIZE):
                self._erase_files(files)
                return

    def _erase_files(self, files: Sequence[File]) -> None:
        """Erase files. A file whose signed URL has not expired is erased again afterwards, as new bytes may arrive."""
        erased = erase_all(files, breaker=self._circuit_breaker)
        self.counts["erased"] += len(erased.removed)
        self._handle_failures("erased", [file for file in files if file.pk in erased.failed], erased.failed)
        waiting = [file for file in files if file.pk not in erased.removed and file.pk not in erased.failed]
        put_back(waiting, examined=True)
        self._waiting_rows += len(waiting)

    def _deleting(self) -> FileQuerySet:
        return File.objects.filter(urls_expired() | Q(tries=0), state=State.DELETING)

    def _reachable(self, rows: FileQuerySet) -> FileQuerySet:
        return self._is_own_store(
            rows.exclude(store__in=self._circuit_breaker.unavailable) if self._circuit_breaker.unavailable else rows
        )

    def _handle_failures(self, step_name: str, files: Sequence[File], faults: Mapping[UUID, Exception]) -> None:
        """Retry the files: in the next sweep if their storage is unavailable, otherwise with backoff."""
        self.counts["failed"] += len(files)
        unavailable = [file for file in files if self._is_unavailable(file, faults[file.pk])]
        put_back(unavailable)
        back_off(file for file in files if file not in unavailable)
        for file in files:
            fault = faults[file.pk]
            unexpected = None if isinstance(fault, Problem | DatabaseError | ProtectedError) else fault
            logger.warning(
                "sweep_failed file=%s step=%s error=%s", file.pk, step_name, type(fault).__name__, exc_info=unexpected
            )

    def _is_unavailable(self, file: File, fault: Exception) -> bool:
        return isinstance(fault, StorageUnavailable) and self._circuit_breaker.record_failure(file.store)


# --- expired uploads, the purge, and previews of files in the trash -------------------------------


def expire(rows: FileQuerySet, owner_id: Any) -> int:
    discarded = rows.discard(owner_id=owner_id)
    failpoint("expire.1-discarded")
    return discarded


def purge(rows: FileQuerySet, owner_id: Any) -> int:
    with transaction.atomic():
        Usage.objects.locked(owner_id)
        files = list(rows.filter(owner_id=owner_id).order_by("pk").select_for_update(no_key=True))
        discarded = rows.discard(owner_id=owner_id)
        failpoint("purge.1-discarding")
        Event.objects.bulk_create([event(Action.PURGE, file=file, size=file.size) for file in files])
    failpoint("purge.2-discarded")
    return discarded


class Discards:
    """Discard rows of one kind, batch by batch. `busy`: owners were skipped, because their usage was locked."""

    def __init__(
        self,
        step: str,
        rows: Callable[[], FileQuerySet],
        discard: Callable[[FileQuerySet, Any], int],
        counts: Counter[str],
    ) -> None:
        self.busy = False
        self._step = step
        self._rows = rows
        self._discard = discard
        self._counts = counts

    def run_batch(self, *, since: datetime, wait_for_locks: bool, should_continue: Callable[[], bool]) -> None:
        """Discard one batch for each of up to a thousand owners.

        Owners whose usage is locked are skipped or, with `wait_for_locks`, waited for: several sweeps share the
        owners, and each continues with those that it can lock.
        """
        self.busy = False
        owners = set(free(self._rows(), since=since).values_list("owner_id", flat=True)[:BATCH_SIZE])
        for owner_id in sorted(owners):
            if not should_continue():
                return
            self._discard_for(owner_id, since=since, wait_for_locks=wait_for_locks)

    def _discard_for(self, owner_id: Any, *, since: datetime, wait_for_locks: bool) -> None:
        ids: list[UUID] = []
        try:
            with transaction.atomic():
                if not Usage.objects.lock_for_batch(owner_id, wait=wait_for_locks):
                    self.busy = True
                    return
                rows = free(self._rows(), since=since).filter(owner_id=owner_id)
                ids = list(rows.values_list("pk", flat=True)[:BATCH_SIZE])
                discarded = self._discard(self._rows().filter(pk__in=ids), owner_id)
            self._counts[self._step] += discarded
        except DatabaseError as error:
            if not connection.is_usable():
                raise
            self._handle_error(ids, owner_id, error)

    def _handle_error(self, ids: Sequence[UUID], owner_id: Any, error: DatabaseError) -> None:
        """Retry the rows one by one, so that a row that fails, or the size of the batch, does not stop the others."""
        if len(ids) == 1:
            back_off(File.objects.filter(pk__in=ids))
            self._counts["failed"] += 1
        if len(ids) <= 1:  # without ids, the owner's usage was locked for too long: the next sweep retries
            subject = f"file={ids[0]}" if ids else f"owner={owner_id}"
            logger.warning("sweep_failed %s step=%s error=%s", subject, self._step, type(error).__name__)
            return
        for pk in ids:
            try:
                self._counts[self._step] += self._discard(self._rows().filter(pk=pk), owner_id)
            except DatabaseError as own_error:
                self._handle_error([pk], owner_id, own_error)


def delete_unfinished_previews(*, should_continue: Callable[[], bool]) -> int:
    """Delete unfinished previews of files in the trash, object first. Return how many.

    A lease keeps workers from making them at the same time. Previews of a file that is being deleted go with it.
    Raises StorageUnavailable, and WrongMarker and ValidationFailed if the bucket is not ours.
    """
    count = 0
    while should_continue() and (batch := _lease_previews()):
        by_store: dict[str, list[str]] = defaultdict(list)
        for preview in batch:
            by_store[preview.store].append(preview.key)
        for store, keys in by_store.items():
            require_marker(store)
            failed_keys = s3.delete_many(keys, store=store)
            deleted = Preview.objects.filter(key__in=set(keys) - set(failed_keys), state=PreviewState.PENDING)
            count += deleted.delete()[0]
    return count


def _lease_previews() -> list[Preview]:
    unfinished = Preview.objects.filter(state=PreviewState.PENDING, lease_until__lt=Now())
    # by their rows, the pages of a restored document are made
    unfinished = unfinished.exclude(kind=PreviewKind.PAGE)
    candidates = unfinished.filter(file__state=State.TRASHED).values_list("pk", flat=True)[:PREVIEWS_BATCH_SIZE]
    until = seconds_from_now(PREVIEW_LEASE_SECONDS)
    ids = [pk for pk in candidates if unfinished.filter(pk=pk).update(lease_until=until)]
    return list(Preview.objects.filter(pk__in=ids))


# --- leases on rows, and the backoff for rows that failed -----------------------------------------


def free(rows: FileQuerySet, *, since: datetime) -> FileQuerySet:
    """Return the rows without a lease or a backoff that ends after `since`."""
    return rows.filter(Q(retry_at__isnull=True) | Q(retry_at__lte=since))


def acquire(rows: FileQuerySet, *, since: datetime, limit: int) -> list[File]:
    """Lease up to `limit` of the free rows, the longest waiting first: until the lease ends, no other sweep gets them.

    No row lock is held when this returns.
    """
    with transaction.atomic():
        locked = free(rows, since=since).order_by("updated_at").select_for_update(skip_locked=True, no_key=True)
        taken = list(locked[:limit])
        File.objects.filter(pk__in=[file.pk for file in taken]).update(retry_at=seconds_from_now(LEASE_SECONDS))
    return taken


def back_off(files: Iterable[File]) -> None:
    """Retry failed files later: the pause of each doubles from failure to failure."""
    by_tries: dict[int, list[File]] = defaultdict(list)
    for file in files:
        by_tries[file.tries].append(file)
    for tries, same_tries in by_tries.items():
        rows = File.objects.filter(pk__in=[file.pk for file in same_tries])
        rows.update(retry_at=seconds_from_now(pause_seconds(tries)), tries=tries + 1)


def pause_seconds(tries: int) -> float:
    """Return the pause after a failure that followed `tries` others."""
    return min(float(MAX_BACKOFF_SECONDS), MIN_BACKOFF_SECONDS * (2.0 ** min(tries, 20) - 1))


def put_back(files: Iterable[File], *, examined: bool = False) -> None:
    """Release files that did not fail by themselves, so that the next sweep takes them.

    `examined` records that all that can be done for now is done.
    """
    values = {"tries": Greatest(F("tries"), 1)} if examined else {}
    File.objects.filter(pk__in=[file.pk for file in files]).update(retry_at=Now(), **values)
