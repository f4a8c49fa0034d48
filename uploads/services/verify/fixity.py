"""Check an object against its row, and save the result."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from amalga.log import field_value
from uploads import s3
from uploads.media_types import category_of
from uploads.models import Category, ChecksumStatus, File, FindingKind, NotificationKind, Refusal, State
from uploads.models.states import FAILED_CHECKSUMS
from uploads.parts import CompositeHash
from uploads.s3.objects import FIRST_BYTES
from uploads.services.bucket_guard import require_marker
from uploads.services.mime import detect_type
from uploads.services.notifications import notify_about_file
from uploads.services.stored_objects import new_encoding_fields

logger = logging.getLogger(__name__)


def never() -> bool:
    return False


class ResumableHasher:
    """Hashes one object. It can pause at the end of a part, and another process can resume with the digests so far.

    Memory does not grow with the object.
    """

    def __init__(self, file: File, digests: Iterable[str] = ()) -> None:
        self.file = file
        self.missing = self.archived = False
        self.size: int | None = None  # in the storage
        self.etag = self.content_encoding = ""
        self.first_bytes = b""
        self._hash = CompositeHash(file.part_size, digests)

    @property
    def digests(self) -> list[str]:
        """The base64 digests of the parts that were read."""
        return self._hash.digests

    @property
    def checksum(self) -> str:
        """The composite checksum, as S3 computes it over parts of the row's size. Valid at the end only."""
        return self._hash.checksum

    def run(self, *, limiter: s3.RateLimiter | None = None, should_pause: Callable[[], bool] = never) -> bool:
        """Read on. Return False if `should_pause` returned True at the end of a part.

        Return True at the end, and as soon as the bytes cannot be those of the row: the object is `missing`, or has
        another `size`. Resumes after a broken connection.

        Raises StorageUnavailable, StorageDenied, and s3.ReadStopped.
        """
        # the last part is always read: the headers of the object come with it
        self._hash = CompositeHash(self.file.part_size, self.digests[: self.file.part_count - 1])
        start = len(self.digests) * self.file.part_size
        reader = s3.ObjectReader(self.file.key, start=start, store=self.file.store, limiter=limiter)
        try:
            with closing(reader.chunks()) as chunks:
                is_complete = self._read(reader, chunks, should_pause)
        except s3.NoSuchObject:
            self.missing = True
            return True
        finally:
            self._save_headers(reader)
        if start and is_complete and self.size == self.file.size:
            self.first_bytes = s3.read_start(self.file.key, max_bytes=FIRST_BYTES, store=self.file.store) or b""
        return is_complete

    def _read(self, reader: s3.ObjectReader, chunks: Generator[bytes], should_pause: Callable[[], bool]) -> bool:
        for chunk in chunks:
            if not self._has_expected_size(reader):
                return True
            if len(self.first_bytes) < FIRST_BYTES:
                self.first_bytes = (self.first_bytes + chunk)[:FIRST_BYTES]
            completed = len(self.digests)
            self._hash.update(chunk)
            if len(self.digests) > completed and reader.position < self.file.size and should_pause():
                return False
        if self._has_expected_size(reader):
            self._hash.finish()
        return True

    def _has_expected_size(self, reader: s3.ObjectReader) -> bool:
        """Return whether the storage declares the row's size, and has not sent more bytes than that."""
        return reader.response is not None and reader.response.size == self.file.size >= reader.position

    def _save_headers(self, reader: s3.ObjectReader) -> None:
        if (response := reader.response) is not None:
            self.size = max(response.size, reader.position)
            self.etag, self.archived = response.etag, response.is_archived
            self.content_encoding = response.content_encoding


@dataclass(frozen=True, slots=True)
class FixityVerdict:
    """The result for one file: its checksum's new status (None: unchanged), what is wrong, and facts to save."""

    file: File
    status: ChecksumStatus | None
    kind: FindingKind | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def doubts(self) -> bool:
        return self.status in FAILED_CHECKSUMS

    @property
    def is_a_loss(self) -> bool:
        """Whether the file is missing, and was not before."""
        return self.status is ChecksumStatus.MISSING and self.file.checksum_status != ChecksumStatus.MISSING


def check_head(file: File, *, limiter: s3.RateLimiter | None = None) -> FixityVerdict:
    """Level 1: compare the object's metadata with the row. Raises StorageUnavailable.

    If they differ, or if the row says that something was wrong before, the bytes are read: they decide.
    """
    head = s3.head(file.key, store=file.store)
    if head is None:
        return FixityVerdict(file, ChecksumStatus.MISSING, FindingKind.MISSING)
    other_checksum = bool(head.checksum and file.checksum and head.checksum != file.checksum)
    matches = (head.size, head.etag) == (file.size, file.etag) and not other_checksum
    if matches and file.checksum_status not in FAILED_CHECKSUMS:
        archived = {"refusal": Refusal.ARCHIVED.value} if head.archived and not file.refusal else {}
        return FixityVerdict(file, None, facts=new_encoding_fields(file, head.content_encoding) | archived)
    return check_content(file, limiter=limiter)


def check_content(file: File, *, limiter: s3.RateLimiter | None = None) -> FixityVerdict:
    """Level 2: compare the checksum of the stored bytes with the row's. Raises StorageUnavailable."""
    hasher = ResumableHasher(file)
    hasher.run(limiter=limiter)
    return judge(hasher)


