"""Compare both sides of a range in one pass and constant memory: whole blocks as text, differing blocks key by key.

Apparent differences are rechecked: the current row, then the object itself, then the row once more. The first pass may
have read the two sides of a key minutes apart, and only what differs at one moment becomes a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from uploads import s3
from uploads.keys import PREVIEW_PREFIX, ROW_KEY, ROW_PREFIXES
from uploads.models import FindingKind
from uploads.models.querysets import database_now
from uploads.s3.client import STORAGE_CONCURRENCY
from uploads.services.fsck.lines import (
    LAST_CHARACTER,
    Batch,
    Block,
    Range,
    Row,
    Tally,
    decode_key,
    decode_lines,
    list_batches,
    read_block,
    rows_by_key,
)
from uploads.services.orphaned_multiparts import orphaned_multiparts, unexplained

NOTHING = Batch([], [], [])
KEYS_BATCH_SIZE = 1000
BACK = "back"  # marked as missing, but the object exists again


@dataclass(frozen=True, slots=True)
class DiffItem:
    """A compared range of keys: its last key, the number of rows and objects, and the findings."""

    upto: str
    rows: int
    objects: int
    findings: list[KeyVerdict]


class StoreComparison:
    """Compares both sides of one store.

    Neither tally has objects that an active row explains, or that are too young: `skipped` counts these by reason. So
    equal digests mean that everything else is in sync.
    """

    def __init__(self, store: str, *, grace: float) -> None:
        self.rows = Tally()
        self.objects = Tally()
        self.skipped: Counter[str] = Counter()
        self._store = store
        self._grace = grace

    def run(self, prefix: str, *, after: str) -> Iterator[DiffItem]:
        """Compare all keys with this prefix that lie after `after`. Raises StorageUnavailable, ListingOutOfOrder."""
        with list_batches(prefix, after=after, store=self._store) as batches:
            for batch in batches:
                remaining = batch
                while remaining.keys:
                    rows = self._read_block(prefix, after, remaining.keys[-1])
                    objects, remaining = remaining.cut(rows.upto)
                    after = rows.upto
                    yield self._compare_block(rows, objects)
        end = prefix + LAST_CHARACTER
        while after < end:
            rows = self._read_block(prefix, after, end)
            after = rows.upto
            yield self._compare_block(rows, NOTHING)

    def _read_block(self, prefix: str, after: str, upto: str) -> Block:
        return read_block(Range(self._store, prefix, after, upto), grace=self._grace)

    def _compare_block(self, rows: Block, objects: Batch) -> DiffItem:
        text, size = "".join(objects.lines), sum(objects.sizes)
        findings: list[KeyVerdict] = []
        if text == rows.text and not rows.late and not rows.marked:
            self.rows.add(rows.text, count=rows.settled, bytes=rows.bytes)
            self.objects.add(text, count=len(objects.keys), bytes=size)
        else:
            findings = self._recheck_differences(rows, objects)
        return DiffItem(rows.upto, rows.settled + len(rows.moving), len(objects.keys), findings)

    def _recheck_differences(self, rows: Block, objects: Batch) -> list[KeyVerdict]:
        lines = decode_lines(rows.text)
        row_lines = {decode_key(line): line for line in set(lines).difference(objects.lines)}
        object_lines = {decode_key(line): line for line in set(objects.lines).difference(lines)}
        explained = self._explained(rows, row_lines.keys(), object_lines.keys())
        self.skipped["marked"] += len(rows.marked - object_lines.keys())
        suspects = (row_lines.keys() | object_lines.keys() | rows.late) - explained
        verdicts = recheck(suspects, store=self._store, grace=self._grace)
        self.skipped.update(verdict.skip_reason for verdict in verdicts if not verdict.kind)
        counted = {verdict.key for verdict in verdicts if verdict.kind not in {None, FindingKind.STUCK}}
        self.rows.add_lines(_without(lines, row_lines, counted))
        self.objects.add_lines(_without(objects.lines, object_lines, counted))
        return [verdict for verdict in verdicts if verdict.kind]

    def _explained(self, rows: Block, row_keys: Set[str], object_keys: Set[str]) -> set[str]:
        """Return the keys that need no recheck: of active rows, and of objects outside our prefixes."""
        moving = set(object_keys & rows.moving - rows.late)
        others = {key for key in object_keys if not key.startswith(ROW_PREFIXES)} - row_keys - rows.marked - rows.moving
        self.skipped["moving"] += len(moving)
        self.skipped["others"] += len(others)
        return moving | others


def _without(lines: list[str], differing: dict[str, str], counted: set[str]) -> list[str]:
    """Return the lines except those that differ without being part of a finding."""
    dropped = {line for key, line in differing.items() if key not in counted}
    return [line for line in lines if line not in dropped] if dropped else lines


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Both sides of a key at one moment, `at` by the database's clock."""

    key: str
    row: Row | None
    item: s3.ObjectInfo | None
    at: datetime
    elsewhere: bool = False  # a row has this key in another store: the file is being moved

    def is_young(self, grace: float) -> bool:
        written = self.item is not None and self.item.modified > self.at - timedelta(seconds=grace)
        return written or (self.row is not None and self.row.young)

    def agrees(self) -> bool:
        """Whether the object matches the row. Rows of previews have no ETag."""
        if self.row is None or self.item is None or self.row.size != self.item.size:
            return False
        return self.row.etag == self.item.etag or self.key.startswith(PREVIEW_PREFIX)


@dataclass(frozen=True, slots=True)
class KeyVerdict:
    """What is wrong with a key or, without `kind`, why it is skipped."""

    snapshot: Snapshot
    kind: FindingKind | None = None
    skip_reason: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.snapshot.key

    @property
    def file_id(self) -> UUID | None:
        return self.snapshot.row.file_id if self.snapshot.row else None


