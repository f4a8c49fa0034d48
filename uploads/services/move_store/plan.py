"""Count what there is to move, and check that the two stores allow it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet, Sum

from amalga.db import DAY_SECONDS, statement_timeout
from uploads import s3
from uploads.errors import ValidationFailed
from uploads.models import ChecksumStatus, File, Preview, PreviewState, State

STORED = [State.AVAILABLE, State.TRASHED]
UNFIT = [ChecksumStatus.CORRUPTED, ChecksumStatus.MISSING]
PROBE = "amalga-probe-"
EMPTY = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # SHA-256 of zero bytes


@dataclass(frozen=True, slots=True)
class MovePlan:
    """The rows of the other store.

    `files` can be moved; `unfit` are corrupted or missing, and stay unless requested; `in_progress` are active uploads,
    which complete where they started, and files that are being erased. `elsewhere` are in a store that no setting
    names.
    """

    files: int
    bytes: int
    previews: int
    unfit: int
    in_progress: int
    elsewhere: int

    @property
    def remaining(self) -> int:
        return self.files + self.unfit + self.in_progress + self.previews


def both_stores() -> tuple[s3.Store, s3.Store]:
    """Return the store to move from and the one to move to. Raises ValidationFailed if there is only one."""
    other = s3.secondary_store()
    if other is None:
        raise ValidationFailed(
            "There is only one store. Files are moved from the one of SECONDARY_S3_BUCKET, SECONDARY_S3_STORE_NAME and "
            "so on to the one of AWS_STORAGE_BUCKET_NAME: set these first, for every process."
        )
    return other, s3.main_store()


def require_two_buckets() -> None:
    """Raise ValidationFailed if both stores are the same bucket: its only objects would be deleted as moved."""
    source, target = both_stores()
    key = f"{PROBE}{uuid.uuid4().hex}"
    s3.put(key, b"", sha256=EMPTY, store=target.name)
    try:
        if s3.head(key, store=source.name) is not None:
            raise ValidationFailed(
                "SECONDARY_S3_BUCKET and AWS_STORAGE_BUCKET_NAME are one and the same bucket. Nothing was done: name "
                "two."
            )
    finally:
        s3.delete(key, store=target.name)


def movable_files(source: s3.Store, *, unfit: bool) -> QuerySet[File]:
    rows = File.objects.filter(store=source.name, state__in=STORED)
    return rows if unfit else rows.exclude(checksum_status__in=UNFIT)


def movable_previews(source: s3.Store) -> QuerySet[Preview]:
    return Preview.objects.filter(store=source.name, state=PreviewState.READY, file__state__in=STORED)


def plan_move(*, unfit: bool = False) -> MovePlan:
    """Return the current counts. Reads every row once, which takes seconds for millions."""
    source, target = both_stores()
    with statement_timeout(DAY_SECONDS):
        in_source = File.objects.filter(store=source.name)
        totals = movable_files(source, unfit=unfit).aggregate(files=Count("pk"), bytes=Sum("size", default=0))
        counts = in_source.aggregate(
            unfit=Count("pk", filter=Q(state__in=STORED, checksum_status__in=[] if unfit else UNFIT)),
            in_progress=Count("pk", filter=~Q(state__in=STORED)),
        )
        elsewhere = File.objects.exclude(store__in=[source.name, target.name]).count()
        return MovePlan(
            previews=Preview.objects.filter(store=source.name).count(), elsewhere=elsewhere, **totals, **counts
        )
