"""The second look at what seemed to differ: the row as it is now, then the object itself, then the row once more.

What the first pass saw of a key may be minutes apart on the two sides. Only what is so at one moment is found.
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
from uploads.models import Trouble
from uploads.models.file import KEY_PATTERN
from uploads.models.preview import PREVIEW_KEY_PATTERN
from uploads.services.fsck.streams import PREVIEWS, Row, database_now_value, rows_of

KEYS_BATCH_SIZE = 1000
STORAGE_CONCURRENCY = 8
OURS = ("f/", PREVIEWS)
OUR_KEYS = re.compile(f"{KEY_PATTERN}|{PREVIEW_KEY_PATTERN}")
BACK = "back"  # marked as missing, and there again


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Both sides of a key at one moment, which is `at` by the database's clock."""

    key: str
    row: Row | None
    item: s3.ObjectInfo | None
    at: datetime
    elsewhere: bool = False  # a row has the key in another store: it is being moved

    def is_young(self, grace: float) -> bool:
        written = self.item is not None and self.item.modified > self.at - timedelta(seconds=grace)
        return written or (self.row is not None and self.row.young)

    def agrees(self) -> bool:
        """Whether the object is what the row says. Rows of previews keep no ETag."""
        if self.row is None or self.item is None or self.row.size != self.item.size:
            return False
        return self.row.etag == self.item.etag or self.key.startswith(PREVIEWS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a key; or, without `trouble`, why it was `left`."""

    sight: Snapshot
    trouble: Trouble | None = None
    left: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.sight.key

    @property
    def file_id(self) -> UUID | None:
        return self.sight.row.file_id if self.sight.row else None


def recheck(keys: Collection[str], *, store: str, grace: float) -> list[Verdict]:
    """A verdict on each key. Some thousand keys at a time, several objects at once.

    Raises StorageUnavailable. Safe to repeat; nothing is written.
    """
    verdicts: list[Verdict] = []
    ordered = sorted(keys)
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as threads:
        for first in range(0, len(ordered), KEYS_BATCH_SIZE):
            some = ordered[first : first + KEYS_BATCH_SIZE]
            at, rows = database_now_value(), rows_of(some, grace=grace)
            items = threads.map(partial(_head_all, rows=rows, store=store), some)  # the first fault ends them all
            seen = zip(some, items, strict=True)
            sights = [_sight(key, rows.get(key, []), item, at=at, store=store) for key, item in seen]
            verdicts += _settled([classify(sight, grace=grace) for sight in sights], store=store, grace=grace)
    return verdicts


def classify(sight: Snapshot, *, grace: float) -> Verdict:
    """What both sides together mean."""
    row, item = sight.row, sight.item
    if row is None:
        return _judge_object(sight, grace=grace)
    if not row.settled and not row.marked:
        return _snapshots(Trouble.STUCK, sight) if row.late else Verdict(sight, left="moving")
    if row.marked and item is None:
        return Verdict(sight, left="marked")
    if sight.agrees():
        if row.marked and not sight.is_young(grace):
            return _snapshots(Trouble.STUCK, sight, why=BACK)
        return _snapshots(Trouble.STUCK, sight) if row.late else Verdict(sight, left="changed")
    if sight.is_young(grace):
        return Verdict(sight, left="young")
    if item is None:
        return _snapshots(Trouble.MISSING, sight)
    return _snapshots(Trouble.SIZE if row.size != item.size else Trouble.ETAG, sight)


def _judge_object(sight: Snapshot, *, grace: float) -> Verdict:
    if sight.elsewhere or sight.item is None:
        return Verdict(sight, left="elsewhere" if sight.elsewhere else "changed")
    if sight.is_young(grace):
        return Verdict(sight, left="young")
    return _snapshots(Trouble.ORPHAN if OUR_KEYS.fullmatch(sight.key) else Trouble.FOREIGN, sight)


def _snapshots(trouble: Trouble, sight: Snapshot, **more: Any) -> Verdict:
    """With copies of both sides: what was found may be mended and go."""
    detail = dict(more)
    if sight.row:
        detail["row"] = {"state": sight.row.state, "size": sight.row.size, "etag": sight.row.etag}
    if sight.item:
        modified = sight.item.modified.isoformat()
        detail["object"] = {"size": sight.item.size, "etag": sight.item.etag, "modified": modified}
    return Verdict(sight, trouble, detail=detail)


def _head_all(key: str, *, rows: Mapping[str, list[Row]], store: str) -> s3.ObjectInfo | None:
    if any(row.store == store and not row.settled and not row.marked for row in rows.get(key, [])):
        return None  # whatever is there, the row explains it
    return s3.head(key, store=store)


def _sight(key: str, rows: list[Row], item: s3.ObjectInfo | None, *, at: datetime, store: str) -> Snapshot:
    own = next((row for row in rows if row.store == store), None)
    return Snapshot(key, own, item, at, elsewhere=bool(rows) and own is None)


def _settled(verdicts: list[Verdict], *, store: str, grace: float) -> list[Verdict]:
    """Without findings whose row has changed while the store was asked."""
    found = [verdict.key for verdict in verdicts if verdict.trouble]
    now = rows_of(found, grace=grace) if found else {}
    kept = []
    for verdict in verdicts:
        own = next((row for row in now.get(verdict.key, []) if row.store == store), None)
        changed = verdict.trouble and (own != verdict.sight.row or (own is None and verdict.key in now))
        kept.append(Verdict(verdict.sight, left="changed") if changed else verdict)
    return kept


def orphaned_multiparts(prefix: str, *, store: str, grace: float) -> Iterator[list[Verdict]]:
    """Open uploads under our keys that are older than `grace` and that no row explains; looked at twice."""
    for ours in OURS:
        if ours.startswith(prefix) or prefix.startswith(ours):
            uploads = s3.list_multipart_uploads(max(prefix, ours, key=len), store=store)
            while some := list(islice(uploads, KEYS_BATCH_SIZE)):
                found = _unexplained(some, store=store, grace=grace)
                if found:
                    yield [_verdict(upload) for upload in found if _is_still_open(upload, store=store, grace=grace)]


def _unexplained(uploads: list[s3.OpenMultipart], *, store: str, grace: float) -> list[s3.OpenMultipart]:
    """The rows are read after the listing: what was begun since is not in it."""
    latest = database_now_value() - timedelta(seconds=grace)
    rows = rows_of([upload.key for upload in uploads], grace=grace)
    return [
        upload
        for upload in uploads
        if upload.initiated < latest and not any(_explains(row, store) for row in rows.get(upload.key, []))
    ]


def _explains(row: Row, store: str) -> bool:
    """A file on its way, or one of another store that is perhaps being moved here."""
    return row.store != store or not (row.settled or row.marked)


def _is_still_open(upload: s3.OpenMultipart, *, store: str, grace: float) -> bool:
    return upload.id in s3.multipart_ids(upload.key, store=store) and bool(
        _unexplained([upload], store=store, grace=grace)
    )


def _verdict(upload: s3.OpenMultipart) -> Verdict:
    sight = Snapshot(upload.key, None, None, upload.initiated)
    return Verdict(sight, Trouble.MULTIPART, detail={"upload": upload.id, "initiated": upload.initiated.isoformat()})
