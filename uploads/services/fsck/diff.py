"""Compare both sides of a range in one pass and constant memory: whole blocks as text, differing blocks key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass

from uploads.models import FindingKind
from uploads.services.fsck.recheck import OWN_PREFIXES, Verdict, recheck
from uploads.services.fsck.streams import (
    END_OF_TIME,
    Batch,
    Block,
    Range,
    Tally,
    decode_key,
    decode_lines,
    list_batches,
    read_block,
)

NOTHING = Batch([], [], [])


@dataclass(frozen=True, slots=True)
class DiffItem:
    """A compared range of keys: its last key, the number of rows and objects, and the findings."""

    upto: str
    rows: int
    objects: int
    findings: list[Verdict]


class Comparison:
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
        end = prefix + END_OF_TIME
        while after < end:
            rows = self._read_block(prefix, after, end)
            after = rows.upto
            yield self._compare_block(rows, NOTHING)

    def _read_block(self, prefix: str, after: str, upto: str) -> Block:
        return read_block(Range(self._store, prefix, after, upto), grace=self._grace)

    def _compare_block(self, rows: Block, objects: Batch) -> DiffItem:
        text, size = "".join(objects.lines), sum(objects.sizes)
        findings: list[Verdict] = []
        if text == rows.text and not rows.late and not rows.marked:
            self.rows.add(rows.text, count=rows.settled, bytes=rows.bytes)
            self.objects.add(text, count=len(objects.keys), bytes=size)
        else:
            findings = self._recheck_differences(rows, objects)
        return DiffItem(rows.upto, rows.settled + len(rows.moving), len(objects.keys), findings)

    def _recheck_differences(self, rows: Block, objects: Batch) -> list[Verdict]:
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
        others = {key for key in object_keys if not key.startswith(OWN_PREFIXES)} - row_keys - rows.marked - rows.moving
        self.skipped["moving"] += len(moving)
        self.skipped["others"] += len(others)
        return moving | others


def _without(lines: list[str], differing: dict[str, str], counted: set[str]) -> list[str]:
    """Return the lines except those that differ without being part of a finding."""
    dropped = {line for key, line in differing.items() if key not in counted}
    return [line for line in lines if line not in dropped] if dropped else lines
