"""Bring a claimed upload to its end: make the object, look at it, publish it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db.models.functions import Now

from uploads import s3
from uploads.errors import (
    Forbidden,
    Gone,
    OverQuota,
    PartsMissing,
    Problem,
    RefusedEncoding,
    RefusedType,
    StorageUnavailable,
)
from uploads.failpoints import failpoint
from uploads.media_types import category_of
from uploads.models import Category, ChecksumStatus, File, ObjectMetadata, State, publish
from uploads.parts import checksum_of
from uploads.services.bucket_owner import require_own_bucket
from uploads.services.mime import detect_type
from uploads.services.rights import require_right
from uploads.services.start import validate_type

logger = logging.getLogger(__name__)


def assemble(file: File, digests: Sequence[str] | None = None) -> ObjectMetadata:
    """Ask the store for the object of a row in `completing`, made of its parts where it has parts.

    `digests` are the sender's, one per part; without them (after a crash) the row's checksum decides.
    Safe to repeat. Raises PartsMissing, Gone (nothing to assemble), RefusedType, RefusedEncoding, or StorageUnavailable
    when the outcome is unknown: then nothing may change.
    """
    if file.part_count > 1:
        _complete(file, digests)
    stored = s3.head_and_sniff(file.key, size=file.size, store=file.store)
    if stored is None and file.part_count > 1:
        require_own_bucket(file.store)  # in another the upload has neither parts nor object, and is well where it is
        raise Gone()
    if stored is None:
        raise PartsMissing([1])
    if stored.size != file.size or (stored.checksum and stored.checksum != file.checksum):
        raise Gone()  # a key is written once: what is there cannot become what was announced
    if stored.content_encoding:
        raise RefusedEncoding(stored.content_encoding)
    detected = detect_type(stored.first_bytes, claimed=file.claimed_type, name=file.name)
    validate_type(detected, name=file.name)
    failpoint("finish.5-looked")
    basis = ChecksumStatus.STORE if stored.checksum else ChecksumStatus.CLAIMED
    family = Category(category_of(detected or file.claimed_type))
    return ObjectMetadata(stored.etag, file.checksum, basis, detected, family)


def release_claim(file: File, problem: Problem) -> None:
    """Move a claimed row to where a failed assembly leaves it, and clear the store of what is no use.

    Missing parts: open for sending again. Nothing to assemble, other bytes than announced, a refused type or
    encoding, a sender who lost the right, or no room: removed. An unknown outcome changes no state; only the lease
    ends, so that the next caller may look.
    """
    claimed = File.objects.filter(pk=file.pk, state=State.COMPLETING)
    if isinstance(problem, PartsMissing):
        claimed.update(state=State.UPLOADING, lease_until=None, updated_at=Now())
    elif isinstance(problem, Gone | RefusedType | RefusedEncoding | Forbidden | OverQuota):
        claimed.discard(owner_id=file.owner_id)
        logger.info("upload_refused file=%s code=%s", file.pk, problem.code)
    elif isinstance(problem, StorageUnavailable):
        claimed.update(lease_until=Now(), updated_at=Now())


def resume_completion(file: File) -> bool:
    """End an assembly that somebody began and did not end. Safe to repeat and to run in many places.

    False when somebody else has it. Raises StorageUnavailable; then nothing has changed.
    """
    if not File.objects.filter(pk=file.pk).stuck().claim():
        return False
    failpoint("resolve.1-claimed")
    file.refresh_from_db()
    try:
        require_right(file)
        facts = assemble(file)
        failpoint("resolve.2-assembled")
        require_right(file)
        for problem in publish({file.pk: facts}).refused.values():
            raise problem
        failpoint("resolve.3-published")
    except Problem as problem:
        release_claim(file, problem)
        if isinstance(problem, StorageUnavailable):
            raise
    return True


def _complete(file: File, digests: Sequence[str] | None) -> None:
    if not file.multipart_id:
        raise PartsMissing(range(1, file.part_count + 1))
    listed = s3.list_parts(file.key, file.multipart_id, store=file.store)
    if listed is None:
        return  # completed before, or aborted: the look at the object tells
    missing = _missing(file, listed, digests)
    if missing:
        raise PartsMissing(missing)
    failpoint("finish.3-listed")
    s3.complete_multipart(file.key, file.multipart_id, listed, size=file.size, store=file.store, once=True)
    failpoint("finish.4-completed")


def _missing(file: File, listed: Sequence[s3.UploadedPart], digests: Sequence[str] | None) -> list[int]:
    """Numbers of the parts that are not there, have the wrong length, or are not what was announced."""
    by_number = {part.number: part for part in listed}
    numbers = range(1, file.part_count + 1)
    wrong = [
        number
        for number in numbers
        if (part := by_number.get(number)) is None
        or part.size != file.length_of(number)
        or (digests and part.sha256 and part.sha256 != digests[number - 1])
    ]
    if wrong or digests or not all(part.sha256 for part in listed):
        return wrong
    composite = checksum_of([by_number[number].sha256 or "" for number in numbers])
    return [] if composite == file.checksum else list(numbers)
