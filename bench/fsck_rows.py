"""The made-up bucket of these measurements, and the rows that fit it: number by number, in Python and in SQL alike.

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
    """An object of somebody else's bucket: a thousand lie in a folder."""
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


# As `uploaded`; takes `count` and `owner`. Triggers stay on.
PLANT = """
INSERT INTO uploads_file (
    id, key, owner_id, token, name, folded, current, visibility, claimed_type, detected_type, family, state, size,
    part_size, multipart_id, etag, checksum, checksum_algorithm, checksum_basis, created_at, updated_at, available_at
)
SELECT gen_random_uuid(),
    'f/' || lpad(to_hex(number * (4294967296 / %(count)s)), 8, '0') || substr(md5(number::text), 1, 24),
    %(owner)s, gen_random_uuid(), 'photo ' || number || '.jpg', 'photo ' || number || '.jpg', true, 'team',
    'image/jpeg', 'image/jpeg', 'image', 'available', number * 7919 %% 8999993 + 1000, 16777216, '',
    md5('etag ' || number), encode(sha256(number::text::bytea), 'base64') || '-1', 'sha256', 'store',
    '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00', '2026-01-02 03:04:05+00'
FROM generate_series(0, %(count)s::bigint - 1) AS number
"""


def _hash(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _size(number: int) -> int:
    return number * 7919 % 8999993 + 1000
