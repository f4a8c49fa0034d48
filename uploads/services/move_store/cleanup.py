"""Remove from the other store what the main one has since."""

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
from uploads.models import File, Installation, Origin, Preview
from uploads.services.move_store.copy import OWN_KEY
from uploads.services.move_store.plan import both_stores

logger = logging.getLogger(__name__)

PREFIXES = ("f/", "p/")


@dataclass(frozen=True, slots=True)
class Cleared:
    """An object of the other store: `removed` (or, in a dry run, to be removed), `young` where the row was switched
    or changed too lately, `here` where its row has not moved, `orphan` without any row, `kept` for an imported
    original or an object that nothing proves to be what was copied, or `failed` where the copy could not be found as
    it should be."""

    key: str
    size: int
    outcome: str


def remove_originals(*, apply: bool, hours: int, imported: bool, parallel: int = 4) -> Generator[Cleared]:
    """What becomes of each object in the other store. An original goes only if its row names the main store since so
    many hours, and the copy is there now, with the row's size and ETag. Safe to repeat. Raises StorageUnavailable.
    Keys that are not of our making mean nothing: another bucket may have another object there. Of those the copy must
    bear our mark, and the original be still what was copied.

    `imported`: also originals that were brought in with a bucket; without, they are not even looked at.
    """
    source, target = both_stores()
    since = timedelta(hours=hours)
    look = partial(_head, source=source.name, target=target.name, own_id=str(Installation.objects.own_id()))
    with ThreadPoolExecutor(parallel) as workers:
        for prefix in [""] if imported else PREFIXES:
            for page in s3.list_objects(prefix, store=source.name):
                known = _rows(page.keys, source, target, since)
                verdicts = {item.key: _verdict(known.get(item.key), imported=imported) for item in page}
                due = [key for key, outcome in verdicts.items() if outcome == "removed"]
                verdicts |= zip(due, workers.map(look, due, [known[key] for key in due]), strict=True)
                etags = {item.key: item.etag for item in page if verdicts[item.key] == "removed"}
                left = _remove(etags, source.name) if apply else set()
                verdicts |= dict.fromkeys(left, "failed")
                yield from (Cleared(item.key, item.size, verdicts[item.key]) for item in page)


@dataclass(frozen=True, slots=True)
class _KnownKeys:
    """What a row says of a key: whether it moved, and for how long nobody has touched it."""

    moved: bool
    old: bool
    size: int
    etag: str  # empty for previews
    imported: bool


def _rows(keys: list[str], source: s3.Store, target: s3.Store, since: timedelta) -> dict[str, _KnownKeys]:
    stores = [source.name, target.name]
    is_old = models.Case(models.When(models.Q(moment__lte=Now() - since), then=True), default=False)
    files = File.objects.filter(key__in=keys, store__in=stores).annotate(moment=models.F("updated_at"))
    previews = Preview.objects.filter(key__in=keys, store__in=stores).annotate(moment=models.F("lease_until"))
    known: dict[str, _KnownKeys] = {}
    for key, store, size, etag, origin, old in files.annotate(old=is_old).values_list(
        "key", "store", "size", "etag", "origin", "old"
    ):
        if key not in known or store == source.name:  # a row that still names this object counts
            known[key] = _KnownKeys(store == target.name, old, size, etag, origin == Origin.IMPORTED)
    for key, store, size, old in previews.annotate(old=is_old).values_list("key", "store", "size", "old"):
        known[key] = _KnownKeys(store == target.name, old, size, "", imported=False)
    return known


def _verdict(row: _KnownKeys | None, *, imported: bool) -> str:
    if row is None:
        return "orphan"
    if not row.moved:
        return "here"
    if row.imported and not imported:
        return "kept"
    return "removed" if row.old else "young"


def _head(key: str, row: _KnownKeys, *, source: str, target: str, own_id: str) -> str:
    try:
        copy = s3.head(key, store=target)
        if copy is None or copy.size != row.size or (row.etag and copy.etag != row.etag):
            return "failed"
        if OWN_KEY.fullmatch(key):
            return "removed"
        mark, original = s3.copy_tag(key, store=target), s3.head(key, store=source)
    except StorageUnavailable:
        return "failed"
    is_copied = original is not None and (original.size, s3.CopyTag(own_id, original.etag)) == (copy.size, mark)
    return "removed" if is_copied else "kept"


def _remove(etags: dict[str, str], source: str) -> set[str]:
    """Which of these keys could not be removed. What was written over since it was listed is not."""
    left = set(s3.delete_many(list(etags), etags=etags, store=source)) if etags else set()
    for key in set(etags) - left:
        logger.info('original_removed key=%s store="%s"', field_value(key), source)
    return left
