"""Which rows a sweep takes up now, and when it comes back to those that it could not bring to their end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now

from uploads.models import File
from uploads.models.querysets import FileQuerySet, seconds_from_now

# Longer than a batch takes; then those of a sweep that was killed are anybody's.
LEASE_SECONDS = 120
# A row that failed once is tried again by the next sweep, then after these, doubling from the first to the last.
MIN_BACKOFF_SECONDS = 60
MAX_BACKOFF_SECONDS = 6 * 3600


def free(rows: FileQuerySet, *, since: datetime) -> FileQuerySet:
    """Those of the rows that nobody has taken up since then, or put off beyond it."""
    return rows.filter(Q(retry_at__isnull=True) | Q(retry_at__lte=since))


def acquire(rows: FileQuerySet, *, since: datetime, most: int) -> list[File]:
    """Up to `most` of the free rows, the longest waiting first, for the length of a lease: nobody else gets them.

    No lock is held when it returns.
    """
    with transaction.atomic():
        locked = free(rows, since=since).order_by("updated_at").select_for_update(skip_locked=True, no_key=True)
        taken = list(locked[:most])
        File.objects.filter(pk__in=[file.pk for file in taken]).update(retry_at=seconds_from_now(LEASE_SECONDS))
    return taken


def back_off(files: Iterable[File]) -> None:
    """They failed: each is tried again after a pause that grows from failure to failure."""
    by_tries: dict[int, list[File]] = defaultdict(list)
    for file in files:
        by_tries[file.tries].append(file)
    for tries, its in by_tries.items():
        rows = File.objects.filter(pk__in=[file.pk for file in its])
        rows.update(retry_at=seconds_from_now(pause_seconds(tries)), tries=tries + 1)


def pause_seconds(tries: int) -> float:
    """After so many failures before this one."""
    return min(float(MAX_BACKOFF_SECONDS), MIN_BACKOFF_SECONDS * (2.0 ** min(tries, 20) - 1))


def put_back(files: Iterable[File], *, looked_at: bool = False) -> None:
    """It was not their fault, or nothing is wrong: the next sweep may take them up. `looked_at` keeps in mind that one
    did all that can be done for now."""
    facts = {"tries": Greatest(F("tries"), 1)} if looked_at else {}
    File.objects.filter(pk__in=[file.pk for file in files]).update(retry_at=Now(), **facts)
