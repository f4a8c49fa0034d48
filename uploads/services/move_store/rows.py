"""The rows of a move: count them, lease them, and switch each to its copy with one conditional UPDATE."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Model, Q, QuerySet, Sum
from django.db.models.functions import Now

from amalga.db import DAY_SECONDS, statement_timeout
from amalga.log import field_value
from uploads import s3
from uploads.errors import StorageUnavailable, ValidationFailed
from uploads.models import ChecksumStatus, File, Preview, PreviewState, State
from uploads.models.querysets import database_now
from uploads.models.states import FAILED_CHECKSUMS, STORED
from uploads.services.move_store.copy import CopyResult, Route
from uploads.services.stored_objects import new_encoding_fields

logger = logging.getLogger(__name__)

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
            "There is no secondary storage. Set SECONDARY_S3_BUCKET and the other SECONDARY_S3_* variables for all "
            "processes. Files move from there to AWS_STORAGE_BUCKET_NAME."
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
                "SECONDARY_S3_BUCKET and AWS_STORAGE_BUCKET_NAME are the same bucket. Set them to two buckets."
            )
    finally:
        s3.delete(key, store=target.name)


def movable_files(source: s3.Store, *, unfit: bool) -> QuerySet[File]:
    rows = File.objects.filter(store=source.name, state__in=STORED)
    return rows if unfit else rows.exclude(checksum_status__in=FAILED_CHECKSUMS)


def movable_previews(source: s3.Store) -> QuerySet[Preview]:
    return Preview.objects.filter(store=source.name, state=PreviewState.READY, file__state__in=STORED)


def plan_move(*, unfit: bool = False) -> MovePlan:
    """Return the current counts. Reads every row once, which takes seconds for millions."""
    source, target = both_stores()
    with statement_timeout(DAY_SECONDS):
        in_source = File.objects.filter(store=source.name)
        totals = movable_files(source, unfit=unfit).aggregate(files=Count("pk"), bytes=Sum("size", default=0))
        counts = in_source.aggregate(
            unfit=Count("pk", filter=Q(state__in=STORED, checksum_status__in=[] if unfit else FAILED_CHECKSUMS)),
            in_progress=Count("pk", filter=~Q(state__in=STORED)),
        )
        elsewhere = File.objects.exclude(store__in=[source.name, target.name]).count()
        return MovePlan(
            previews=Preview.objects.filter(store=source.name).count(), elsewhere=elsewhere, **totals, **counts
        )


def repoint_file(file: File, copy: CopyResult, route: Route, *, until: datetime) -> str:
    """Switch the row to the copy, if the row has not changed since it was leased. Return the outcome.

    `moved`; `gone` for a file that was erased, whose copy is then deleted; `taken` if another row has the key; or
    `again`, to retry later.
    """
    rows = File.objects.filter(pk=file.pk, store=route.source, etag=file.etag, state__in=STORED, lease_until=until)
    try:
        with transaction.atomic():
            switched = rows.update(**_row_values(file, copy, route))
    except IntegrityError:  # another row has this key in the main store
        return "taken"
    if switched:
        logger.info('file_moved file=%s from="%s" to="%s"', file.pk, route.source, route.target)
        return "moved"
    current = File.objects.filter(pk=file.pk).first()
    if current is None or (current.state == State.DELETING and current.store == route.source):
        return _delete_copy(file.key, route)
    return "again"


def repoint_preview(preview: Preview, route: Route, *, until: datetime) -> str:
    """Switch a preview as `repoint_file` does. The file's row is locked first, as before an erase."""
    with transaction.atomic():
        stored = File.objects.filter(pk=preview.file_id, state__in=STORED).select_for_update(no_key=True)
        rows = Preview.objects.filter(pk=preview.pk, store=route.source, state=PreviewState.READY, lease_until=until)
        if stored.exists() and rows.update(store=route.target, lease_until=Now()):
            return "moved"
    if not Preview.objects.filter(pk=preview.pk, store=route.target).exists():
        return _delete_copy(preview.key, route)
    return "again"


def note_damage(file: File, route: Route, *, until: datetime) -> None:
    """Mark a file as corrupted whose bytes were read and differ from its row. It is not moved."""
    rows = File.objects.filter(pk=file.pk, store=route.source, checksum=file.checksum, lease_until=until)
    if rows.update(checksum_status=ChecksumStatus.CORRUPTED, verified_at=Now(), updated_at=Now()):
        logger.error("file_verified file=%s status=%s", file.pk, ChecksumStatus.CORRUPTED.value)


