"""Export every row, as of one moment."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import connection

from amalga.db.timeouts import long_transaction
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.models import Event, File, Folder, Grant, Installation, Tag, Tagging
from uploads.parts import MAX_PARTS, encode_digest
from uploads.services.manifest.format import FORMAT

PREFIX = "manifests/"
NAME = re.compile(PREFIX + r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z\.jsonl\.gz")
PART_BYTES = 64 * 1024**2


@dataclass
class Exported:
    """The number of rows written, by kind, and of files left out, by state: those being uploaded or deleted."""

    counts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    sha256: str = ""


def export_lines(exported: Exported, *, events: bool) -> Iterator[bytes]:
    """Yield the lines of a manifest: one consistent snapshot, however long it takes, without blocking writers.

    The caller must not use the storage before the last line, as all lines come from one transaction. Memory does not
    grow.
    """
    installation = Installation.objects.own_id()
    digest = hashlib.sha256()
    tables = [*TABLES, EVENTS] if events else TABLES
    for line in _all_lines(str(installation), tables, exported):
        digest.update(line)
        exported.lines += 1
        yield line
    exported.sha256 = digest.hexdigest()
    yield _line({"kind": "end", "lines": exported.lines, "sha256": exported.sha256})


def save_in_bucket(path: Path) -> str:
    """Save a manifest under `manifests/` in the main store, and return its key. Raises StorageUnavailable."""
    key = f"{PREFIX}{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}.jsonl.gz"
    size = path.stat().st_size
    store, tag = s3.main_store().name, s3.CopyTag(str(Installation.objects.own_id()))
    part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
    with path.open("rb") as file:
        if size <= part_bytes:
            body = file.read()
            s3.put_file(key, io.BytesIO(body), digests=_digests(body), store=store, mark=tag)
        else:
            _save_parts(key, iter(lambda: file.read(part_bytes), b""), size, store, tag)
    head = s3.head(key, store=store)
    if head is None or head.size != size:
        raise StorageUnavailable("HeadObject: the manifest is not there as it was sent")
    return key


def latest_in_bucket() -> str | None:
    """Return the key of the newest manifest in the main store, ignoring objects with other names."""
    newest = None
    for page in s3.list_objects(PREFIX):
        newest = next((key for key in reversed(page.keys) if NAME.fullmatch(key)), newest)
    return newest


def _save_parts(key: str, pieces: Iterator[bytes], size: int, store: str, tag: s3.CopyTag) -> None:
    upload_id = s3.create_multipart(key, metadata=tag.metadata(), store=store)
    try:
        uploaded = [
            s3.put_part(
                key, upload_id, number, io.BytesIO(piece), digests=_digests(piece), length=len(piece), store=store
            )
            for number, piece in enumerate(pieces, start=1)
        ]
        s3.complete_multipart(key, upload_id, uploaded, size=size, store=store, kind="bulk")
    except BaseException:
        s3.abort_multipart(key, upload_id, store=store)
        raise


def _digests(piece: bytes) -> tuple[str, str]:
    md5 = hashlib.md5(piece, usedforsecurity=False).digest()
    return encode_digest(hashlib.sha256(piece).digest()), base64.b64encode(md5).decode()


def _all_lines(installation: str, tables: list[Table], exported: Exported) -> Iterator[bytes]:
    with long_transaction() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        for table in tables:
            cursor.execute(table.count)
            exported.counts[table.kind] = cursor.fetchone()[0]
        cursor.execute(LEFT_OUT)
        exported.skipped = dict(cursor.fetchall())
        cursor.execute("SELECT now()")
        (at,) = cursor.fetchone()
        yield _line({
            "kind": "manifest", "format": FORMAT, "installation": installation, "at": at.isoformat(),
            "counts": exported.counts, "skipped": exported.skipped,
        })  # fmt: skip
        for table in tables:
            with connection.wrap_database_errors, cursor.copy(f"COPY ({table.sql}) TO STDOUT") as copy:
                for (row,) in copy.rows():
                    yield row.encode() + b"\n"


def _line(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# Transient columns: leases, active uploads, retries of the sweep. Normalized names are computed again.
TRANSIENT = {"normalized_name", "multipart_id", "expires_at", "signed_until", "lease_until", "retry_at", "tries"}
# Set by a trigger.
DERIVED = {"path", "access_root_id"}
STORED = "state IN ('available', 'trashed')"


Rows = type[File] | type[Folder] | type[Tag] | type[Grant] | type[Tagging] | type[Event]


@dataclass(frozen=True, slots=True)
class Table:
    """A table to export. `sql` returns one JSON text per row, in an order that depends only on the rows."""

    kind: str
    sql: str
    count: str


def columns_of(model: Rows) -> list[str]:
    """Return the columns that a manifest keeps; new columns are included automatically."""
    columns = [str(field.column) for field in model._meta.concrete_fields]
    return [column for column in columns if column not in TRANSIENT | DERIVED]


ROWS = """
SELECT row_to_json(entry) FROM (SELECT '{kind}' AS kind, {columns} FROM {table} WHERE {where} ORDER BY {order}) AS entry
"""
COUNT = "SELECT count(*) FROM {table} WHERE {where}"


def _model_table(kind: str, model: Rows, *, order: str, where: str = "true") -> Table:
    table, columns = model._meta.db_table, ", ".join(f'"{column}"' for column in columns_of(model))
    sql = ROWS.format(kind=kind, columns=columns, table=table, where=where, order=order)
    return Table(kind, sql, COUNT.format(table=table, where=where))


RIGHTS = """
    SELECT coalesce(array_agg(app_label || '.' || codename ORDER BY app_label, codename), '{{}}')
    FROM {through} AS given JOIN auth_permission AS right_ ON right_.id = given.permission_id
    JOIN django_content_type AS about ON about.id = right_.content_type_id WHERE given.{column} = who.id
