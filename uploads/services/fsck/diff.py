"""One pass over both sides of a range, in constant memory: where neighbouring lines are the same text, nothing else is
looked at; where they are not, key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass

from uploads.models import Trouble
from uploads.services.fsck.recheck import OURS, Verdict, recheck
from uploads.services.fsck.streams import (
    END_OF_TIME,
    Batch,
    Block,
    Range,
    Tally,
    block,
    decode_key,
    decode_lines,
    listed,
)

NOTHING = Batch([], [], [])


@dataclass(frozen=True, slots=True)
class DiffItem:
    """A stretch of keys that is compared: up to which key, how many rows and objects, and what was found."""

    upto: str
    rows: int
    objects: int
    found: list[Verdict]


class Comparison:
    """Both sides of one store. What a row in motion explains and what is too young is in neither tally; how much that
    is, and why, is in `left`. So equal digests say that all the rest agrees."""

    def __init__(self, store: str, *, grace: float) -> None:
        self.rows = Tally()
        self.objects = Tally()
        self.left: Counter[str] = Counter()
        self._store = store
        self._grace = grace

    def run(self, prefix: str, *, after: str) -> Iterator[DiffItem]:
        """All keys with this prefix behind `after`. Raises StorageUnavailable, ListingOutOfOrder."""
        with listed(prefix, after=after, store=self._store) as batches:
            for batch in batches:
                left = batch
                while left.keys:
                    rows = self._block(prefix, after, left.keys[-1])
                    now, left = left.cut(rows.upto)
                    after = rows.upto
                    yield self._step(rows, now)
        end = prefix + END_OF_TIME
        while after < end:
            rows = self._block(prefix, after, end)
            after = rows.upto
            yield self._step(rows, NOTHING)

    def _block(self, prefix: str, after: str, upto: str) -> Block:
        return block(Range(self._store, prefix, after, upto), grace=self._grace)

    def _step(self, rows: Block, objects: Batch) -> DiffItem:
        text, size = "".join(objects.lines), sum(objects.sizes)
        found: list[Verdict] = []
        if text == rows.text and not rows.late and not rows.marked:
            self.rows.add(rows.text, count=rows.settled, bytes=rows.bytes)
            self.objects.add(text, count=len(objects.keys), bytes=size)
        else:
            found = self._compare(rows, objects)
        return DiffItem(rows.upto, rows.settled + len(rows.moving), len(objects.keys), found)

    def _compare(self, rows: Block, objects: Batch) -> list[Verdict]:
        lines = decode_lines(rows.text)
        by_row = {decode_key(line): line for line in set(lines).difference(objects.lines)}
        by_object = {decode_key(line): line for line in set(objects.lines).difference(lines)}
        explained = self._explained(rows, by_row.keys(), by_object.keys())
        self.left["marked"] += len(rows.marked - by_object.keys())
        suspects = (by_row.keys() | by_object.keys() | rows.late) - explained
        verdicts = recheck(suspects, store=self._store, grace=self._grace)
        self.left.update(verdict.left for verdict in verdicts if not verdict.trouble)
        counted = {verdict.key for verdict in verdicts if verdict.trouble not in {None, Trouble.STUCK}}
        self.rows.add_lines(_without(lines, by_row, counted))
        self.objects.add_lines(_without(objects.lines, by_object, counted))
        return [verdict for verdict in verdicts if verdict.trouble]

    def _explained(self, rows: Block, by_row: Set[str], by_object: Set[str]) -> set[str]:
        """Objects that need no second look: of rows in motion, and what lies where we keep nothing."""
        moving = set(by_object & rows.moving - rows.late)
        others = {key for key in by_object if not key.startswith(OURS)} - by_row - rows.marked - rows.moving
        self.left["moving"] += len(moving)
        self.left["others"] += len(others)
        return moving | others


def _without(lines: list[str], differing: dict[str, str], counted: set[str]) -> list[str]:
    """Without lines that differ and yet belong to no finding."""
    dropped = {line for key, line in differing.items() if key not in counted}
    return [line for line in lines if line not in dropped] if dropped else lines
