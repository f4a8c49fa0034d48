"""Recheck apparent differences: the current row, then the object itself, then the row once more.

The first pass may have read the two sides of a key minutes apart. Only what differs at one moment becomes a finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

from uploads import s3
from uploads.models import FindingKind
from uploads.models.file import KEY_PATTERN
from uploads.models.preview import PREVIEW_KEY_PATTERN
from uploads.services.fsck.streams import PREVIEWS, Row, rows_by_key, statement_time

KEYS_BATCH_SIZE = 1000
STORAGE_CONCURRENCY = 8
OWN_PREFIXES = ("f/", PREVIEWS)
OWN_KEYS = re.compile(f"{KEY_PATTERN}|{PREVIEW_KEY_PATTERN}")
BACK = "back"  # marked as missing, but the object exists again


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
        return self.row.etag == self.item.etag or self.key.startswith(PREVIEWS)


@dataclass(frozen=True, slots=True)
class Verdict:
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


def recheck(keys: Collection[str], *, store: str, grace: float) -> list[Verdict]:
    """Return a verdict on each key. Rows are read a thousand at a time, objects several at once.

    Raises StorageUnavailable. Safe to repeat; nothing is written.
    """
    verdicts: list[Verdict] = []
    ordered = sorted(keys)
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        for first in range(0, len(ordered), KEYS_BATCH_SIZE):
            batch = ordered[first : first + KEYS_BATCH_SIZE]
            now, rows = statement_time(), rows_by_key(batch, grace=grace)
            items = threads.map(partial(_head, rows=rows, store=store), batch)  # the first error ends them all
            pairs = zip(batch, items, strict=True)
            snapshots = [_snapshot(key, rows.get(key, []), item, at=now, store=store) for key, item in pairs]
            verdicts += _without_changed(
                [classify(snapshot, grace=grace) for snapshot in snapshots], store=store, grace=grace
            )
    return verdicts


def classify(snapshot: Snapshot, *, grace: float) -> Verdict:
    """Return the verdict on both sides of a key."""
    row, item = snapshot.row, snapshot.item
    if row is None:
        return _classify_object(snapshot, grace=grace)
    if not row.settled and not row.marked:
        return _finding(FindingKind.STUCK, snapshot) if row.late else Verdict(snapshot, skip_reason="moving")
    if row.marked and item is None:
        return Verdict(snapshot, skip_reason="marked")
    if snapshot.agrees():
        if row.marked and not snapshot.is_young(grace):
            return _finding(FindingKind.STUCK, snapshot, reason=BACK)
        return _finding(FindingKind.STUCK, snapshot) if row.late else Verdict(snapshot, skip_reason="changed")
    if snapshot.is_young(grace):
        return Verdict(snapshot, skip_reason="young")
    if item is None:
        return _finding(FindingKind.MISSING, snapshot)
    return _finding(FindingKind.SIZE_MISMATCH if row.size != item.size else FindingKind.ETAG_MISMATCH, snapshot)


def _classify_object(snapshot: Snapshot, *, grace: float) -> Verdict:
    if snapshot.elsewhere or snapshot.item is None:
        return Verdict(snapshot, skip_reason="elsewhere" if snapshot.elsewhere else "changed")
    if snapshot.is_young(grace):
        return Verdict(snapshot, skip_reason="young")
    return _finding(FindingKind.ORPHAN if OWN_KEYS.fullmatch(snapshot.key) else FindingKind.FOREIGN, snapshot)


def _finding(kind: FindingKind, snapshot: Snapshot, **extra: Any) -> Verdict:
    """Return a verdict with copies of both sides, which a repair may change or delete."""
    detail = dict(extra)
    if snapshot.row:
        detail["row"] = {"state": snapshot.row.state, "size": snapshot.row.size, "etag": snapshot.row.etag}
    if snapshot.item:
        modified = snapshot.item.modified.isoformat()
        detail["object"] = {"size": snapshot.item.size, "etag": snapshot.item.etag, "modified": modified}
    return Verdict(snapshot, kind, detail=detail)


def _head(key: str, *, rows: Mapping[str, list[Row]], store: str) -> s3.ObjectInfo | None:
    if any(row.store == store and not row.settled and not row.marked for row in rows.get(key, [])):
        return None  # the row explains any object
    return s3.head(key, store=store)


def _snapshot(key: str, rows: list[Row], item: s3.ObjectInfo | None, *, at: datetime, store: str) -> Snapshot:
    row = next((row for row in rows if row.store == store), None)
    return Snapshot(key, row, item, at, elsewhere=bool(rows) and row is None)


def _without_changed(verdicts: list[Verdict], *, store: str, grace: float) -> list[Verdict]:
    """Withdraw findings whose row changed while the storage was queried."""
    keys = [verdict.key for verdict in verdicts if verdict.kind]
    current = rows_by_key(keys, grace=grace) if keys else {}
    result = []
    for verdict in verdicts:
        row = next((row for row in current.get(verdict.key, []) if row.store == store), None)
        changed = verdict.kind and (row != verdict.snapshot.row or (row is None and verdict.key in current))
        result.append(Verdict(verdict.snapshot, skip_reason="changed") if changed else verdict)
    return result


def orphaned_multiparts(prefix: str, *, store: str, grace: float) -> Iterator[list[Verdict]]:
    """Yield multipart uploads under our prefixes, older than `grace`, that no row explains even after a recheck."""
    for own_prefix in OWN_PREFIXES:
        if own_prefix.startswith(prefix) or prefix.startswith(own_prefix):
            uploads = s3.list_multipart_uploads(max(prefix, own_prefix, key=len), store=store)
            while batch := list(islice(uploads, KEYS_BATCH_SIZE)):
                candidates = _unexplained(batch, store=store, grace=grace)
                if candidates:
                    yield [
                        _multipart_verdict(upload)
                        for upload in candidates
                        if _is_still_open(upload, store=store, grace=grace)
                    ]


def _unexplained(uploads: list[s3.OpenMultipart], *, store: str, grace: float) -> list[s3.OpenMultipart]:
    """Return the old uploads that no row explains. Rows are read after the listing, which lacks later uploads."""
    started_before = statement_time() - timedelta(seconds=grace)
    rows = rows_by_key([upload.key for upload in uploads], grace=grace)
    return [
        upload
        for upload in uploads
        if upload.initiated < started_before and not any(_explains(row, store) for row in rows.get(upload.key, []))
    ]


def _explains(row: Row, store: str) -> bool:
    """Whether the row explains an upload: its file is being uploaded, or perhaps moved here from another store."""
    return row.store != store or not (row.settled or row.marked)


def _is_still_open(upload: s3.OpenMultipart, *, store: str, grace: float) -> bool:
    return upload.id in s3.multipart_ids(upload.key, store=store) and bool(
        _unexplained([upload], store=store, grace=grace)
    )


def _multipart_verdict(upload: s3.OpenMultipart) -> Verdict:
    snapshot = Snapshot(upload.key, None, None, upload.initiated)
    return Verdict(
        snapshot,
        FindingKind.ORPHANED_MULTIPART,
        detail={"upload": upload.id, "initiated": upload.initiated.isoformat()},
    )
