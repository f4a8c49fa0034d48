"""Judge what was read of an object, and save the result to its row."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from amalga.log import field_value
from uploads import s3
from uploads.media_types import category_of
from uploads.models import Category, ChecksumStatus, File, FindingKind, Refusal, State
from uploads.services.bucket_guard import require_marker
from uploads.services.mime import detect_type
from uploads.services.stored_objects import new_encoding_fields
from uploads.services.verify.reader import FULL_SPEED, Pace, ResumableHasher

logger = logging.getLogger(__name__)

FAILED_STATUSES = {ChecksumStatus.CORRUPTED, ChecksumStatus.MISSING}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one file: its checksum's new status (None: unchanged), what is wrong, and facts to save."""

    file: File
    status: ChecksumStatus | None
    kind: FindingKind | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def doubts(self) -> bool:
        return self.status in FAILED_STATUSES

    @property
    def is_a_loss(self) -> bool:
        """Whether the file is missing, and was not before."""
        return self.status is ChecksumStatus.MISSING and self.file.checksum_status != ChecksumStatus.MISSING


def check_head(file: File, *, pace: Pace = FULL_SPEED) -> Verdict:
    """Level 1: compare the object's metadata with the row. Raises StorageUnavailable.

    If they differ, or if the row says that something was wrong before, the bytes are read: they decide.
    """
    head = s3.head(file.key, store=file.store)
    if head is None:
        return Verdict(file, ChecksumStatus.MISSING, FindingKind.MISSING)
    other_checksum = bool(head.checksum and file.checksum and head.checksum != file.checksum)
    matches = (head.size, head.etag) == (file.size, file.etag) and not other_checksum
    if matches and file.checksum_status not in FAILED_STATUSES:
        archived = {"refusal": Refusal.ARCHIVED.value} if head.archived and not file.refusal else {}
        return Verdict(file, None, facts=new_encoding_fields(file, head.content_encoding) | archived)
    return check_content(file, pace=pace)


def check_content(file: File, *, pace: Pace = FULL_SPEED) -> Verdict:
    """Level 2: compare the checksum of the stored bytes with the row's. Raises StorageUnavailable."""
    hasher = ResumableHasher(file)
    hasher.run(pace=pace)
    return judge(hasher)


def judge(hasher: ResumableHasher) -> Verdict:
    """Return the verdict on an object that was read to its end."""
    file = hasher.file
    if hasher.missing:
        return Verdict(file, ChecksumStatus.MISSING, FindingKind.MISSING)
    if hasher.size != file.size:
        return Verdict(
            file, ChecksumStatus.CORRUPTED, FindingKind.SIZE_MISMATCH, {"size": file.size, "actual": hasher.size}
        )
    other_etag = {"etag": file.etag, "actual": hasher.etag} if hasher.etag != file.etag else {}
    if not file.checksum:
        return _first_read(hasher, other_etag)
    if hasher.checksum != file.checksum:
        return Verdict(
            file,
            ChecksumStatus.CORRUPTED,
            FindingKind.CORRUPTED,
            {"checksum": file.checksum, "actual": hasher.checksum},
        )
    kind = FindingKind.ETAG_MISMATCH if other_etag else None
    types = _detected_types(hasher)  # type detection improves over time
    facts = {} if (file.detected_type, file.category) == tuple(types.values()) else types
    facts |= new_encoding_fields(file, hasher.content_encoding) | _refusal(hasher)
    return Verdict(file, ChecksumStatus.VERIFIED, kind, other_etag, facts)


def _first_read(hasher: ResumableHasher, other_etag: dict[str, Any]) -> Verdict:
    """Return the verdict on an imported file, and its checksum if the object still has the ETag of the import."""
    file = hasher.file
    if other_etag:
        return Verdict(file, ChecksumStatus.CORRUPTED, FindingKind.ETAG_MISMATCH, other_etag)
    facts = {
        "checksum": hasher.checksum,
        **_detected_types(hasher),
        **new_encoding_fields(file, hasher.content_encoding),
    }
    return Verdict(file, ChecksumStatus.VERIFIED, facts=facts | _refusal(hasher))


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


def save_results(verdicts: Sequence[Verdict]) -> list[Verdict]:
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
    for verdict in saved:
        _log(verdict)
    from uploads.services.tasks import retry_refused  # which imports this package

    retry_refused(
        [verdict.file.pk for verdict in saved if verdict.file.refusal and verdict.status is ChecksumStatus.VERIFIED]
    )
    return saved


def _is_unchanged(verdict: Verdict, row: File) -> bool:
    return (row.checksum, row.store) == (verdict.file.checksum, verdict.file.store)


def _write(verdicts: Sequence[Verdict]) -> None:
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


def _log(verdict: Verdict) -> None:
    if verdict.kind is not None:
        quoted = field_value(verdict.file.key)
        logger.error("file_%s file=%s key=%s", verdict.kind.value, verdict.file.pk, quoted)
    elif verdict.status is not None and verdict.status != verdict.file.checksum_status:
        logger.info("file_verified file=%s status=%s", verdict.file.pk, verdict.status.value)
