"""What a look at an object says of its file, and what the row then says."""

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
from uploads.models import Category, ChecksumStatus, File, Refusal, State, Trouble
from uploads.services.bucket_owner import require_marker
from uploads.services.content_encoding import new_encoding_fields
from uploads.services.mime import detect_type
from uploads.services.preview_tasks import retry_refused
from uploads.services.verify.reader import FULL_SPEED, Pace, ResumableHasher

logger = logging.getLogger(__name__)

IN_DOUBT = {ChecksumStatus.DAMAGED, ChecksumStatus.MISSING}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one file: what its checksum rests on now (None: on what it did before), what is wrong, what to write down."""

    file: File
    basis: ChecksumStatus | None
    trouble: Trouble | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def doubts(self) -> bool:
        return self.basis in IN_DOUBT

    @property
    def is_a_loss(self) -> bool:
        """The file is missing, and was not before."""
        return self.basis is ChecksumStatus.MISSING and self.file.checksum_basis != ChecksumStatus.MISSING


def check_head(file: File, *, pace: Pace = FULL_SPEED) -> Verdict:
    """Level 1: what the store says of the object, held against the row. Raises StorageUnavailable.

    Where that differs, and where the row says that something was wrong before, the bytes are read: they decide.
    """
    found = s3.head(file.key, store=file.store)
    if found is None:
        return Verdict(file, ChecksumStatus.MISSING, Trouble.MISSING)
    other_checksum = bool(found.checksum and file.checksum and found.checksum != file.checksum)
    same = (found.size, found.etag) == (file.size, file.etag) and not other_checksum
    if same and file.checksum_basis not in IN_DOUBT:
        archived = {"refusal": Refusal.ARCHIVED.value} if found.archived and not file.refusal else {}
        return Verdict(file, None, facts=new_encoding_fields(file, found.content_encoding) | archived)
    return check_content(file, pace=pace)


def check_content(file: File, *, pace: Pace = FULL_SPEED) -> Verdict:
    """Level 2: the checksum of the stored bytes, held against the row's. Raises StorageUnavailable."""
    reading = ResumableHasher(file)
    reading.run(pace=pace)
    return judge(reading)


def judge(reading: ResumableHasher) -> Verdict:
    """What an object says that was read to its end."""
    file = reading.file
    if reading.missing:
        return Verdict(file, ChecksumStatus.MISSING, Trouble.MISSING)
    if reading.size != file.size:
        return Verdict(file, ChecksumStatus.DAMAGED, Trouble.SIZE, {"size": file.size, "found": reading.size})
    other_etag = {"etag": file.etag, "found": reading.etag} if reading.etag != file.etag else {}
    if not file.checksum:
        return _first_read(reading, other_etag)
    if reading.checksum != file.checksum:
        return Verdict(
            file, ChecksumStatus.DAMAGED, Trouble.DAMAGED, {"checksum": file.checksum, "found": reading.checksum}
        )
    trouble = Trouble.ETAG if other_etag else None
    kind = _kind_of(reading)  # what is known of types grows
    facts = {} if (file.detected_type, file.family) == tuple(kind.values()) else kind
    facts |= new_encoding_fields(file, reading.content_encoding) | _refusal(reading)
    return Verdict(file, ChecksumStatus.READ, trouble, other_etag, facts)


def _first_read(reading: ResumableHasher, other_etag: dict[str, Any]) -> Verdict:
    """Of an imported file nothing is known but the ETag that it had then: with that, these bytes are the file."""
    file = reading.file
    if other_etag:
        return Verdict(file, ChecksumStatus.DAMAGED, Trouble.ETAG, other_etag)
    facts = {"checksum": reading.checksum, **_kind_of(reading), **new_encoding_fields(file, reading.content_encoding)}
    return Verdict(file, ChecksumStatus.READ, facts=facts | _refusal(reading))


def _kind_of(reading: ResumableHasher) -> dict[str, Any]:
    """The type of the stored bytes, and the family; what is stored in an encoding keeps its own."""
    file = reading.file
    detected = detect_type(reading.first_bytes, claimed=file.claimed_type, name=file.name)
    family = file.family if file.content_encoding else category_of(detected or file.claimed_type)
    return {"detected_type": detected, "family": Category(family)}


def _refusal(reading: ResumableHasher) -> dict[str, Any]:
    """What could be read is refused no more; but an archived object is restored for a while only."""
    refusal = Refusal.ARCHIVED.value if reading.archived else ""
    return {"refusal": refusal} if refusal != reading.file.refusal else {}


def save_results(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Write down what holds: of files that went, or were moved to another store, while they were read, nothing is
    said. In one short transaction; safe to repeat.

    That files are missing or damaged only counts in a bucket with our marker. Raises WrongMarker, ValidationFailed and
    StorageUnavailable where that is not so: then nothing was written.
    """
    for store in {verdict.file.store for verdict in verdicts if verdict.doubts}:
        require_marker(store)
    by_id = {verdict.file.pk: verdict for verdict in verdicts}
    with transaction.atomic():
        rows = File.objects.filter(pk__in=by_id, state=State.AVAILABLE).order_by("pk").select_for_update(no_key=True)
        as_they_were = rows.only("pk", "checksum", "checksum_basis", "store")
        held = [verdict for row in as_they_were if _is_of(verdict := by_id[row.pk], row)]
        _write(held)
    for verdict in held:
        _log(verdict)
    retry_refused(
        [verdict.file.pk for verdict in held if verdict.file.refusal and verdict.basis is ChecksumStatus.READ]
    )
    return held


def _is_of(verdict: Verdict, row: File) -> bool:
    return (row.checksum, row.store) == (verdict.file.checksum, verdict.file.store)


def _write(verdicts: Sequence[Verdict]) -> None:
    """Most are good, and stay what they were but for the date: those take one UPDATE together. When the row changed is
    only moved on where it says something else now."""
    alike: dict[tuple[ChecksumStatus, bool], list[Any]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.basis is None:
            if verdict.facts:
                File.objects.filter(pk=verdict.file.pk).update(**verdict.facts)
        elif verdict.facts:
            moments = {"verified_at": Now(), "updated_at": Now()}
            File.objects.filter(pk=verdict.file.pk).update(checksum_basis=verdict.basis, **verdict.facts, **moments)
        else:
            alike[verdict.basis, verdict.basis != verdict.file.checksum_basis].append(verdict.file.pk)
    for (basis, changed), ids in alike.items():
        facts = {"checksum_basis": basis, "updated_at": Now()} if changed else {}
        File.objects.filter(pk__in=ids).update(verified_at=Now(), **facts)


def _log(verdict: Verdict) -> None:
    if verdict.trouble is not None:
        quoted = field_value(verdict.file.key)
        logger.error("file_%s file=%s key=%s", verdict.trouble.value, verdict.file.pk, quoted)
    elif verdict.basis is not None and verdict.basis != verdict.file.checksum_basis:
        logger.info("file_verified file=%s basis=%s", verdict.file.pk, verdict.basis.value)