"""

GROUPS = """
SELECT row_to_json(entry) FROM (
    SELECT 'group' AS kind, id, name, ({rights}) AS permissions
    FROM auth_group AS who ORDER BY id
) AS entry
"""

# Without password hashes, because a manifest may be copied elsewhere.
PEOPLE = """
SELECT row_to_json(entry) FROM (
    SELECT 'person' AS kind, id, username, email, first_name, last_name, is_active, is_staff, is_superuser, date_joined,
        (SELECT coalesce(array_agg(group_id ORDER BY group_id), '{{}}') FROM auth_user_groups WHERE user_id = who.id)
            AS groups,
        ({rights}) AS permissions
    FROM auth_user AS who ORDER BY id
) AS entry
"""

OF_GROUPS = RIGHTS.format(through="auth_group_permissions", column="group_id")
OF_PEOPLE = RIGHTS.format(through="auth_user_user_permissions", column="user_id")
IN_FILES = "file_id IN (SELECT id FROM uploads_file WHERE {stored})"
OF_STORED = IN_FILES.format(stored=STORED)
TABLES = [
    Table("group", GROUPS.format(rights=OF_GROUPS), "SELECT count(*) FROM auth_group"),
    Table("person", PEOPLE.format(rights=OF_PEOPLE), "SELECT count(*) FROM auth_user"),
    _model_table("folder", Folder, order="cardinality(path), id"),
    _model_table("grant", Grant, order="id"),
    _model_table("tag", Tag, order="id"),
    _model_table("file", File, order='store COLLATE "C", key', where=STORED),
    _model_table("tagging", Tagging, order="id", where=OF_STORED),
]
EVENTS = _model_table("event", Event, order="id")
MOVING = "SELECT state, count(*) FROM uploads_file WHERE NOT ({stored}) GROUP BY state ORDER BY state"
LEFT_OUT = MOVING.format(stored=STORED)
