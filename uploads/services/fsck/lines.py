"""Read bucket and database as sorted streams of lines."""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from amalga.db import statement_timeout
from uploads import s3
from uploads.keys import PREVIEW_PREFIX

ESCAPED = re.compile(r"\\.")
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})


def encode_line(key: str, size: int, etag: str) -> str:
    if "\\" in key or "\t" in key or "\n" in key:
        key = key.translate(ESCAPES)
    return f"{key}\t{size}\t{etag}\n"


def decode_key(line: str) -> str:
    key = line.rsplit("\t", 2)[0]
    return key if "\\" not in key else _unescape(key)


def decode_size(line: str) -> int:
    return int(line.rsplit("\t", 2)[1])


def decode_lines(text: str) -> list[str]:
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def _unescape(key: str) -> str:
    plain = {"\\\\": "\\", "\\t": "\t", "\\n": "\n"}
    return ESCAPED.sub(lambda match: plain[match[0]], key)


class Tally:
    """The totals of one side: count, bytes, and the SHA-256 of its lines."""

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def add(self, text: str, *, count: int, bytes: int) -> None:
        self.count += count
        self.bytes += bytes
        self._digest.update(text.encode())

    def add_lines(self, lines: Iterable[str]) -> None:
        added = list(lines)
        self.add("".join(added), count=len(added), bytes=sum(map(decode_size, added)))


BATCH_PAGES = 5


BATCHES_AHEAD = 2


WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive objects: keys, sizes, and one line `key TAB size TAB etag` of each."""

    keys: list[str]
    sizes: list[int]
    lines: list[str]

    def cut(self, upto: str) -> tuple[Batch, Batch]:
        """Split the batch after this key."""
        end = bisect_right(self.keys, upto)
        return (
            Batch(self.keys[:end], self.sizes[:end], self.lines[:end]),
            Batch(self.keys[end:], self.sizes[end:], self.lines[end:]),
        )


@contextmanager
def list_batches(prefix: str, *, after: str, store: str) -> Iterator[Iterator[Batch]]:
    """List all objects of a range in a thread, thousands at a time. The caller gets the errors of the listing."""
    stop = threading.Event()
    received: queue.Queue[Batch | BaseException | None] = queue.Queue(BATCHES_AHEAD)

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                received.put(item, timeout=WAIT_SECONDS)
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
        except BaseException as fault:  # raised where the queue is read
            put(fault)

    threading.Thread(target=read, name="fsck-listing", daemon=True).start()
    try:
        yield _received(received)
    finally:
        stop.set()


def _received(received: queue.Queue[Batch | BaseException | None]) -> Iterator[Batch]:
    while (item := received.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item


def _batches(prefix: str, *, after: str, store: str) -> Generator[Batch]:
    pages = s3.list_objects(prefix, after=after, store=store)
    while next_pages := list(islice(pages, BATCH_PAGES)):
        batch = Batch([], [], [])
        for page in next_pages:
            batch.keys.extend(page.keys)
            batch.sizes.extend(page.sizes)
            batch.lines.extend(map(encode_line, page.keys, page.sizes, _etags(page)))
        yield batch


def _etags(page: s3.ListingPage) -> list[str]:
    """Return the ETags of a page, empty for previews: their rows have none to compare."""
    first, end = bisect_left(page.keys, PREVIEW_PREFIX), bisect_left(page.keys, BEHIND_PREVIEWS)
    return page.etags[:first] + [""] * (end - first) + page.etags[end:] if first < end else page.etags


BLOCK_ROWS = 5_000


BLOCK_SECONDS = 300.0  # for a block of rows that lie all over a cold disk


LAST_CHARACTER = "\U0010ffff"


BEHIND_PREVIEWS = "p0"  # comes after every key of a preview


# What the state of a row says about its object:
# settled   the object is there, with this size and ETag
# moving    the object can be created or deleted at any moment; the row explains it
# marked    known to be missing
# escaped   the key as COPY would write it: imported keys can contain any character
# late      stuck: by Postgres's clock its deadline has passed by more than the grace period
FILES = r"""
SELECT key, CASE WHEN origin = 'uploaded' THEN key
    ELSE replace(replace(replace(key, '\', '\\'), E'\t', '\t'), E'\n', '\n') END AS escaped,
    size, etag, id AS file_id, store, state::text, checksum, updated_at AS changed_at,
    state IN ('available', 'trashed') AND checksum_status <> 'missing' AS settled,
    state IN ('available', 'trashed') AND checksum_status = 'missing' AS marked,
    updated_at > statement_timestamp() - %(grace)s AS young,
    coalesce(CASE state
        WHEN 'completing' THEN lease_until
        WHEN 'uploading' THEN expires_at
        WHEN 'deleting' THEN greatest(updated_at, signed_until)
        WHEN 'trashed' THEN purge_after
    END < statement_timestamp() - %(grace)s, false) AS late
FROM uploads_file"""


# Rows of previews have no ETag, so both sides leave it out.
PREVIEWS_TOO = """
SELECT key, key, size, '' AS etag, file_id, store, state::text, '' AS checksum, updated_at AS changed_at,
    state = 'ready' AS settled, false AS marked, updated_at > statement_timestamp() - %(grace)s AS young,
    state = 'pending' AND lease_until < statement_timestamp() - %(grace)s AS late
FROM uploads_preview"""


BETWEEN = """
WHERE store = %(store)s AND key > %(after)s AND key >= %(prefix)s AND key <= %(upto)s ORDER BY key LIMIT %(limit)s"""


BOTH = "SELECT * FROM (({files}) UNION ALL ({previews})) AS rows ORDER BY key LIMIT %(limit)s"


BLOCK = r"""
SELECT count(*), max(key),
    count(*) FILTER (WHERE settled), coalesce(sum(size) FILTER (WHERE settled), 0)::bigint,
    coalesce(
        string_agg(escaped || E'\t' || size || E'\t' || etag || E'\n', '' ORDER BY key) FILTER (WHERE settled), ''
    ),
    coalesce(array_agg(key) FILTER (WHERE NOT settled AND NOT marked), '{}'),
    coalesce(array_agg(key) FILTER (WHERE marked), '{}'),
    coalesce(array_agg(key) FILTER (WHERE late), '{}')
FROM"""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows. `text` has one line `key TAB size TAB etag` for each settled row."""

    upto: str
    settled: int
    bytes: int
    text: str
    moving: frozenset[str]
    marked: frozenset[str]
    late: frozenset[str]


class Row(NamedTuple):
    """The current row of a key."""

    key: str
    escaped_key: str
    size: int
    etag: str
    file_id: UUID
    store: str
    state: str
    checksum: str
    changed_at: datetime
    settled: bool
    marked: bool
    young: bool
    late: bool


class Range(NamedTuple):
    """The rows of a store whose keys begin with `prefix` and lie after `after`, up to and including `upto`."""

    store: str
    prefix: str
    after: str
    upto: str


def read_block(key_range: Range, *, grace: float, limit: int = BLOCK_ROWS) -> Block:
    """Return up to `limit` rows from the start of the range. The block's `upto` says how far it goes."""
    parameters = {**key_range._asdict(), "grace": timedelta(seconds=grace), "limit": limit}
    rows = FILES + BETWEEN
    if key_range.upto >= PREVIEW_PREFIX and max(key_range.after, key_range.prefix) < BEHIND_PREVIEWS:
        rows = BOTH.format(files=rows, previews=PREVIEWS_TOO + BETWEEN)
    with statement_timeout(BLOCK_SECONDS) as cursor:
        cursor.execute(f"{BLOCK} ({rows}) AS ordered", parameters)
        count, last, settled, size, text, *keys = cursor.fetchone()
    return Block(last if count == limit else key_range.upto, settled, size, text, *map(frozenset, keys))


def rows_by_key(keys: Collection[str], *, grace: float) -> dict[str, list[Row]]:
    """Return every current row with one of these keys, in any store."""
    by_key: dict[str, list[Row]] = {}
    union = f"{FILES} WHERE key = ANY(%(keys)s) UNION ALL {PREVIEWS_TOO} WHERE key = ANY(%(keys)s)"
    parameters: dict[str, Any] = {"keys": list(keys), "grace": timedelta(seconds=grace)}
    with statement_timeout(BLOCK_SECONDS) as cursor:
        cursor.execute(union, parameters)
        for row in map(Row._make, cursor.fetchall()):
            by_key.setdefault(row.key, []).append(row)
    return by_key
