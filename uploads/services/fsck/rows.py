"""The database's side: what rows say of the bucket, in the order of their keys.

Rows are asked for in blocks by key, each in a transaction of its own: no snapshot is held while a bucket is listed for
hours, and pgbouncer may give every block another connection. A block comes as one text that Postgres has put together,
because a row at a time would cost Python more than all the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from amalga.database import ask_patiently

BLOCK_ROWS = 5_000
BLOCK_SECONDS = 300.0  # for a block of rows that lie all over a cold disk
LATER_THAN_ANY = "\U0010ffff"
PREVIEWS, BEHIND_PREVIEWS = "p/", "p0"

# What a row means for its object:
# settled   the object is there, with this size and ETag
# moving    an object may come or go any moment; the row explains it
# marked    known to be missing
# told is the key as COPY would write it: what was brought in with a bucket may hold any character
# late      should have moved on: Postgres's clock is past the moment by more than the grace
FILES = r"""
SELECT key, CASE WHEN origin = 'uploaded' THEN key
    ELSE replace(replace(replace(key, '\', '\\'), E'\t', '\t'), E'\n', '\n') END AS told,
    size, etag, id AS file_id, store, state::text, checksum, updated_at AS changed_at,
    state IN ('available', 'trashed') AND checksum_basis <> 'missing' AS settled,
    state IN ('available', 'trashed') AND checksum_basis = 'missing' AS marked,
    updated_at > statement_timestamp() - %(grace)s AS young,
    coalesce(CASE state
        WHEN 'completing' THEN lease_until
        WHEN 'uploading' THEN expires_at
        WHEN 'deleting' THEN greatest(updated_at, signed_until)
        WHEN 'trashed' THEN purge_after
    END < statement_timestamp() - %(grace)s, false) AS late
FROM uploads_file"""
# Rows of previews keep no ETag, so theirs is left out on both sides.
PREVIEWS_TOO = """
SELECT key, key, size, '' AS etag, file_id, store, state::text, '' AS checksum, made_at AS changed_at,
    state = 'ready' AS settled, false AS marked, made_at > statement_timestamp() - %(grace)s AS young,
    state = 'making' AND lease_until < statement_timestamp() - %(grace)s AS late
FROM uploads_preview"""
BETWEEN = """
WHERE store = %(store)s AND key > %(after)s AND key >= %(prefix)s AND key <= %(upto)s ORDER BY key LIMIT %(most)s"""
BOTH = "SELECT * FROM (({files}) UNION ALL ({previews})) AS rows ORDER BY key LIMIT %(most)s"
BLOCK = r"""
SELECT count(*), max(key),
    count(*) FILTER (WHERE settled), coalesce(sum(size) FILTER (WHERE settled), 0)::bigint,
    coalesce(string_agg(told || E'\t' || size || E'\t' || etag || E'\n', '' ORDER BY key) FILTER (WHERE settled), ''),
    coalesce(array_agg(key) FILTER (WHERE NOT settled AND NOT marked), '{}'),
    coalesce(array_agg(key) FILTER (WHERE marked), '{}'),
    coalesce(array_agg(key) FILTER (WHERE late), '{}')
FROM"""


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring rows. `text` has one line `key TAB size TAB etag` for each that is settled."""

    upto: str
    settled: int
    bytes: int
    text: str
    moving: frozenset[str]
    marked: frozenset[str]
    late: frozenset[str]


class Row(NamedTuple):
    """What is written of a key now."""

    key: str
    told: str
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
    """Rows of a store whose key begins with `prefix` and comes behind `after`, up to and with `upto`."""

    store: str
    prefix: str
    after: str
    upto: str


def block(of: Range, *, grace: float, most: int = BLOCK_ROWS) -> Block:
    """The first rows of the range, at most `most`. `upto` of the answer says how far it goes; it may be the end."""
    asked = {**of._asdict(), "grace": timedelta(seconds=grace), "most": most}
    rows = FILES + BETWEEN
    if of.upto >= PREVIEWS and max(of.after, of.prefix) < BEHIND_PREVIEWS:
        rows = BOTH.format(files=rows, previews=PREVIEWS_TOO + BETWEEN)
    ((count, last, settled, size, text, *keys),) = ask_patiently(
        f"{BLOCK} ({rows}) AS ordered", asked, seconds=BLOCK_SECONDS
    )
    return Block(last if count == most else of.upto, settled, size, text, *map(frozenset, keys))


def rows_of(keys: Collection[str], *, grace: float) -> dict[str, list[Row]]:
    """Every row with one of these keys, in whatever store, as it is at this moment."""
    found: dict[str, list[Row]] = {}
    union = f"{FILES} WHERE key = ANY(%(keys)s) UNION ALL {PREVIEWS_TOO} WHERE key = ANY(%(keys)s)"
    asked = {"keys": list(keys), "grace": timedelta(seconds=grace)}
    for row in map(Row._make, ask_patiently(union, asked, seconds=BLOCK_SECONDS)):
        found.setdefault(row.key, []).append(row)
    return found


def moment() -> datetime:
    """The database's time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchall()[0][0]
        return now