def recheck(keys: Collection[str], *, store: str, grace: float) -> list[KeyVerdict]:
    """Return a verdict on each key. Rows are read a thousand at a time, objects several at once.

    Raises StorageUnavailable. Safe to repeat; nothing is written.
    """
    verdicts: list[KeyVerdict] = []
    ordered = sorted(keys)
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        for first in range(0, len(ordered), KEYS_BATCH_SIZE):
            batch = ordered[first : first + KEYS_BATCH_SIZE]
            now, rows = database_now(), rows_by_key(batch, grace=grace)
            items = threads.map(partial(_head, rows=rows, store=store), batch)  # the first error ends them all
            pairs = zip(batch, items, strict=True)
            snapshots = [_snapshot(key, rows.get(key, []), item, at=now, store=store) for key, item in pairs]
            verdicts += _without_changed(
                [classify(snapshot, grace=grace) for snapshot in snapshots], store=store, grace=grace
            )
    return verdicts


def classify(snapshot: Snapshot, *, grace: float) -> KeyVerdict:
    """Return the verdict on both sides of a key."""
    row, item = snapshot.row, snapshot.item
    if row is None:
        return _classify_object(snapshot, grace=grace)
    if not row.settled and not row.marked:
        return _finding(FindingKind.STUCK, snapshot) if row.late else KeyVerdict(snapshot, skip_reason="moving")
    if row.marked and item is None:
        return KeyVerdict(snapshot, skip_reason="marked")
    if snapshot.agrees():
        if row.marked and not snapshot.is_young(grace):
            return _finding(FindingKind.STUCK, snapshot, reason=BACK)
        return _finding(FindingKind.STUCK, snapshot) if row.late else KeyVerdict(snapshot, skip_reason="changed")
    if snapshot.is_young(grace):
        return KeyVerdict(snapshot, skip_reason="young")
    if item is None:
        return _finding(FindingKind.MISSING, snapshot)
    return _finding(FindingKind.SIZE_MISMATCH if row.size != item.size else FindingKind.ETAG_MISMATCH, snapshot)


def _classify_object(snapshot: Snapshot, *, grace: float) -> KeyVerdict:
    if snapshot.elsewhere or snapshot.item is None:
        return KeyVerdict(snapshot, skip_reason="elsewhere" if snapshot.elsewhere else "changed")
    if snapshot.is_young(grace):
        return KeyVerdict(snapshot, skip_reason="young")
    return _finding(FindingKind.ORPHAN if ROW_KEY.fullmatch(snapshot.key) else FindingKind.FOREIGN, snapshot)


def _finding(kind: FindingKind, snapshot: Snapshot, **extra: Any) -> KeyVerdict:
    """Return a verdict with copies of both sides, which a repair may change or delete."""
    detail = dict(extra)
    if snapshot.row:
        detail["row"] = {"state": snapshot.row.state, "size": snapshot.row.size, "etag": snapshot.row.etag}
    if snapshot.item:
        modified = snapshot.item.modified.isoformat()
        detail["object"] = {"size": snapshot.item.size, "etag": snapshot.item.etag, "modified": modified}
    return KeyVerdict(snapshot, kind, detail=detail)


def _head(key: str, *, rows: Mapping[str, list[Row]], store: str) -> s3.ObjectInfo | None:
    if any(row.store == store and not row.settled and not row.marked for row in rows.get(key, [])):
        return None  # the row explains any object
    return s3.head(key, store=store)


def _snapshot(key: str, rows: list[Row], item: s3.ObjectInfo | None, *, at: datetime, store: str) -> Snapshot:
    row = next((row for row in rows if row.store == store), None)
    return Snapshot(key, row, item, at, elsewhere=bool(rows) and row is None)


def _without_changed(verdicts: list[KeyVerdict], *, store: str, grace: float) -> list[KeyVerdict]:
    """Withdraw findings whose row changed while the storage was queried."""
    keys = [verdict.key for verdict in verdicts if verdict.kind]
    current = rows_by_key(keys, grace=grace) if keys else {}
    result = []
    for verdict in verdicts:
        row = next((row for row in current.get(verdict.key, []) if row.store == store), None)
        changed = verdict.kind and (row != verdict.snapshot.row or (row is None and verdict.key in current))
        result.append(KeyVerdict(verdict.snapshot, skip_reason="changed") if changed else verdict)
    return result


def multipart_verdicts(prefix: str, *, store: str, grace: float) -> Iterator[list[KeyVerdict]]:
    """Yield findings of multipart uploads under our prefixes, older than `grace`, that no row explains.

    Each is rechecked: it is still open, and still no row explains it.
    """
    for own_prefix in ROW_PREFIXES:
        if own_prefix.startswith(prefix) or prefix.startswith(own_prefix):
            longer = max(prefix, own_prefix, key=len)
            for uploads in orphaned_multiparts(longer, store=store, grace=timedelta(seconds=grace)):
                still_open = [upload for upload in uploads if upload.id in s3.multipart_ids(upload.key, store=store)]
                if orphans := unexplained(still_open, store=store):
                    yield [_multipart_verdict(upload) for upload in orphans]


def _multipart_verdict(upload: s3.OpenMultipart) -> KeyVerdict:
    snapshot = Snapshot(upload.key, None, None, upload.initiated)
    return KeyVerdict(
        snapshot,
        FindingKind.ORPHANED_MULTIPART,
        detail={"upload": upload.id, "initiated": upload.initiated.isoformat()},
    )