def judge(hasher: ResumableHasher) -> FixityVerdict:
    """Return the verdict on an object that was read to its end."""
    file = hasher.file
    if hasher.missing:
        return FixityVerdict(file, ChecksumStatus.MISSING, FindingKind.MISSING)
    if hasher.size != file.size:
        return FixityVerdict(
            file, ChecksumStatus.CORRUPTED, FindingKind.SIZE_MISMATCH, {"size": file.size, "actual": hasher.size}
        )
    other_etag = {"etag": file.etag, "actual": hasher.etag} if hasher.etag != file.etag else {}
    if not file.checksum:
        return _first_read(hasher, other_etag)
    if hasher.checksum != file.checksum:
        return FixityVerdict(
            file,
            ChecksumStatus.CORRUPTED,
            FindingKind.CORRUPTED,
            {"checksum": file.checksum, "actual": hasher.checksum},
        )
    kind = FindingKind.ETAG_MISMATCH if other_etag else None
    types = _detected_types(hasher)  # type detection improves over time
    facts = {} if (file.detected_type, file.category) == tuple(types.values()) else types
    facts |= new_encoding_fields(file, hasher.content_encoding) | _refusal(hasher)
    return FixityVerdict(file, ChecksumStatus.VERIFIED, kind, other_etag, facts)


def _first_read(hasher: ResumableHasher, other_etag: dict[str, Any]) -> FixityVerdict:
    """Return the verdict on an imported file, and its checksum if the object still has the ETag of the import."""
    file = hasher.file
    if other_etag:
        return FixityVerdict(file, ChecksumStatus.CORRUPTED, FindingKind.ETAG_MISMATCH, other_etag)
    facts = {
        "checksum": hasher.checksum,
        **_detected_types(hasher),
        **new_encoding_fields(file, hasher.content_encoding),
    }
    return FixityVerdict(file, ChecksumStatus.VERIFIED, facts=facts | _refusal(hasher))


def _detected_types(hasher: ResumableHasher) -> dict[str, Any]:
    """Return the detected type and the category of the stored bytes. An encoded file keeps its category."""
    file = hasher.file
    detected = detect_type(hasher.first_bytes, declared=file.declared_type, name=file.name)
    category = file.category if file.content_encoding else category_of(detected or file.declared_type)
    return {"detected_type": detected, "category": Category(category)}


def _refusal(hasher: ResumableHasher) -> dict[str, Any]:
    """Clear the refusal of an object that could be read, unless it is archived: such a restore is temporary."""
    refusal = Refusal.ARCHIVED.value if hasher.archived else ""
    return {"refusal": refusal} if refusal != hasher.file.refusal else {}


def save_results(verdicts: Sequence[FixityVerdict]) -> list[FixityVerdict]:
    """Save the verdicts in one short transaction, and return those that were saved.

    Files that were deleted, changed or moved to another store while they were read are skipped. Safe to repeat. That
    files are missing or corrupted only counts in a bucket with our marker: raises WrongMarker, ValidationFailed and
    StorageUnavailable for any other, and saves nothing.
    """
    for store in {verdict.file.store for verdict in verdicts if verdict.doubts}:
        require_marker(store)
    by_id = {verdict.file.pk: verdict for verdict in verdicts}
    with transaction.atomic():
        rows = File.objects.filter(pk__in=by_id, state=State.AVAILABLE).order_by("pk").select_for_update(no_key=True)
        current_rows = rows.only("pk", "checksum", "checksum_status", "store")
        saved = [verdict for row in current_rows if _is_unchanged(verdict := by_id[row.pk], row)]
        _write(saved)
        _notify(saved)
    for verdict in saved:
        _log(verdict)
    from uploads.services.tasks import retry_refused  # which imports this package

    retry_refused(
        [verdict.file.pk for verdict in saved if verdict.file.refusal and verdict.status is ChecksumStatus.VERIFIED]
    )
    return saved


def _is_unchanged(verdict: FixityVerdict, row: File) -> bool:
    return (row.checksum, row.store) == (verdict.file.checksum, verdict.file.store)


def _write(verdicts: Sequence[FixityVerdict]) -> None:
    """Update the rows: verdicts that only change the date share one UPDATE.

    `updated_at` changes only for rows that say something else now.
    """
    by_status: dict[tuple[ChecksumStatus, bool], list[Any]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.status is None:
            if verdict.facts:
                File.objects.filter(pk=verdict.file.pk).update(**verdict.facts)
        elif verdict.facts:
            times = {"verified_at": Now(), "updated_at": Now()}
            File.objects.filter(pk=verdict.file.pk).update(checksum_status=verdict.status, **verdict.facts, **times)
        else:
            by_status[verdict.status, verdict.status != verdict.file.checksum_status].append(verdict.file.pk)
    for (status, changed), ids in by_status.items():
        facts = {"checksum_status": status, "updated_at": Now()} if changed else {}
        File.objects.filter(pk__in=ids).update(verified_at=Now(), **facts)


def _notify(verdicts: Sequence[FixityVerdict]) -> None:
    """Notify owners and managers of files whose verification has just failed."""
    for verdict in verdicts:
        if verdict.status in FAILED_CHECKSUMS and verdict.status != verdict.file.checksum_status:
            key = f"{verdict.file.pk} {verdict.status}"
            notify_about_file(verdict.file, NotificationKind.FILE_CORRUPTED, key=key, status=verdict.status)


def _log(verdict: FixityVerdict) -> None:
    if verdict.kind is not None:
        quoted = field_value(verdict.file.key)
        logger.error("file_%s file=%s key=%s", verdict.kind.value, verdict.file.pk, quoted)
    elif verdict.status is not None and verdict.status != verdict.file.checksum_status:
        logger.info("file_verified file=%s status=%s", verdict.file.pk, verdict.status.value)
