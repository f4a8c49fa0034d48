"""The one UPDATE that makes the copy count, and what becomes of a copy that may not."""

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
from uploads.services.content_encoding import new_encoding_fields
from uploads.services.move_store.copy import CopyResult, Route
from uploads.services.move_store.plan import STORED, UNFIT

logger = logging.getLogger(__name__)


def repoint_file(file: File, carried: CopyResult, way: Route, *, until: datetime) -> str:
    """Let the row name the copy, if it is still as it was when it was claimed. What came of it: `moved`; `gone` for a
    file that was erased meanwhile, whose copy goes too; `taken` by another row; or `again`, for a later try."""
    rows = File.objects.filter(pk=file.pk, store=way.source, etag=file.etag, state__in=STORED, lease_until=until)
    try:
        with transaction.atomic():
            switched = rows.update(**_facts(file, carried, way))
    except IntegrityError:  # the main store has this key in a row of its own
        return "taken"
    if switched:
        logger.info('file_moved file=%s from="%s" to="%s"', file.pk, way.source, way.target)
        return "moved"
    now = File.objects.filter(pk=file.pk).first()
    if now is None or (now.state == State.DELETING and now.store == way.source):
        return _take_back(file.key, way)
    return "again"


def repoint_preview(preview: Preview, way: Route, *, until: datetime) -> str:
    """As for files. Whoever erases a file locks its row before looking for its previews, and so do we."""
    with transaction.atomic():
        stored = File.objects.filter(pk=preview.file_id, state__in=STORED).select_for_update(no_key=True)
        rows = Preview.objects.filter(pk=preview.pk, store=way.source, state=PreviewState.READY, lease_until=until)
        if stored.exists() and rows.update(store=way.target, lease_until=Now()):
            return "moved"
    if not Preview.objects.filter(pk=preview.pk, store=way.target).exists():
        return _take_back(preview.key, way)
    return "again"


def note_damage(file: File, way: Route, *, until: datetime) -> None:
    """The bytes were read and are not the ones of the row; it stays where it is and says so."""
    rows = File.objects.filter(pk=file.pk, store=way.source, checksum=file.checksum, lease_until=until)
    if rows.update(checksum_basis=ChecksumStatus.DAMAGED, verified_at=Now(), updated_at=Now()):
        logger.error("file_verified file=%s basis=%s", file.pk, ChecksumStatus.DAMAGED.value)


def leave_missing(file: File, way: Route, *, until: datetime) -> str:
    """There is nothing to copy, and the operator knows: the row alone goes over."""
    rows = File.objects.filter(pk=file.pk, store=way.source, state__in=STORED, lease_until=until)
    facts: dict[str, Any] = {"checksum_basis": ChecksumStatus.MISSING, "updated_at": Now(), "lease_until": None}
    return "moved" if rows.update(store=way.target, **facts) else "again"


def remake_preview(preview: Preview, way: Route, *, until: datetime) -> str:
    """Its object is gone; a worker makes another, in the main store."""
    rows = Preview.objects.filter(pk=preview.pk, store=way.source, state=PreviewState.READY, lease_until=until)
    return "moved" if rows.update(store=way.target, state=PreviewState.MAKING, lease_until=Now()) else "again"


def switch_empty_previews(way: Route) -> None:
    """Previews that have no object, and no worker that may be making one."""
    left = Q(state=PreviewState.MAKING, lease_until__lte=Now())
    Preview.objects.filter(left | Q(state=PreviewState.FAILED), store=way.source).update(store=way.target)


def _facts(file: File, carried: CopyResult, way: Route) -> dict[str, Any]:
    facts: dict[str, Any] = {"store": way.target, "etag": carried.etag, "lease_until": None, "updated_at": Now()}
    facts |= new_encoding_fields(file, carried.content_encoding)
    if file.checksum_basis in UNFIT:
        return facts
    return facts | {
        "checksum": carried.checksum,
        # what nobody has read where it is now: `verify` does
        "checksum_basis": ChecksumStatus.STORE if carried.checked else ChecksumStatus.CLAIMED,
        "verified_at": None,
    }


def _take_back(key: str, way: Route) -> str:
    """No row will ever name this copy: keys are used once."""
    try:
        s3.delete(key, store=way.target)
    except StorageUnavailable:
        logger.warning('copy_left key=%s store="%s": fsck finds it', field_value(key), way.target)
    return "gone"
