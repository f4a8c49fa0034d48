"""The synthetic bucket of these measurements, and the rows that fit it: number by number, in Python and in SQL alike.

Keys come in the order of their bytes, spread evenly over all first digits, as random ones are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

MARKER_KEY = "amalga.json"
KEY_SPACE = 2**32  # the first eight digits of a key; the rest is a hash of its number
LAST_MODIFIED = "2026-01-02T03:04:05.000Z"
FILES_IN_A_FOLDER = 1000


class Entry(NamedTuple):
    key: str
    size: int
    etag: str


def uploaded(number: int, count: int) -> Entry:
    """The object of one row of ours, of so many."""
    head = number * (KEY_SPACE // count)
    return Entry(f"f/{head:08x}{_hash(str(number))[:24]}", _size(number), _hash(f"etag {number}"))


def photo(number: int, _count: int) -> Entry:
    """An object of another bucket: a thousand lie in a folder."""
    place = number // FILES_IN_A_FOLDER
    return Entry(
        f"photos/{place // 100:05}/{place % 100:02}/IMG_{number:09}.jpg", _size(number), _hash(f"etag {number}")
    )


KINDS: dict[str, Callable[[int, int], Entry]] = {"uploaded": uploaded, "photos": photo}


def entries(kind: str, count: int, marker: str) -> Iterator[Entry]:
    """All objects of the bucket in the order of their keys; the marker, which names an installation, is the first."""
    body = marker_body(marker)
    yield Entry(MARKER_KEY, len(body), hashlib.md5(body, usedforsecurity=False).hexdigest())
    for number in range(count):
        yield KINDS[kind](number, count)


def marker_body(installation: str) -> bytes:
    return json.dumps({"installation": installation}).encode()


# The key, size and ETag of `uploaded`.
_KEY = "'f/' || lpad(to_hex(number * (4294967296 / %(count)s)), 8, '0') || substr(md5(number::text), 1, 24)"
_FACTS = f"""
    gen_random_uuid() AS id, gen_random_uuid() AS token, {_KEY} AS key, %(owner)s AS owner_id,
    'photo ' || number || '.jpg' AS name, 'photo ' || number || '.jpg' AS normalized_name,
    true AS current, 'team' AS visibility,
    'image/jpeg' AS declared_type, 'image' AS category, number * 7919 %% 8999993 + 1000 AS size, 'sha256' AS algorithm,
    encode(sha256(number::text::bytea), 'base64') AS checksum, md5('etag ' || number) AS etag,
    '2026-01-02 03:04:05+00'::timestamptz AS at
"""

# Take `count` and `owner`.
AVAILABLE = f"""
INSERT INTO uploads_file (
    id, token, key, owner_id, name, normalized_name, current, visibility, declared_type, detected_type, category, state,
    size, part_size, multipart_id, etag, checksum, checksum_algorithm, checksum_status, created_at, updated_at,
    available_at
)
SELECT id, token, key, owner_id, name, normalized_name, current, visibility, declared_type, declared_type, category,
    'available', size, 16777216, '', etag, checksum, algorithm, 'verified_by_storage', at, at, at
FROM (SELECT {_FACTS} FROM generate_series(0, %(count)s::bigint - 1) AS number) AS numbered
"""

# Every other one has the key of no object; every tenth was sent in parts.
EXPIRED = f"""
INSERT INTO uploads_file (
    id, token, key, owner_id, name, normalized_name, current, visibility, declared_type, detected_type, category, state,
    size, part_size, multipart_id, etag, checksum, checksum_algorithm, checksum_status, created_at, updated_at,
    expires_at
)
SELECT id, token, CASE WHEN number %% 2 = 0 THEN key ELSE 'f/' || md5('never sent ' || number) END, owner_id, name,
    normalized_name, current, visibility, declared_type, '', category, 'uploading', size,
    CASE WHEN number %% 10 = 0 THEN 500 ELSE 16777216 END,
    CASE WHEN number %% 10 = 0 THEN md5('parts ' || number) ELSE '' END, '', '', algorithm, 'unverified', at, at, at
FROM (SELECT number, {_FACTS} FROM generate_series(0, %(count)s::bigint - 1) AS number) AS numbered
"""

# Takes key, owner, size, ETag and checksum.
READABLE = """
INSERT INTO uploads_file (
    id, token, key, owner_id, name, normalized_name, current, visibility, declared_type, detected_type, category, state,
    size, part_size, multipart_id, etag, checksum, checksum_algorithm, checksum_status, available_at
)
VALUES (gen_random_uuid(), gen_random_uuid(), %s, %s, 'some bytes', 'some bytes', true, 'team', '',
    'application/octet-stream', 'other', 'available', %s, 16777216, '', %s, %s, 'sha256', 'verified_by_storage', now())
"""


def _hash(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _size(number: int) -> int:
    return number * 7919 % 8999993 + 1000
