"""Remove originals from the other store after their rows were moved."""

from __future__ import annotations

import logging
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import models
from django.db.models.functions import Now

from amalga.log import field_value
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.keys import ROW_KEY, ROW_PREFIXES
from uploads.models import File, Installation, Origin, Preview
from uploads.services.move_store.rows import both_stores

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cleared:
    """The outcome for an object of the other store.

    `removed` (or, in a dry run, removable), `young` if its row was moved or changed too recently, `here` if its row has
    not moved, `orphan` without a row, `kept` for an imported original, or one that is not provably the copied object,
    and `failed` if the copy is missing or differs.
    """

    key: str
    size: int
    outcome: str


def remove_originals(*, apply: bool, hours: int, imported: bool, parallel: int = 4) -> Generator[Cleared]:
    """Yield the outcome for each object in the other store.

    An original is only removed if its row has named the main store for `hours`, and the copy now has the row's size
    and ETag. Keys that Amalga did not generate prove nothing, as another bucket can have another object there: their
    copy must have our tag, and the original must still be the copied object. Safe to repeat. Raises
    StorageUnavailable.

    `imported` includes originals that were imported with a bucket; otherwise they are not even listed.
    """
    source, target = both_stores()
    since = timedelta(hours=hours)
    check = partial(
        _outcome_by_objects, source=source.name, target=target.name, own_id=str(Installation.objects.own_id())
    )
    with ThreadPoolExecutor(parallel) as workers:
        for prefix in [""] if imported else ROW_PREFIXES:
            for page in s3.list_objects(prefix, store=source.name):
                states = _row_states(page.keys, source, target, since)
                outcomes = {item.key: _outcome_by_row(states.get(item.key), imported=imported) for item in page}
                removable = [key for key, outcome in outcomes.items() if outcome == "removed"]
                outcomes |= zip(
                    removable, workers.map(check, removable, [states[key] for key in removable]), strict=True
                )
                etags = {item.key: item.etag for item in page if outcomes[item.key] == "removed"}
                failed_keys = _remove(etags, source.name) if apply else set()
                outcomes |= dict.fromkeys(failed_keys, "failed")
                yield from (Cleared(item.key, item.size, outcomes[item.key]) for item in page)


@dataclass(frozen=True, slots=True)
class _RowState:
    """What a row says about a key: whether it has moved, and whether it has been unchanged for long enough."""

    moved: bool
    old: bool
    size: int
    etag: str  # empty for previews
    imported: bool


def _row_states(keys: list[str], source: s3.Store, target: s3.Store, since: timedelta) -> dict[str, _RowState]:
    stores = [source.name, target.name]
    is_old = models.Case(models.When(models.Q(moment__lte=Now() - since), then=True), default=False)
    files = File.objects.filter(key__in=keys, store__in=stores).annotate(moment=models.F("updated_at"))
    previews = Preview.objects.filter(key__in=keys, store__in=stores).annotate(moment=models.F("lease_until"))
    states: dict[str, _RowState] = {}
    for key, store, size, etag, origin, old in files.annotate(old=is_old).values_list(
        "key", "store", "size", "etag", "origin", "old"
    ):
        if key not in states or store == source.name:  # a row that still names this object wins
            states[key] = _RowState(store == target.name, old, size, etag, origin == Origin.IMPORTED)
    for key, store, size, old in previews.annotate(old=is_old).values_list("key", "store", "size", "old"):
        states[key] = _RowState(store == target.name, old, size, "", imported=False)
    return states


def _outcome_by_row(row: _RowState | None, *, imported: bool) -> str:
    if row is None:
        return "orphan"
    if not row.moved:
        return "here"
    if row.imported and not imported:
        return "kept"
    return "removed" if row.old else "young"


def _outcome_by_objects(key: str, row: _RowState, *, source: str, target: str, own_id: str) -> str:
    try:
        copy = s3.head(key, store=target)
        if copy is None or copy.size != row.size or (row.etag and copy.etag != row.etag):
            return "failed"
        if ROW_KEY.fullmatch(key):
            return "removed"
        tag, original = s3.copy_tag(key, store=target), s3.head(key, store=source)
    except StorageUnavailable:
        return "failed"
    is_copied = original is not None and (original.size, s3.CopyTag(own_id, original.etag)) == (copy.size, tag)
    return "removed" if is_copied else "kept"


def _remove(etags: dict[str, str], source: str) -> set[str]:
    """Delete the objects, and return the keys that failed. An object that was overwritten since the listing stays."""
    failed_keys = set(s3.delete_many(list(etags), etags=etags, store=source)) if etags else set()
    for key in set(etags) - failed_keys:
        logger.info('original_removed key=%s store="%s"', field_value(key), source)
    return failed_keys
