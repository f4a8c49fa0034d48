"""Run the steps of a sweep in batches, until nothing is due."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.db.models import F, ProtectedError, Q

from uploads import s3
from uploads.errors import Paused, Problem, StorageUnavailable, ValidationFailed, WrongMarker
from uploads.models import File, Heartbeat, State, apply_deltas
from uploads.models.querysets import FileQuerySet, database_now
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
from uploads.services.sweep.expiry import Discards, expire, forget_orphans, purge
from uploads.services.sweep.leases import acquire, back_off, free, put_back
from uploads.services.task_queue import FOLDER_CHANGE_LOST_AFTER_SECONDS, FOLDER_CHANGES, tidy
from uploads.services.tasks import requeue_lost_previews, requeue_lost_verifications

logger = logging.getLogger(__name__)


NAME = "sweep"  # of the heartbeat
HEARTBEAT_SECONDS = 20.0
ERASE_BATCH_SIZE = 500
RESOLVE_BATCH_SIZE = 50


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
        for step_name, step in (("aborted", abort_orphaned_multiparts), ("previews", forget_orphans)):
            if self._should_continue() and not (
                self._paused or self._circuit_breaker.unavailable or self._foreign_stores
            ):
                self._count(step_name, step)
        if self._should_continue():
            requeue_lost_previews()
            requeue_lost_verifications()
            requeue_lost_contents()
            requeue_lost_handovers()
            tidy(FOLDER_CHANGES, lost_after_seconds=FOLDER_CHANGE_LOST_AFTER_SECONDS)
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