def leave_missing(file: File, route: Route, *, until: datetime) -> str:
    """Switch the row of a missing file, without an object, as the operator requested."""
    rows = File.objects.filter(pk=file.pk, store=route.source, state__in=STORED, lease_until=until)
    values: dict[str, Any] = {"checksum_status": ChecksumStatus.MISSING, "updated_at": Now(), "lease_until": None}
    return "moved" if rows.update(store=route.target, **values) else "again"


def remake_preview(preview: Preview, route: Route, *, until: datetime) -> str:
    """Request a preview again whose object is missing; a worker makes it in the main store."""
    rows = Preview.objects.filter(pk=preview.pk, store=route.source, state=PreviewState.READY, lease_until=until)
    return "moved" if rows.update(store=route.target, state=PreviewState.PENDING, lease_until=Now()) else "again"


def switch_empty_previews(route: Route) -> None:
    """Switch previews that have no object, and that no worker is making."""
    abandoned = Q(state=PreviewState.PENDING, lease_until__lte=Now())
    Preview.objects.filter(abandoned | Q(state=PreviewState.FAILED), store=route.source).update(store=route.target)


def _row_values(file: File, copy: CopyResult, route: Route) -> dict[str, Any]:
    values: dict[str, Any] = {"store": route.target, "etag": copy.etag, "lease_until": None, "updated_at": Now()}
    values |= new_encoding_fields(file, copy.content_encoding)
    if file.checksum_status in FAILED_CHECKSUMS:
        return values
    return values | {
        "checksum": copy.checksum,
        # not read yet in its new location: `verify` does that
        "checksum_status": ChecksumStatus.VERIFIED_BY_STORAGE if copy.checked else ChecksumStatus.UNVERIFIED,
        "verified_at": None,
    }


def _delete_copy(key: str, route: Route) -> str:
    """Delete a copy that no row will ever name, because keys are used once."""
    try:
        s3.delete(key, store=route.target)
    except StorageUnavailable:
        logger.warning('copy_not_deleted key=%s store="%s": fsck will report it', field_value(key), route.target)
    return "gone"


LEASE_SECONDS = 60
RENEW_SECONDS = 15


class Leases:
    """The leases of a run. All end at one moment, which no other run has, so that it identifies their owner.

    Call `renew` regularly.
    """

    def __init__(self, rows: QuerySet[Any]) -> None:
        self._rows = rows
        self._released_value = None if rows.model._meta.get_field("lease_until").null else Now()
        self._leased_ids: set[Any] = set()
        self.until = _end_of_lease()
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def acquire(self, ids: Iterable[Any]) -> list[Any]:
        """Lease the rows that no other run has leased and that are still to be moved. Return the current rows."""
        self.renew()
        requested = self._rows.filter(pk__in=list(ids))
        self._set(
            requested.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=Now())), self.until, skip_locked=True
        )
        leased = list(requested.filter(lease_until=self.until))
        self._leased_ids |= {row.pk for row in leased}
        return leased

    def renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        until = _end_of_lease()
        self._set(self._own_rows(), until)
        self.until, self._renew_at = until, time.monotonic() + RENEW_SECONDS

    def release(self, row: Model) -> None:
        """Release the lease of a finished row, if the run still has it."""
        self._set(self._own_rows().filter(pk=row.pk), self._released_value)
        self._leased_ids.discard(row.pk)

    def release_all(self) -> None:
        self._set(self._own_rows(), self._released_value)
        self._leased_ids.clear()

    def _set(self, rows: QuerySet[Any], until: Any, *, skip_locked: bool = False) -> None:
        """Set the end of the leases. Rows are locked in primary key order, as everywhere, to avoid deadlocks."""
        with transaction.atomic():
            locked = rows.order_by("pk").select_for_update(no_key=True, skip_locked=skip_locked, of=("self",))
            ids = list(locked.values_list("pk", flat=True))
            if ids:
                self._rows.model._default_manager.filter(pk__in=ids).update(lease_until=until)

    def _own_rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self._rows.model._default_manager.filter(pk__in=self._leased_ids, lease_until=self.until)
        return rows


def _end_of_lease() -> datetime:
    """Return the end of a new lease by the database's clock, with random microseconds to make it unique."""
    return database_now() + timedelta(seconds=LEASE_SECONDS, microseconds=random.randrange(10**6))  # noqa: S311
