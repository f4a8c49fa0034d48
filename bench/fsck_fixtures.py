"""The synthetic bucket of the fsck measurements, and databases with the rows that fit it.

Keys come in the order of their bytes, spread evenly over all first digits, as random ones are. An object follows from
its number, in Python and in SQL alike.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

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


# --- databases with these rows, and the environment of a process ---------------------------------

MARKER = "5eed5eed-0000-4000-8000-000000000000"
OWNER = "bench"
MIB = 1024**2
PART_BYTES = 16 * MIB
EMPTY = "bench_empty"
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Body:
    """An object that holds real bytes: its key, how many, its ETag and the checksum of its row."""

    key: str
    size: int
    etag: str
    checksum: str


def url_of(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def environment(database: str, endpoint: str | None = None) -> dict[str, str]:
    """Return the variables of this run with another database and possibly another storage, for any S3 client."""
    env = {**os.environ, "DATABASE_URL": url_of(database), "RCLONE_CONFIG": os.devnull}
    env |= {"AWS_ENDPOINT_URL_S3": endpoint} if endpoint else {}
    remote = {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "LIST_VERSION": "2",
              "ENDPOINT": env["AWS_ENDPOINT_URL_S3"]}  # fmt: skip
    return {**env, **{f"RCLONE_CONFIG_STORE_{name}": value for name, value in remote.items()}}


def prepare() -> None:
    """Create a database without files, with the marker of its bucket and a user who can own files."""
    _create(EMPTY)
    subprocess.run(manage("migrate", "--verbosity", "0"), env=environment(EMPTY), cwd=PROJECT, check=True)
    with psycopg.connect(url_of(EMPTY), autocommit=True) as connection:
        connection.execute("INSERT INTO uploads_installation (number, id) VALUES (1, %s)", [MARKER])
        connection.execute(
            """INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name,
            email, date_joined) VALUES (%s, '', true, true, true, '', '', '', now())""",
            [OWNER],
        )


def copy(name: str, *, of: str = EMPTY) -> str:
    """Create a copy of that database, replacing an older one; return its name."""
    _create(name, of)
    return name


def with_rows(count: int) -> str:
    """Create a library of so many files, whose objects the listing server has; return its name. Triggers stay on."""
    return _with_sql(f"bench_rows_{count}", AVAILABLE, count)


def with_expired(count: int) -> str:
    """Create so many expired uploads. The listing server has the object of every other one."""
    return _with_sql(f"bench_expired_{count}", EXPIRED, count)


def with_bodies(bodies: Sequence[Body]) -> str:
    name = copy("bench_bodies")
    with psycopg.connect(url_of(name), autocommit=True) as connection:
        with connection.cursor() as cursor:
            owner = _owner(connection)
            cursor.executemany(READABLE, [(body.key, owner, body.size, body.etag, body.checksum) for body in bodies])
        _count(connection)
    return name


def store(count: int, size: int, folder: Path, env: dict[str, str]) -> list[Body]:
    """Put so many objects of random bytes into the bucket, and copies of them into the folder."""
    import boto3
    from botocore.config import Config

    settings = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    client = boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL_S3"], config=settings)
    block = os.urandom(size)

    def put(number: int) -> Body:
        key = f"f/{hashlib.md5(f'{size} {number}'.encode(), usedforsecurity=False).hexdigest()}"
        body = number.to_bytes(8) + block[8:]
        (folder / key).write_bytes(body)
        response = client.put_object(Bucket=env["AWS_STORAGE_BUCKET_NAME"], Key=key, Body=body)
        return Body(key, size, response["ETag"].strip('"'), checksum_of(body))

    (folder / "f").mkdir(exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(put, range(count)))


def checksum_of(body: bytes) -> str:
    digests = [hashlib.sha256(body[at : at + PART_BYTES]).digest() for at in range(0, len(body), PART_BYTES)]
    if len(digests) == 1:
        return base64.b64encode(digests[0]).decode()
    return f"{base64.b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(digests)}"


def rows_in(name: str, where: str = "true") -> int:
    with psycopg.connect(url_of(name)) as connection:
        row = connection.execute(f"SELECT count(*) FROM uploads_file WHERE {where}").fetchone()
    return int(row[0]) if row else 0


def _with_sql(name: str, rows: str, count: int) -> str:
    copy(name)
    with psycopg.connect(url_of(name), autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute(rows, {"count": count, "owner": _owner(connection)})
        _count(connection)
    return name


def _owner(connection: psycopg.Connection[tuple[object, ...]]) -> object:
    row = connection.execute("SELECT id FROM auth_user WHERE username = %s", [OWNER]).fetchone()
    return row[0] if row else None


def _count(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute("""INSERT INTO uploads_usage (owner_id, files, bytes)
        SELECT owner_id, count(*), sum(size) FROM uploads_file GROUP BY owner_id""")
    connection.execute("VACUUM ANALYZE")


def _create(name: str, template: str = "template1") -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(statement)
