"""Which files are looked at, in which order. Rows are read by hundreds, never all at once."""

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

from uploads.models import ChecksumStatus, Figure, File, Kind, Origin, Status, apply_deltas
from uploads.models.querysets import FileQuerySet, database_now

BATCH = 200
ALL = Fraction(1)


@dataclass
class Candidate:
    """The files of one run, how many and how large they are together: about, of many, and not at all where nobody
    asked. `failed` may be counted up meanwhile: so many others are taken instead, so that files that cannot be read
    do not take the place of the rest night after night. None among the files: no more, unless one fails."""

    files: Iterator[File | None]
    total: int | None = None
    total_bytes: int | None = None
    failed: int = 0


def named(ids: Sequence[UUID]) -> Candidate:
    """Of those that are available, by id."""
    rows = File.objects.available().filter(pk__in=ids)
    figures = rows.aggregate(files=Count("pk"), bytes=Sum("size", default=0))
    return Candidate(_by_id(rows, "pk"), figures["files"], figures["bytes"])


def unverified_claims() -> Candidate:
    """Files whose announced checksum was not checked yet, except those that the storage is known to refuse."""
    return Candidate(_by_id(_unrefused().filter(checksum_basis=ChecksumStatus.CLAIMED), "pk"))


def unverified() -> Candidate:
    """`claims`, and imported files that were never read. Each has its own index."""
    imported = _unrefused().filter(checksum_basis=ChecksumStatus.UNREAD).exclude(origin=Origin.UPLOADED)
    return Candidate(chain(unverified_claims().files, _by_id(imported, "pk")))


def least_recent(fraction: Fraction = ALL) -> Candidate:
    """This fraction of all available files, rounded up, those first that were not read for longest: so many runs in
    turn read every one. A part leaves out the files that the storage is known to refuse; all are all."""
    apply_deltas()
    stored = Figure.objects.filter(kind=Kind.TOTAL, status__in=[Status.STORED, Status.VERSION])
    figures = stored.aggregate(files=Sum("files", default=0), bytes=Sum("bytes", default=0))
    most = math.ceil(figures["files"] * fraction) if fraction < 1 else None
    chosen = Candidate(iter(()), math.ceil(figures["files"] * fraction), math.ceil(figures["bytes"] * fraction))
    rows = File.objects.available() if most is None else _unrefused()
    chosen.files = _least_recent(rows, chosen, database_now(), most)
    return chosen


_ORDER = (F("verified_at").asc(nulls_first=True), "pk")


def _by_id(rows: FileQuerySet, *order: Any) -> Iterator[File]:
    last: Any = None
    while batch := list((rows.filter(pk__gt=last) if last else rows).order_by(*order)[:BATCH]):
        yield from batch
        last = batch[-1].pk


def _unrefused() -> FileQuerySet:
    return File.objects.available().filter(refusal="")


def _least_recent(rows: FileQuerySet, chosen: Candidate, since: datetime, most: int | None) -> Iterator[File | None]:
    """Two ranges of one index: files that were never read, then the others by the time of their last reading."""
    taken = 0
    never_read = rows.filter(verified_at__isnull=True)
    for files in (_by_id(never_read, *_ORDER), _by_time(rows, since)):
        for file in files:
            while most is not None and taken - chosen.failed >= most:
                yield None
            taken += 1
            yield file


def _by_time(rows: FileQuerySet, since: datetime) -> Iterator[File]:
    rows = rows.filter(verified_at__lt=since).order_by(*_ORDER)
    last: File | None = None
    while True:
        left = rows
        if last is not None:
            behind = Q(verified_at__gt=last.verified_at) | Q(verified_at=last.verified_at, pk__gt=last.pk)
            left = rows.filter(behind, verified_at__gte=last.verified_at)
        batch = list(left[:BATCH])
        if not batch:
            return
        yield from batch
        last = batch[-1]
