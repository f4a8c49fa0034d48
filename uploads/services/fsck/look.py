"""The second look at what seemed to differ: the row as it is now, then the object itself, then the row once more.

What the first pass saw of a key may be minutes apart on the two sides. Only what is so at one moment is found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from uploads import s3
from uploads.models import Trouble
from uploads.models.file import KEY_PATTERN
from uploads.models.preview import PREVIEW_KEY_PATTERN
from uploads.services.fsck.rows import PREVIEWS, Row, moment, rows_of

KEYS_AT_ONCE = 1000
STORE_CALLS_AT_ONCE = 8
OURS = ("f/", PREVIEWS)
OUR_KEYS = re.compile(f"{KEY_PATTERN}|{PREVIEW_KEY_PATTERN}")
BACK = "back"  # marked as missing, and there again


@dataclass(frozen=True, slots=True)
class Sight:
    """Both sides of a key at one moment, which is `at` by the database's clock."""

    key: str
    row: Row | None
    item: s3.Item | None
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

    sight: Sight
    trouble: Trouble | None = None
    left: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.sight.key

    @property
    def file_id(self) -> UUID | None:
        return self.sight.row.file_id if self.sight.row else None


def look(keys: Collection[str], *, store: str, grace: float) -> list[Verdict]:
    """A verdict on each key. Some thousand keys at a time, several objects at once.

    Raises StoreUnavailable. Safe to repeat; nothing is written.
    """
    verdicts: list[Verdict] = []
    ordered = sorted(keys)
    with ThreadPoolExecutor(STORE_CALLS_AT_ONCE) as threads:
        for first in range(0, len(ordered), KEYS_AT_ONCE):
            some = ordered[first : first + KEYS_AT_ONCE]
            at, rows = moment(), rows_of(some, grace=grace)
            items = threads.map(partial(_ask, rows=rows, store=store), some)  # the first fault ends them all
            seen = zip(some, items, strict=True)
            sights = [_sight(key, rows.get(key, []), item, at=at, store=store) for key, item in seen]
            verdicts += _settled([judge(sight, grace=grace) for sight in sights], store=store, grace=grace)
    return verdicts


def judge(sight: Sight, *, grace: float) -> Verdict:
    """What both sides together mean."""
    row, item = sight.row, sight.item
    if row is None:
        return _judge_object(sight, grace=grace)
    if not row.settled and not row.marked:
        return _found(Trouble.STUCK, sight) if row.late else Verdict(sight, left="moving")
    if row.marked and item is None:
        return Verdict(sight, left="marked")
    if sight.agrees():
        if row.marked and not sight.is_young(grace):
            return _found(Trouble.STUCK, sight, why=BACK)
        return _found(Trouble.STUCK, sight) if row.late else Verdict(sight, left="changed")
    if sight.is_young(grace):
        return Verdict(sight, left="young")
    if item is None:
        return _found(Trouble.MISSING, sight)
    return _found(Trouble.SIZE if row.size != item.size else Trouble.ETAG, sight)


def _judge_object(sight: Sight, *, grace: float) -> Verdict:
    if sight.elsewhere or sight.item is None:
        return Verdict(sight, left="elsewhere" if sight.elsewhere else "changed")
    if sight.is_young(grace):
        return Verdict(sight, left="young")
    return _found(Trouble.ORPHAN if OUR_KEYS.fullmatch(sight.key) else Trouble.FOREIGN, sight)


def _found(trouble: Trouble, sight: Sight, **more: Any) -> Verdict:
    """With copies of both sides: what was found may be mended and go."""
    detail = dict(more)
    if sight.row:
        detail["row"] = {"state": sight.row.state, "size": sight.row.size, "etag": sight.row.etag}
    if sight.item:
        modified = sight.item.modified.isoformat()
        detail["object"] = {"size": sight.item.size, "etag": sight.item.etag, "modified": modified}
    return Verdict(sight, trouble, detail=detail)


def _ask(key: str, *, rows: Mapping[str, list[Row]], store: str) -> s3.Item | None:
    if any(row.store == store and not row.settled and not row.marked for row in rows.get(key, [])):
        return None  # whatever is there, the row explains it
    return s3.head(key, store=store)


def _sight(key: str, rows: list[Row], item: s3.Item | None, *, at: datetime, store: str) -> Sight:
    own = next((row for row in rows if row.store == store), None)
    return Sight(key, own, item, at, elsewhere=bool(rows) and own is None)


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
