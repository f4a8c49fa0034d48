"""Move overdue uploads, and files due for the purge, to `deleting`; delete unfinished previews of trashed files."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from uploads import s3
from uploads.failpoints import failpoint
from uploads.models import Action, Event, File, Preview, PreviewState, State, Usage
from uploads.models.audit import event
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.services.bucket_guard import require_marker
from uploads.services.sweep.leases import back_off, free

logger = logging.getLogger(__name__)

BATCH_SIZE = 1000
PREVIEWS_BATCH_SIZE = 500
PREVIEW_LEASE_SECONDS = 120


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


def forget_orphans(*, should_continue: Callable[[], bool]) -> int:
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
    candidates = unfinished.filter(file__state=State.TRASHED).values_list("pk", flat=True)[:PREVIEWS_BATCH_SIZE]
    until = seconds_from_now(PREVIEW_LEASE_SECONDS)
    ids = [pk for pk in candidates if unfinished.filter(pk=pk).update(lease_until=until)]
    return list(Preview.objects.filter(pk__in=ids))
