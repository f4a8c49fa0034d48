"""Select the files to verify, and their order. Rows are read by hundreds, never all at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import Count, F, Q, Sum

from uploads.models import ChecksumStatus, File, Kind, Origin, Statistic, Status, apply_deltas
from uploads.models.querysets import FileQuerySet, database_now, in_batches

BATCH = 200
ALL = Fraction(1)


@dataclass
class Selection:
    """The files of one run, and their number and bytes: estimates for many files, None if not computed.

    The run increments `failed`; as many other files are then selected instead, so that unreadable files do not replace
    others night after night. `files` yields None while nothing is left unless another file fails.
    """

    files: Iterator[File | None]
    total: int | None = None
    total_bytes: int | None = None
    failed: int = 0


def by_ids(ids: Sequence[UUID]) -> Selection:
    """Select available files by id."""
    rows = File.objects.available().filter(pk__in=ids)
    totals = rows.aggregate(files=Count("pk"), bytes=Sum("size", default=0))
    return Selection(_each(rows, "pk"), totals["files"], totals["bytes"])


def unverified_checksums() -> Selection:
    """Select files with an unverified checksum, except those that the storage is known to refuse."""
    return Selection(_each(_unrefused().unverified(), "pk"))


def unverified() -> Selection:
    """Select files with an unverified checksum, and imported files that have none yet. Each has its own index."""
    without_checksum = _unrefused().filter(checksum_status=ChecksumStatus.UNVERIFIED, checksum="")
    imported = without_checksum.exclude(origin=Origin.UPLOADED)
    return Selection(chain(unverified_checksums().files, _each(imported, "pk")))


def least_recent(fraction: Fraction = ALL) -> Selection:
    """Select this fraction of all available files, rounded up, the least recently verified first.

    Successive runs thus read every file. A fraction below 1 skips the files that the storage is known to refuse.
    """
    apply_deltas()
    stored = Statistic.objects.filter(kind=Kind.TOTAL, status__in=[Status.STORED, Status.VERSION])
    totals = stored.aggregate(files=Sum("files", default=0), bytes=Sum("bytes", default=0))
    limit = math.ceil(totals["files"] * fraction) if fraction < 1 else None
    selection = Selection(iter(()), math.ceil(totals["files"] * fraction), math.ceil(totals["bytes"] * fraction))
    rows = File.objects.available() if limit is None else _unrefused()
    selection.files = _least_recent(rows, selection, database_now(), limit)
    return selection


_ORDER = (F("verified_at").asc(nulls_first=True), "pk")


def _each(rows: FileQuerySet, *order: Any) -> Iterator[File]:
    return chain.from_iterable(in_batches(rows, BATCH, order=order))


def _unrefused() -> FileQuerySet:
    return File.objects.available().filter(refusal="")


def _least_recent(
    rows: FileQuerySet, selection: Selection, since: datetime, limit: int | None
) -> Iterator[File | None]:
    """Yield files that were never verified, then the others by their last verification: two ranges of one index."""
    taken = 0
    never_read = rows.filter(verified_at__isnull=True)
    for files in (_each(never_read, *_ORDER), _by_time(rows, since)):
        for file in files:
            while limit is not None and taken - selection.failed >= limit:
                yield None
            taken += 1
            yield file


def _by_time(rows: FileQuerySet, since: datetime) -> Iterator[File]:
    rows = rows.filter(verified_at__lt=since).order_by(*_ORDER)
    last: File | None = None
    while True:
        page = rows
        if last is not None:
            after_last = Q(verified_at__gt=last.verified_at) | Q(verified_at=last.verified_at, pk__gt=last.pk)
            page = rows.filter(after_last, verified_at__gte=last.verified_at)
        batch = list(page[:BATCH])
        if not batch:
            return
        yield from batch
        last = batch[-1]
