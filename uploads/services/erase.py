"""Let go of rows in `deleting`: first all that the store has of them, then the rows."""

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
from uploads.models import ChecksumStatus, File, Origin, Preview, PreviewState, State
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_owner import require_own_bucket
from uploads.services.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

# A URL lives by the store's clock, a row by the database's.
MAX_CLOCK_SKEW_SECONDS = 120
STORAGE_CONCURRENCY = 8
FEW = 20
OWN_PREFIXES = ("f/", "p/")


@dataclass
class EraseResult:
    """How it went; what is in neither waits: for a URL that may still bring bytes, or a preview that is being made."""

    gone: set[UUID] = field(default_factory=set)
    failed: dict[UUID, Exception] = field(default_factory=dict)


class _Stored(NamedTuple):
    """An object that has to go, and the file whose row it keeps. With an `etag`, only that very object."""

    key: str
    store: str
    file_id: UUID
    etag: str = ""


def no_live_urls() -> Q:
    """No URL can bring bytes to such a row any more."""
    return Q(signed_until__isnull=True) | Q(signed_until__lt=seconds_from_now(-MAX_CLOCK_SKEW_SECONDS))


def erase(file: File) -> bool:
    """Remove what the store has of a row in `deleting`, then the row. Safe to repeat.

    While a signed URL may still bring bytes to the key, the row stays: False, to be repeated later.
    So no object is ever without a row. A row that is not in `deleting` keeps all it has. The object of an imported
    file is not ours and stays. Raises StorageUnavailable, also for a bucket that is not ours: nothing would be removed.
    While PURGE_PAUSED is on, everything stays.
    """
    if settings.PURGE_PAUSED:
        return False
    rows = list(File.objects.filter(pk=file.pk, state=State.DELETING))
    for store in {row.store for row in rows}:
        require_own_bucket(store)
    erased = erase_all(rows)
    for fault in erased.failed.values():
        raise fault
    return bool(erased.gone)


def erase_all(files: Sequence[File], *, watch: CircuitBreaker | None = None) -> EraseResult:
    """As `erase`, for many rows that were just read in `deleting`, a state that nothing leaves: one request removes
    up to a thousand objects. One that fails stops no other.

    With `watch`, a store that is away is not asked for every file. Whoever calls this knows that the buckets are ours.
    """
    erased = EraseResult()
    _end_uploads(files, erased.failed, watch=watch)
    failpoint("erase.1-parts-gone")
    made = list(Preview.objects.filter(file__in=files).annotate(busy=_being_made()))
    busy = {preview.file_id for preview in made if preview.busy}
    objects = [_Stored(file.key, file.store, file.pk, _etag(file)) for file in files if file.origin != Origin.IMPORTED]
    objects += [_Stored(preview.key, preview.store, preview.file_id) for preview in made if not preview.busy]
    _remove_objects([it for it in objects if it.file_id not in erased.failed], erased.failed, watch=watch)
    failpoint("erase.2-object-gone")
    left = [file.pk for file in files if file.pk not in busy and file.pk not in erased.failed]
    if made:
        failpoint("erase.3-preview-object-gone")
        _at_once_or_each(left, _forget_previews, erased.failed)
    failpoint("erase.4-previews-gone")
    left = [pk for pk in left if pk not in erased.failed]
    erased.gone = _at_once_or_each(left, _remove_rows, erased.failed)
    failpoint("erase.5-row-gone")
    for pk in erased.gone:
        logger.info("file_erased file=%s", pk)
    return erased


def _etag(file: File) -> str:
    """That of the object that was imported, when its key is not of our making: another program may have written another
    file there since, which stays. Under a key of ours everything has to go, whatever it is."""
    is_common_password = file.checksum_basis not in {ChecksumStatus.DAMAGED, ChecksumStatus.MISSING}
    return file.etag if is_common_password and not file.key.startswith(OWN_PREFIXES) else ""


def _being_made() -> Q:
    return Q(state=PreviewState.MAKING, lease_until__gte=seconds_from_now(0))


# --- the store ----------------------------------------------------------------------------------


