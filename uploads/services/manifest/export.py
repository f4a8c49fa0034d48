"""Write every row down, as of one moment."""

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

from uploads import s3
from uploads.errors import StoreUnavailable
from uploads.models import Installation
from uploads.parts import MOST_PARTS, encode_digest
from uploads.services.leisure import at_leisure
from uploads.services.manifest.lines import FORMAT
from uploads.services.manifest.tables import EVENTS, LEFT_OUT, TABLES, Table

PREFIX = "manifests/"
NAME = re.compile(PREFIX + r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z\.jsonl\.gz")
PART_BYTES = 64 * 1024**2


@dataclass
class Exported:
    """How many rows of each kind were written, and which files were left out, by state: they are in motion."""

    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    sha256: str = ""


def export_lines(exported: Exported, *, events: bool) -> Iterator[bytes]:
    """The lines of a manifest, one consistent picture however long it takes; people may go on working.

    Nothing may be asked of the store before the last line: all of it is one transaction. Memory does not grow.
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
    """Put a manifest under `manifests/` in the main store; its key. Raises StoreUnavailable: then run it again."""
    key = f"{PREFIX}{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}.jsonl.gz"
    size = path.stat().st_size
    store, mark = s3.main_store().name, s3.Mark(str(Installation.objects.own_id()))
    part_bytes = max(PART_BYTES, -(-size // MOST_PARTS))
    with path.open("rb") as file:
        if size <= part_bytes:
            piece = file.read()
            s3.put_file(key, io.BytesIO(piece), digests=_digests(piece), store=store, mark=mark)
        else:
            _save_parts(key, iter(lambda: file.read(part_bytes), b""), size, store, mark)
    saved = s3.head(key, store=store)
    if saved is None or saved.size != size:
        raise StoreUnavailable("HeadObject: the manifest is not there as it was sent")
    return key


def latest_in_bucket() -> str | None:
    """The key of the newest manifest in the main store; whatever else lies beside them is none."""
    newest = None
    for page in s3.list_objects(PREFIX):
        newest = next((key for key in reversed(page.keys) if NAME.fullmatch(key)), newest)
    return newest


def _save_parts(key: str, pieces: Iterator[bytes], size: int, store: str, mark: s3.Mark) -> None:
    begun = s3.create_multipart(key, metadata=mark.metadata(), store=store)
    try:
        sent = [
            s3.put_part(key, begun, number, io.BytesIO(piece), digests=_digests(piece), length=len(piece), store=store)
            for number, piece in enumerate(pieces, start=1)
        ]
        s3.complete_multipart(key, begun, sent, size=size, store=store, kind="slow")
    except BaseException:
        s3.abort_multipart(key, begun, store=store)
        raise


def _digests(piece: bytes) -> tuple[str, str]:
    md5 = hashlib.md5(piece, usedforsecurity=False).digest()
    return encode_digest(hashlib.sha256(piece).digest()), base64.b64encode(md5).decode()


def _all_lines(installation: str, tables: list[Table], exported: Exported) -> Iterator[bytes]:
    with at_leisure() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        for table in tables:
            cursor.execute(table.count)
            exported.counts[table.kind] = cursor.fetchone()[0]
        cursor.execute(LEFT_OUT)
        exported.left_out = dict(cursor.fetchall())
        cursor.execute("SELECT now()")
        (at,) = cursor.fetchone()
        yield _line({
            "kind": "manifest", "format": FORMAT, "installation": installation, "at": at.isoformat(),
            "counts": exported.counts, "left_out": exported.left_out,
        })  # fmt: skip
        for table in tables:
            with connection.wrap_database_errors, cursor.copy(f"COPY ({table.sql}) TO STDOUT") as copy:
                for (row,) in copy.rows():
                    yield row.encode() + b"\n"


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
