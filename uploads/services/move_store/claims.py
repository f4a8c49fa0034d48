"""Which rows a run has claimed. A claim is a lease in the row: whoever is killed holds it for a minute at most."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Model, Q, QuerySet
from django.db.models.functions import Now

LEASE_SECONDS = 60
RENEW_SECONDS = 15


class Claims:
    """All of a run's claims end at one moment, which no other run has: it says whose they are. To be renewed."""

    def __init__(self, rows: QuerySet[Any]) -> None:
        self._rows = rows
        self._over = None if rows.model._meta.get_field("lease_until").null else Now()
        self._held: set[Any] = set()
        self.until = _end_of_lease()
        self._due = time.monotonic() + RENEW_SECONDS

    def take(self, ids: Iterable[Any]) -> list[Any]:
        """Those of these rows that nobody else holds and that are still to be moved, as they are now."""
        self.renew()
        wanted = self._rows.filter(pk__in=list(ids))
        self._set(wanted.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=Now())), self.until, skip_locked=True)
        had = list(wanted.filter(lease_until=self.until))
        self._held |= {row.pk for row in had}
        return had

    def renew(self) -> None:
        if time.monotonic() < self._due:
            return
        until = _end_of_lease()
        self._set(self._mine(), until)
        self.until, self._due = until, time.monotonic() + RENEW_SECONDS

    def drop(self, row: Model) -> None:
        """The row is settled: forget it, and end the claim where it still is one."""
        self._set(self._mine().filter(pk=row.pk), self._over)
        self._held.discard(row.pk)

    def drop_all(self) -> None:
        self._set(self._mine(), self._over)
        self._held.clear()

    def _set(self, rows: QuerySet[Any], until: Any, *, skip_locked: bool = False) -> None:
        """Rows are locked in one order, as everywhere: nobody waits for each other in a circle."""
        with transaction.atomic():
            locked = rows.order_by("pk").select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
            ids = list(locked.values_list("pk", flat=True))
            if ids:
                self._rows.model._default_manager.filter(pk__in=ids).update(lease_until=until)

    def _mine(self) -> QuerySet[Any]:
        mine: QuerySet[Any] = self._rows.model._default_manager.filter(pk__in=self._held, lease_until=self.until)
        return mine


def _end_of_lease() -> datetime:
    """By the database's clock, to the microsecond, of which chance chooses one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    moment: datetime = now + timedelta(seconds=LEASE_SECONDS, microseconds=random.randrange(10**6))  # noqa: S311
    return moment