def _end_uploads(files: Sequence[File], failed: dict[UUID, Exception], *, watch: CircuitBreaker | None) -> None:
    """Abort what was begun in parts. A row may know one and the store another, begun by somebody who died before the
    row was told: of many files those are left to the search for strays, for it is a call more for each."""
    ours = [file for file in files if file.origin == Origin.UPLOADED and (file.part_count > 1 or file.multipart_id)]

    def end(file: File) -> None:
        known = {file.multipart_id} - {""}
        if not known or len(ours) <= FEW:
            known |= set(s3.multipart_ids(file.key, store=file.store))
        for multipart_id in known:
            s3.abort_multipart(file.key, multipart_id, store=file.store)

    failed |= _delete_one_by_one([(file.store, file.pk, partial(end, file)) for file in ours], watch=watch)


def _remove_objects(objects: Sequence[_Stored], failed: dict[UUID, Exception], *, watch: CircuitBreaker | None) -> None:
    """Together; a store that does not take them together is given one after the other."""
    by_store: dict[str, list[_Stored]] = defaultdict(list)
    for stored in objects:
        by_store[stored.store].append(stored)
    for store, its in by_store.items():
        each = [(store, it.file_id, partial(_remove_object, it)) for it in its]
        if len(its) == 1:
            failed |= _delete_one_by_one(each, watch=watch)
            continue
        try:
            if watch:
                watch.require(store)
            left = s3.delete_many([it.key for it in its], etags={it.key: it.etag for it in its}, store=store)
            replaced = [it for it in its if it.etag and left.get(it.key) == "PreconditionFailed"]
            for it in replaced:
                _log_replaced(it)
                del left[it.key]
            failed |= {it.file_id: StorageUnavailable(f"DeleteObjects: {left[it.key]}") for it in its if it.key in left}
        except Exception as fault:
            if isinstance(fault, StorageUnavailable) and (watch is None or watch.doubt(store)):
                failed |= {it.file_id: fault for it in its}
            else:
                failed |= _delete_one_by_one(each, watch=watch)


def _remove_object(it: _Stored) -> None:
    if not s3.delete(it.key, etag=it.etag, store=it.store):
        _log_replaced(it)


def _log_replaced(it: _Stored) -> None:
    """The object of the row is gone already, so that the row can go too."""
    quoted = field_value(it.key)
    logger.warning("object_replaced file=%s key=%s: another object was written there; it stays", it.file_id, quoted)


def _delete_one_by_one(
    work: Sequence[tuple[str, UUID, Callable[[], object]]], *, watch: CircuitBreaker | None
) -> dict[UUID, Exception]:
    """Do it for each (store, file, what to do), several at once; what went wrong. A store that is away is asked no
    more."""

    def one(store: str, pk: UUID, act: Callable[[], object]) -> tuple[UUID, Exception | None]:
        try:
            if watch:
                watch.require(store)
            act()
        except Exception as fault:
            if watch and isinstance(fault, StorageUnavailable):
                watch.doubt(store)
            return pk, fault
        return pk, None

    if len(work) <= 1:
        tried = [one(*item) for item in work]
    else:
        with ThreadPoolExecutor(STORAGE_CONCURRENCY) as pool:
            tried = list(pool.map(lambda item: one(*item), work))
    return {pk: fault for pk, fault in tried if fault is not None}


# --- the rows -----------------------------------------------------------------------------------


def _forget_previews(ids: Sequence[UUID]) -> set[UUID]:
    Preview.objects.filter(file__in=ids).delete()
    return set(ids)


def _remove_rows(ids: Sequence[UUID]) -> set[UUID]:
    with transaction.atomic():
        rows = File.objects.filter(no_live_urls(), pk__in=ids, state=State.DELETING).order_by("pk")
        gone = set(rows.select_for_update().values_list("pk", flat=True))
        File.objects.filter(pk__in=gone).delete()
    return gone


def _at_once_or_each(
    ids: Sequence[UUID], act: Callable[[Sequence[UUID]], set[UUID]], failed: dict[UUID, Exception]
) -> set[UUID]:
    """Do it for all in one go; if the database refuses that, for each by itself, so that one stops no other."""
    if not ids:
        return set()
    done: set[UUID] = set()
    try:
        return act(ids)
    except (DatabaseError, models.ProtectedError) as fault:
        if not connection.is_usable():
            raise
        if len(ids) == 1:
            failed[ids[0]] = fault
            return done
    for pk in ids:
        done |= _at_once_or_each([pk], act, failed)
    return done
