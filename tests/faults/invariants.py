"""The invariants after two sweeps, checked by rows and bucket alone, without the application's own checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import F

from tests.support.file_rows import stored_usage, usage_by_rows
from tests.support.stores import Bucket
from tests.support.upload_client import composite, cut
from uploads.models import Action, Event, File, Preview, PreviewState, State

STORED = {State.AVAILABLE, State.TRASHED}
OWN_KEYS = {"amalga.json"}


def assert_invariants(bucket: Bucket, *, acknowledged: Mapping[UUID, bytes]) -> None:
    """Assert that R1 to R5 hold, nothing is in progress, and `acknowledged` files have these bytes."""
    if problems := list(violations(bucket, acknowledged=acknowledged)):
        raise AssertionError("; ".join(problems))


def violations(bucket: Bucket, *, acknowledged: Mapping[UUID, bytes]) -> Iterator[str]:
    rows = list(File.objects.order_by("pk"))
    objects = bucket.objects()
    yield from _acknowledged(rows, bucket, acknowledged)
    yield from (problem for row in rows for problem in _row(row, bucket, objects))
    yield from _unexplained(rows, bucket, objects)
    yield from _previews(objects)
    yield from _events(rows)
    for person in User.objects.order_by("pk"):
        if stored_usage(person) != usage_by_rows(person):
            yield f"{person} has used {stored_usage(person)} and holds {usage_by_rows(person)}"


def _acknowledged(rows: list[File], bucket: Bucket, acknowledged: Mapping[UUID, bytes]) -> Iterator[str]:
    by_id = {row.pk: row for row in rows}
    for pk, body in acknowledged.items():
        row = by_id.get(pk)
        if row is None or row.state not in STORED:
            yield f"{pk} was reported as stored, but is {row.state if row else 'gone'}"
        elif bucket.read(row.key) != body:
            yield f"{pk} was reported as stored, but has other bytes"


def _row(row: File, bucket: Bucket, objects: Mapping[str, int]) -> Iterator[str]:
    """Check R1, and that nothing is in progress."""
    if row.state not in STORED:
        yield f"{row.pk} is still {row.state}"
        return
    if objects.get(row.key) != row.size:
        yield f"{row.pk} of {row.size} bytes has an object of {objects.get(row.key)}"
        return
    head = bucket.client.head_object(Bucket=bucket.name, Key=row.key)
    if head["ETag"].strip('"') != row.etag:
        yield f"{row.pk} has another ETag than its object"
    if composite(cut(bucket.read(row.key), row.part_size)) != row.checksum:
        yield f"{row.pk} has another checksum than its bytes"
    if not row.key.startswith("f/") or row.multipart_id or row.lease_until:
        yield f"{row.pk} still has the fields of an upload"


def _unexplained(rows: list[File], bucket: Bucket, objects: Mapping[str, int]) -> Iterator[str]:
    """Check R2 and R4 (every object and multipart upload has a row) and R5 (every key has one row)."""
    keys = [row.key for row in rows] + list(Preview.objects.values_list("key", flat=True))
    yield from (f"{key} belongs to {count} rows" for key, count in Counter(keys).items() if count > 1)
    yield from (f"{key} has no row" for key in sorted(set(objects) - set(keys) - OWN_KEYS))
    yield from (f"{key} has an orphaned multipart upload" for key, _id in bucket.multipart_uploads())


def _previews(objects: Mapping[str, int]) -> Iterator[str]:
    for preview in Preview.objects.all():
        if preview.state == PreviewState.READY and objects.get(preview.key) != preview.size:
            yield f"{preview} has an object of {objects.get(preview.key)} bytes"
        if preview.state != PreviewState.READY and preview.key in objects:
            yield f"{preview} is {preview.state}, and has an object"


def _events(rows: list[File]) -> Iterator[str]:
    """Each file has exactly one event: as an upload, or as a version of one."""
    uploads = Event.objects.filter(action__in=[Action.UPLOAD, Action.VERSION], file_id__isnull=False)
    recorded = Counter(link for link in uploads.values_list("file_id", flat=True) if link)
    existing = Counter(row.permanent_id for row in rows)
    purged = set(Event.objects.filter(action=Action.PURGE).values_list("file_id", flat=True))
    for link in recorded.keys() | existing.keys():
        if recorded[link] != existing[link] and link not in purged:
            yield f"{link} has {existing[link]} versions, and events tell of {recorded[link]}"
    twice = Event.objects.filter(action=Action.PURGE).values_list(F("file_id"), "detail__size")
    yield from (f"{link} was purged {count} times" for (link, _size), count in Counter(twice).items() if count > 1)
