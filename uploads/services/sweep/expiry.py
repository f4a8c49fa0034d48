"""Move what is overdue or due for the purge to `deleting`, many rows in one transaction."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from uploads.failpoints import failpoint
from uploads.models import Action, Event, File, Usage
from uploads.models.audit import event
from uploads.models.querysets import FileQuerySet
from uploads.services.sweep.leases import back_off, free

logger = logging.getLogger(__name__)

BATCH = 1000


def expire(rows: FileQuerySet, owner_id: Any) -> int:
    had = rows.discard(owner_id=owner_id)
    failpoint("expire.1-discarded")
    return had


def purge(rows: FileQuerySet, owner_id: Any) -> int:
    with transaction.atomic():
        Usage.objects.locked(owner_id)
        files = list(rows.filter(owner_id=owner_id).order_by("pk").select_for_update(no_key=True))
        had = rows.discard(owner_id=owner_id)
        failpoint("purge.1-discarding")
        Event.objects.bulk_create([event(Action.PURGE, file=file, size=file.size) for file in files])
    failpoint("purge.2-discarded")
    return had


class Discards:
    """One kind of discard, batch by batch. `busy` when owners were passed by, because somebody else held them."""

    def __init__(
        self,
        what: str,
        rows: Callable[[], FileQuerySet],
        discard: Callable[[FileQuerySet, Any], int],
        counts: Counter[str],
    ) -> None:
        self.busy = False
        self._what = what
        self._rows = rows
        self._discard = discard
        self._counts = counts

    def some(self, *, since: datetime, patient: bool, go_on: Callable[[], bool]) -> None:
        """Discard a batch each of some owners. Owners whose usage is locked are passed by or, if `patient`, waited
        for: several sweeps share the owners, and each goes on with what it can have."""
        self.busy = False
        owners = set(free(self._rows(), since=since).values_list("owner_id", flat=True)[:BATCH])
        for owner_id in sorted(owners):
            if not go_on():
                return
            self._some_of(owner_id, since=since, patient=patient)

    def _some_of(self, owner_id: Any, *, since: datetime, patient: bool) -> None:
        ids: list[UUID] = []
        try:
            with transaction.atomic():
                if not Usage.objects.locked_for_batch(owner_id, patient=patient):
                    self.busy = True
                    return
                rows = free(self._rows(), since=since).filter(owner_id=owner_id)
                ids = list(rows.values_list("pk", flat=True)[:BATCH])
                had = self._discard(self._rows().filter(pk__in=ids), owner_id)
            self._counts[self._what] += had
        except DatabaseError as fault:
            if not connection.is_usable():
                raise
            self._failed(ids, owner_id, fault)

    def _failed(self, ids: Sequence[UUID], owner_id: Any, fault: DatabaseError) -> None:
        """Something is wrong with one of them, or with their number: each by itself, so that one stops no other."""
        if len(ids) == 1:
            back_off(File.objects.filter(pk__in=ids))
            self._counts["failed"] += 1
        if len(ids) <= 1:  # without any, somebody holds the owner's usage for long: the next sweep has them
            told = f"file={ids[0]}" if ids else f"owner={owner_id}"
            logger.warning("sweep_failed %s step=%s fault=%s", told, self._what, type(fault).__name__)
            return
        for pk in ids:
            try:
                self._counts[self._what] += self._discard(self._rows().filter(pk=pk), owner_id)
            except DatabaseError as its_own:
                self._failed([pk], owner_id, its_own)
