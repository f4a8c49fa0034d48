"""Erase rows in `deleting`: first their multipart uploads and objects, then the rows."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Q

from amalga.log import field_value
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.failpoints import failpoint
from uploads.keys import ROW_PREFIXES
from uploads.models import Favorite, File, Origin, Preview, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.models.states import FAILED_CHECKSUMS
from uploads.s3.client import STORAGE_CONCURRENCY
from uploads.services.bucket_guard import require_own_bucket
from uploads.services.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

# URLs expire by the storage's clock, rows by the database's.
CLOCK_SKEW_MARGIN_SECONDS = 120
MAX_FILES_TO_LIST = 20


@dataclass
class EraseResult:
    """The erased and the failed files. The others wait for a presigned URL to expire, or for a preview being made."""

    removed: set[UUID] = field(default_factory=set)
    failed: dict[UUID, Exception] = field(default_factory=dict)


class _Stored(NamedTuple):
    """An object to delete, and the file that it belongs to. With an `etag`, only that exact object is deleted."""

    key: str
    store: str
    file_id: UUID
    etag: str = ""


def urls_expired() -> Q:
    """Return the condition that no presigned URL can still write the object of the row."""
    return Q(signed_until__isnull=True) | Q(signed_until__lt=seconds_from_now(-CLOCK_SKEW_MARGIN_SECONDS))


def erase(file: File) -> bool:
    """Delete the objects of a row in `deleting`, then the row, and return whether the row was deleted. Safe to repeat.

    While a presigned URL can still write to the key, the row stays, to be erased later, so that no object is ever
    without a row. Rows in other states are left alone. The object of an imported file is not ours and stays. Raises
    StorageUnavailable, also for a bucket that is not ours. While PURGE_PAUSED is on, nothing is deleted.
    """
    if settings.PURGE_PAUSED:
        return False
    rows = list(File.objects.filter(pk=file.pk, state=State.DELETING))
    for store in {row.store for row in rows}:
        require_own_bucket(store)
    result = erase_all(rows)
    for error in result.failed.values():
        raise error
    return bool(result.removed)


def erase_all(files: Sequence[File], *, breaker: CircuitBreaker | None = None) -> EraseResult:
    """Erase many rows that were just read in `deleting`, a state that no row leaves.

    One request deletes up to a thousand objects. One that fails does not stop the others. With `breaker`, an
    unavailable store is not called for every file. The caller has checked that the buckets are ours.
    """
    result = EraseResult()
    _abort_uploads(files, result.failed, breaker=breaker)
    failpoint("erase.1-parts-gone")
    previews = list(Preview.objects.filter(file__in=files).annotate(busy=_is_being_made()))
    busy = {preview.file_id for preview in previews if preview.busy}
    objects = [_Stored(file.key, file.store, file.pk, _etag(file)) for file in files if file.origin != Origin.IMPORTED]
    objects += [_Stored(preview.key, preview.store, preview.file_id) for preview in previews if not preview.busy]
    _delete_objects([item for item in objects if item.file_id not in result.failed], result.failed, breaker=breaker)
    failpoint("erase.2-object-gone")
    remaining = [file.pk for file in files if file.pk not in busy and file.pk not in result.failed]
    if previews:
        failpoint("erase.3-preview-object-gone")
        _in_batch_or_each(remaining, _delete_previews, result.failed)
    failpoint("erase.4-previews-gone")
    remaining = [pk for pk in remaining if pk not in result.failed]
    result.removed = _in_batch_or_each(remaining, _delete_rows, result.failed)
    failpoint("erase.5-row-gone")
    for pk in result.removed:
        logger.info("file_erased file=%s", pk)
    return result


def _etag(file: File) -> str:
    """Return the ETag that the object must still have to be deleted; empty for a key with a prefix of ours, and for a
    corrupted or missing file.

    Under other keys another program may have written a new object since the import, which stays.
    """
    is_intact = file.checksum_status not in FAILED_CHECKSUMS
    return file.etag if is_intact and not file.key.startswith(ROW_PREFIXES) else ""


def _is_being_made() -> Q:
    return Q(state=PreviewState.PENDING, lease_until__gte=seconds_from_now(0))


# --- the storage --------------------------------------------------------------------------------


def _abort_uploads(files: Sequence[File], failed: dict[UUID, Exception], *, breaker: CircuitBreaker | None) -> None:
    """Abort multipart uploads. The storage may have more than the row knows, begun by a process that died before it
    saved the id. For many files these are left to the sweep of orphaned multipart uploads, which saves a call each."""
    uploaded = [file for file in files if file.origin == Origin.UPLOADED]
    multipart = [file for file in uploaded if file.part_count > 1 or file.multipart_id]

    def abort(file: File) -> None:
        ids = {file.multipart_id} - {""}
        if not ids or len(multipart) <= MAX_FILES_TO_LIST:
            ids |= set(s3.multipart_ids(file.key, store=file.store))
        for multipart_id in ids:
            s3.abort_multipart(file.key, multipart_id, store=file.store)

    failed |= _run_each([(file.store, file.pk, partial(abort, file)) for file in multipart], breaker=breaker)


def _delete_objects(
    objects: Sequence[_Stored], failed: dict[UUID, Exception], *, breaker: CircuitBreaker | None
) -> None:
    """Delete objects in batches, or one by one where the storage fails for a batch."""
    by_store: dict[str, list[_Stored]] = defaultdict(list)
    for item in objects:
        by_store[item.store].append(item)
    for store, items in by_store.items():
        actions = [(store, item.file_id, partial(_delete_object, item)) for item in items]
        if len(items) == 1:
            failed |= _run_each(actions, breaker=breaker)
            continue
        try:
            if breaker:
                breaker.require(store)
            etags = {item.key: item.etag for item in items}
            errors = s3.delete_many([item.key for item in items], etags=etags, store=store)
            replaced = [item for item in items if item.etag and errors.get(item.key) == "PreconditionFailed"]
            for item in replaced:
                _log_replaced(item)
                del errors[item.key]
            failed |= {
                item.file_id: StorageUnavailable(f"DeleteObjects: {errors[item.key]}")
                for item in items
                if item.key in errors
            }
        except Exception as error:
            if isinstance(error, StorageUnavailable) and (breaker is None or breaker.record_failure(store)):
                failed |= {item.file_id: error for item in items}
            else:
                failed |= _run_each(actions, breaker=breaker)


def _delete_object(item: _Stored) -> None:
    if not s3.delete(item.key, etag=item.etag, store=item.store):
        _log_replaced(item)


def _log_replaced(item: _Stored) -> None:
    """Log that another object has replaced the file's; the file's own is gone, so its row can be deleted."""
    quoted = field_value(item.key)
    logger.warning("object_replaced file=%s key=%s: another object has this key now, and is kept", item.file_id, quoted)


def _run_each(
    work: Sequence[tuple[str, UUID, Callable[[], object]]], *, breaker: CircuitBreaker | None
) -> dict[UUID, Exception]:
    """Run the (store, file, action) items concurrently, and return the errors by file. An unavailable store is not
    called again."""

    def attempt(store: str, pk: UUID, action: Callable[[], object]) -> tuple[UUID, Exception | None]:
        try:
            if breaker:
                breaker.require(store)
            action()
        except Exception as error:
            if breaker and isinstance(error, StorageUnavailable):
                breaker.record_failure(store)
            return pk, error
        return pk, None

    if len(work) <= 1:
        results = [attempt(*item) for item in work]
    else:
        with ThreadPoolExecutor(STORAGE_CONCURRENCY) as pool:
            results = list(pool.map(lambda item: attempt(*item), work))
    return {pk: error for pk, error in results if error is not None}


# --- the rows -----------------------------------------------------------------------------------


def _delete_previews(ids: Sequence[UUID]) -> set[UUID]:
    Preview.objects.filter(file__in=ids).delete()
    return set(ids)


def _delete_rows(ids: Sequence[UUID]) -> set[UUID]:
    with transaction.atomic():
        rows = File.objects.filter(urls_expired(), pk__in=ids, state=State.DELETING).order_by("pk")
        series = dict(rows.select_for_update().values_list("pk", "series"))
        File.objects.filter(pk__in=series).delete()
        Favorite.objects.delete_orphaned(permanent_id or pk for pk, permanent_id in series.items())
    return set(series)


def _in_batch_or_each(
    ids: Sequence[UUID], action: Callable[[Sequence[UUID]], set[UUID]], failed: dict[UUID, Exception]
) -> set[UUID]:
    """Run the action for all ids at once; if the database refuses, for each alone, so that one stops no other.

    Returns the ids that it succeeded for.
    """
    if not ids:
        return set()
    succeeded: set[UUID] = set()
    try:
        return action(ids)
    except (DatabaseError, models.ProtectedError) as error:
        if not connection.is_usable():
            raise
        if len(ids) == 1:
            failed[ids[0]] = error
            return succeeded
    for pk in ids:
        succeeded |= _in_batch_or_each([pk], action, failed)
    return succeeded
