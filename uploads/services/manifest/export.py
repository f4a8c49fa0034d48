"""Export every row, as of one moment."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.db.models import Count, Exists, Model, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Collate

from amalga.db import DAY_SECONDS, statement_timeout
from uploads import s3
from uploads.errors import StorageUnavailable
from uploads.keys import MANIFEST_PREFIX
from uploads.models import (
    Event,
    File,
    FileRequest,
    Folder,
    Grant,
    GuestSession,
    Installation,
    ShareLink,
    ShareLinkFile,
    Tag,
    Tagging,
    Usage,
)
from uploads.models.querysets import database_now
from uploads.models.states import STORED
from uploads.parts import MAX_PARTS, digest_of
from uploads.services.manifest.format import FORMAT

NAME = re.compile(MANIFEST_PREFIX + r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z\.jsonl\.gz")
PART_BYTES = 64 * 1024**2
PEOPLE_BATCH_SIZE = 1000


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
    for line in _all_lines(str(installation), _tables(events=events), exported):
        digest.update(line)
        exported.lines += 1
        yield line
    exported.sha256 = digest.hexdigest()
    yield _line({"kind": "end", "lines": exported.lines, "sha256": exported.sha256})


def save_in_bucket(path: Path) -> str:
    """Save a manifest under `manifests/` in the main store, and return its key. Raises StorageUnavailable."""
    key = f"{MANIFEST_PREFIX}{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}.jsonl.gz"
    size = path.stat().st_size
    store, tag = s3.main_store().name, s3.CopyTag(str(Installation.objects.own_id()))
    part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
    with path.open("rb") as file:
        if size <= part_bytes:
            body = file.read()
            s3.put_file(key, io.BytesIO(body), digests=_digests(body), store=store, tag=tag)
        else:
            _save_parts(key, iter(lambda: file.read(part_bytes), b""), size, store, tag)
    head = s3.head(key, store=store)
    if head is None or head.size != size:
        raise StorageUnavailable("HeadObject: the manifest differs from what was sent")
    return key


def latest_in_bucket() -> str | None:
    """Return the key of the newest manifest in the main store, ignoring objects with other names."""
    newest = None
    for page in s3.list_objects(MANIFEST_PREFIX):
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
        s3.complete_multipart(key, upload_id, uploaded, size=size, store=store, profile="bulk")
    except BaseException:
        s3.abort_multipart(key, upload_id, store=store)
        raise


def _digests(piece: bytes) -> tuple[str, str]:
    md5 = hashlib.md5(piece, usedforsecurity=False).digest()
    return digest_of(piece), base64.b64encode(md5).decode()


def _all_lines(installation: str, tables: Sequence[Table], exported: Exported) -> Iterator[bytes]:
    with statement_timeout(DAY_SECONDS) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        at = database_now()  # the first query, of whose moment the snapshot is
        exported.counts = {
            "group": Group.objects.count(), "person": User.objects.count(),
            **{table.kind: table.rows.count() for table in tables},
        }  # fmt: skip
        skipped = File.objects.exclude(state__in=STORED).order_by("state").values_list("state")
        exported.skipped = dict(skipped.annotate(count=Count("pk")))
        yield _line({
            "kind": "manifest", "format": FORMAT, "installation": installation, "at": at.isoformat(),
            "counts": exported.counts, "skipped": exported.skipped,
        })  # fmt: skip
        yield from map(_line, _groups())
        yield from map(_line, _people())
        for table in tables:
            sql, parameters = table.rows.query.sql_with_params()
            copy_sql = f"COPY (SELECT row_to_json(row) FROM ({sql}) AS row) TO STDOUT"  # noqa: S608  (SQL of Django)
            with connection.wrap_database_errors, cursor.copy(copy_sql, parameters) as copy:
                for (row,) in copy.rows():
                    yield row.encode() + b"\n"


def _line(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# Columns that no manifest has: transient ones of files (leases, active uploads, retries of the sweep), those set by
# triggers, and normalized names, which are computed again. A manifest may be copied elsewhere, so it holds no password
# hash. A digest of a token's 144 random bits opens nothing.
LEFT_OUT: dict[type[Model], set[str]] = {
    File: {
        "normalized_name", "natural_name", "multipart_id", "expires_at", "signed_until", "lease_until", "retry_at",
        "tries",
    },
    Folder: {"normalized_name", "natural_name", "path", "access_root_id"},
    Tag: {"normalized_name"},
    ShareLink: {"password"},
}  # fmt: skip
PERSON_FIELDS = ("id", "username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser")


class Table(NamedTuple):
    """A table to export: its rows have `kind` and the columns, in an order that depends only on the rows."""

    kind: str
    rows: QuerySet[Any, Any]


def columns_of(model: type[Model]) -> list[str]:
    """Return the columns that a manifest keeps; new columns are included automatically."""
    columns = [str(field.column) for field in model._meta.concrete_fields]
    return [column for column in columns if column not in LEFT_OUT.get(model, set())]


def _table(kind: str, rows: QuerySet[Any, Any], *order: Any, columns: Sequence[str] = ()) -> Table:
    selected = columns or columns_of(rows.model)
    return Table(kind, rows.order_by(*order).annotate(kind=Value(kind)).values("kind", *selected))


def _tables(*, events: bool) -> list[Table]:
    files = File.objects.filter(state__in=STORED)
    links = ShareLink.objects.filter(password="")  # without their passwords, the others would open to everyone
    limits = Usage.objects.filter(Q(quota_bytes__isnull=False) | Q(quota_files__isnull=False))
    tables = [
        _table("folder", Folder.objects.all(), "path__len", "id"),
        _table("grant", Grant.objects.all(), "id"),
        _table("tag", Tag.objects.all(), "id"),
        _table("file_request", FileRequest.objects.all(), "id"),
        _table("guest", GuestSession.objects.filter(Exists(files.filter(guest_session=OuterRef("pk")))), "id"),
        _table("file", files, Collate("store", "C"), "key"),
        _table("tagging", Tagging.objects.filter(file__in=files), "id"),
        _table("share_link", links, "id"),
        _table("share_link_file", ShareLinkFile.objects.filter(link__in=links), "id"),
        _table("limit", limits, "owner_id", columns=["owner_id", "quota_bytes", "quota_files"]),
    ]
    return [*tables, _table("event", Event.objects.all(), "id")] if events else tables


def _groups() -> Iterator[dict[str, Any]]:
    for group in Group.objects.order_by("id").prefetch_related("permissions__content_type").iterator(PEOPLE_BATCH_SIZE):
        yield {"kind": "group", "id": group.pk, "name": group.name, "permissions": _labels(group.permissions.all())}


def _people() -> Iterator[dict[str, Any]]:
    """Yield the users without password hashes, because a manifest may be copied elsewhere."""
    users = User.objects.order_by("id").prefetch_related("groups", "user_permissions__content_type")
    for user in users.iterator(PEOPLE_BATCH_SIZE):
        yield {
            "kind": "person", **{name: getattr(user, name) for name in PERSON_FIELDS},
            "date_joined": user.date_joined.isoformat(), "groups": sorted(group.pk for group in user.groups.all()),
            "permissions": _labels(user.user_permissions.all()),
        }  # fmt: skip


def _labels(permissions: Iterable[Permission]) -> list[str]:
    return sorted(f"{permission.content_type.app_label}.{permission.codename}" for permission in permissions)
