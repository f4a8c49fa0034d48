"""Switch a row to its copy with one conditional UPDATE, or delete the copy."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from amalga.log import field_value
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import ChecksumStatus, File, Preview, PreviewState, State
from uploads.services.move_store.copy import CopyResult, Route
from uploads.services.move_store.plan import STORED, UNFIT
from uploads.services.stored_objects import new_encoding_fields

logger = logging.getLogger(__name__)


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
    if file.checksum_status in UNFIT:
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
        logger.warning('copy_not_deleted key=%s store="%s": fsck finds it', field_value(key), route.target)
    return "gone"
