"""The bucket's side: what is listed, in the order of the keys, read ahead by a thread while the rest is compared."""

from __future__ import annotations

import queue
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice

from uploads import s3
from uploads.services.fsck.lines import line_of
from uploads.services.fsck.rows import BEHIND_PREVIEWS, PREVIEWS

BATCH_PAGES = 5
BATCHES_AHEAD = 2
WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring objects: keys, sizes, and one line `key TAB size TAB etag` of each."""

    keys: list[str]
    sizes: list[int]
    lines: list[str]

    def cut(self, upto: str) -> tuple[Batch, Batch]:
        """What is not behind this key, and the rest."""
        end = bisect_right(self.keys, upto)
        return (
            Batch(self.keys[:end], self.sizes[:end], self.lines[:end]),
            Batch(self.keys[end:], self.sizes[end:], self.lines[end:]),
        )


@contextmanager
def listed(prefix: str, *, after: str, store: str) -> Iterator[Iterator[Batch]]:
    """All objects of a range, some thousands at a time. Raises in the caller's thread what the listing raises."""
    stop = threading.Event()
    found: queue.Queue[Batch | BaseException | None] = queue.Queue(BATCHES_AHEAD)

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                found.put(item, timeout=WAIT_SECONDS)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            with closing(_batches(prefix, after=after, store=store)) as batches:
                for batch in batches:
                    put(batch)
                    if stop.is_set():
                        return
            put(None)
        except BaseException as fault:  # told by whoever takes it out
            put(fault)

    threading.Thread(target=read, name="fsck-listing", daemon=True).start()
    try:
        yield _taken(found)
    finally:
        stop.set()


def _taken(found: queue.Queue[Batch | BaseException | None]) -> Iterator[Batch]:
    while (item := found.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def _batches(prefix: str, *, after: str, store: str) -> Generator[Batch]:
    pages = s3.list_objects(prefix, after=after, store=store)
    while chosen := list(islice(pages, BATCH_PAGES)):
        batch = Batch([], [], [])
        for page in chosen:
            batch.keys.extend(page.keys)
            batch.sizes.extend(page.sizes)
            batch.lines.extend(map(line_of, page.keys, page.sizes, _etags(page)))
        yield batch


def _etags(page: s3.Page) -> list[str]:
    """Rows of previews keep none, so that none is compared."""
    first, end = bisect_left(page.keys, PREVIEWS), bisect_left(page.keys, BEHIND_PREVIEWS)
    return page.etags[:first] + [""] * (end - first) + page.etags[end:] if first < end else page.etags
