"""Move row by row: claim, copy, verify, switch."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from uploads.errors import StoreUnavailable
from uploads.models import File, Installation, Preview, Refusal
from uploads.services.leisure import at_leisure
from uploads.services.move_store.carry import CannotMove, Carried, Load, Stopped, Way, carry
from uploads.services.move_store.claims import RENEW_SECONDS, Claims
from uploads.services.move_store.pace import Pace
from uploads.services.move_store.survey import UNFIT, both_stores, movable_files, movable_previews
from uploads.services.move_store.switch import (
    leave_missing,
    make_preview_anew,
    note_damage,
    switch_empty_previews,
    switch_file,
    switch_preview,
)
from uploads.services.refusals import keep_refusal

BATCH = 200
WAIT_SECONDS = 1.0  # for what another run holds
MOST_FAILED = 20  # in a row: then the store is away

Row = File | Preview


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a row: `moved`; `gone`, as it was erased meanwhile; or why it stays: `damaged`, `missing`,
    `changed`, `taken`, `archived`, `encrypted`, `denied`, or `failed`, to be tried again."""

    row: Row
    outcome: str

    @property
    def bytes(self) -> int:
        return self.row.size if self.outcome == "moved" else 0


class Mover:
    """One run from the other store to the main one. Several may run at once, on several machines: they share the work.

    A row is claimed by a lease, its object is copied and the copy verified, and one conditional UPDATE switches the
    row. Killed anywhere, a run leaves claims that end within a minute and copies that the next run makes anew.
    """

    def __init__(self, *, parallel: int = 4, bytes_per_second: int | None = None, unfit: bool = False) -> None:
        self.source, self.target = both_stores()
        self._unfit = unfit
        self._parallel = parallel
        self._stop = threading.Event()
        pace = Pace(bytes_per_second, stop=self._stop)
        mark = str(Installation.objects.own_id())
        self._way = Way(self.source.name, self.target.name, mark, pace.spend, self._stop)

    def run(self) -> Generator[Moved]:
        """Move all there is, files before previews. To be iterated to its end, or closed. Raises StoreUnavailable when
        a store does not answer at all; what is done stays done."""
        yield from self._each(movable_files(self.source, unfit=self._unfit))
        switch_empty_previews(self._way)
        yield from self._each(movable_previews(self.source))

    def _each(self, rows: QuerySet[Any]) -> Iterator[Moved]:
        claims: Claims = Claims(rows)
        with ThreadPoolExecutor(self._parallel) as workers:
            try:
                yield from self._while_it_answers(self._through(rows, claims, workers))
            except BaseException:
                self._stop.set()
                workers.shutdown(cancel_futures=True)
                raise
            finally:
                claims.drop_all()

    def _through(self, rows: QuerySet[Any], claims: Claims, workers: ThreadPoolExecutor) -> Iterator[Moved]:
        busy: dict[Future[Carried], Row] = {}
        for row in self._claimed(rows, claims):
            if row is not None:
                busy[workers.submit(carry, self._load(row), self._way)] = row
            while busy and (row is None or len(busy) >= 2 * self._parallel):
                done, _waiting = wait(busy, timeout=RENEW_SECONDS / 3, return_when=FIRST_COMPLETED)
                claims.renew()
                for future in done:
                    yield self._settle(busy.pop(future), future, claims)

    def _claimed(self, rows: QuerySet[Any], claims: Claims) -> Iterator[Row | None]:
        """Rows that are ours to move; None when those before must be settled first. What others hold comes last: it
        is theirs until they end or are done with it."""
        held: list[Any] = []
        for ids in _batches(rows, size=self._parallel):
            mine = claims.take(ids)
            held += set(ids) - {row.pk for row in mine}
            yield from mine
        yield None
        while held := list(rows.filter(pk__in=held).values_list("pk", flat=True)):
            mine = claims.take(held)
            yield from mine
            yield None
            tried = {row.pk for row in mine}
            held = [pk for pk in held if pk not in tried]
            if held:
                time.sleep(WAIT_SECONDS)

    def _load(self, row: Row) -> Load:
        if isinstance(row, Preview):
            return Load(row.key, row.size, max(1, row.size))
        unfit = row.checksum_basis in UNFIT
        encoding = None if row.is_encoding_unknown else row.content_encoding or ""
        return Load(row.key, row.size, row.part_size, row.checksum, row.etag, encoding, as_it_is=unfit)

    def _settle(self, row: Row, future: Future[Carried], claims: Claims) -> Moved:
        try:
            carried = future.result()
        except CannotMove as problem:
            outcome = self._left(row, problem.why, claims)
        except (StoreUnavailable, Stopped):
            outcome = "failed"
        else:
            if isinstance(row, File):
                outcome = switch_file(row, carried, self._way, until=claims.until)
            else:
                outcome = switch_preview(row, self._way, until=claims.until)
        claims.drop(row)
        return Moved(row, "failed" if outcome == "again" else outcome)

    def _left(self, row: Row, why: str, claims: Claims) -> str:
        if isinstance(row, Preview):
            return make_preview_anew(row, self._way, until=claims.until)
        if why == "missing" and self._unfit:
            return leave_missing(row, self._way, until=claims.until)
        if why == "damaged" and row.checksum:
            note_damage(row, self._way, until=claims.until)
        if why in Refusal.values:
            keep_refusal(row, why)
        return why

    def _while_it_answers(self, outcomes: Iterator[Moved]) -> Iterator[Moved]:
        """As they come, until so many fail in a row that there is no use in trying more."""
        failed = 0
        for moved in outcomes:
            failed = failed + 1 if moved.outcome == "failed" else 0
            yield moved
            if failed >= MOST_FAILED:
                raise StoreUnavailable(f"{failed} copies failed in a row")


def _batches(rows: QuerySet[Any], *, size: int) -> Iterator[list[Any]]:
    """Ids of all these rows in their order, so many at once; a row that comes later may be left out."""
    last: Any = None
    while True:
        with at_leisure():
            page = rows.order_by("pk") if last is None else rows.order_by("pk").filter(pk__gt=last)
            ids = list(page.values_list("pk", flat=True)[:BATCH])
        if not ids:
            return
        last = ids[-1]
        for start in range(0, len(ids), size):
            yield ids[start : start + size]
