"""Leases on the rows that a sweep works on, and the backoff for rows that failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now

from uploads.models import File
from uploads.models.querysets import FileQuerySet, seconds_from_now

# Longer than a batch takes. Afterwards other sweeps can take the rows of one that was killed.
LEASE_SECONDS = 120
# The next sweep retries a row that failed once; later pauses double from the first of these to the last.
MIN_BACKOFF_SECONDS = 60
MAX_BACKOFF_SECONDS = 6 * 3600


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
