"""Assemble a leased upload: complete the object, inspect it, and publish the file."""

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
from uploads.services.bucket_guard import require_own_bucket
from uploads.services.mime import detect_type
from uploads.services.rights import require_right
from uploads.services.start import validate_type

logger = logging.getLogger(__name__)


def assemble(file: File, digests: Sequence[str] | None = None) -> ObjectMetadata:
    """Return the metadata of the object of a row in `completing`, after completing its multipart upload, if any.

    `digests` are the sender's, one for each part; without them (after a crash) the row's checksum decides.
    Safe to repeat. Raises PartsMissing, Gone (nothing to assemble), RefusedType, RefusedEncoding, or StorageUnavailable
    when the outcome is unknown: then the caller must not change anything.
    """
    if file.part_count > 1:
        _complete(file, digests)
    stored = s3.head_and_sniff(file.key, size=file.size, store=file.store)
    if stored is None and file.part_count > 1:
        require_own_bucket(file.store)  # in another bucket, missing parts and objects prove nothing
        raise Gone()
    if stored is None:
        raise PartsMissing([1])
    if stored.size != file.size or (stored.checksum and stored.checksum != file.checksum):
        raise Gone()  # a key is written once, so a wrong object stays wrong
    if stored.content_encoding:
        raise RefusedEncoding(stored.content_encoding)
    detected = detect_type(stored.first_bytes, declared=file.declared_type, name=file.name)
    validate_type(detected, name=file.name)
    failpoint("finish.5-looked")
    checksum_status = ChecksumStatus.VERIFIED_BY_STORAGE if stored.checksum else ChecksumStatus.UNVERIFIED
    category = Category(category_of(detected or file.declared_type))
    return ObjectMetadata(stored.etag, file.checksum, checksum_status, detected, category)


def release_lease(file: File, problem: Problem) -> None:
    """Release the lease of a row after a failed assembly, and move the row to the state for the problem.

    Missing parts: `uploading` again. Nothing to assemble, other bytes than announced, a refused type or encoding, a
    sender without the permission, or no quota: discarded. An unknown outcome changes no state; only the lease ends, so
    that the next caller can retry.
    """
    rows = File.objects.filter(pk=file.pk, state=State.COMPLETING)
    if isinstance(problem, PartsMissing):
        rows.move_to(State.UPLOADING, lease_until=None)
    elif isinstance(problem, Gone | RefusedType | RefusedEncoding | Forbidden | OverQuota):
        rows.discard(owner_id=file.owner_id)
        logger.info("upload_refused file=%s code=%s", file.pk, problem.code)
    elif isinstance(problem, StorageUnavailable):
        rows.update(lease_until=Now(), updated_at=Now())


def resume_completion(file: File) -> bool:
    """Complete an assembly that another process began and did not end. Safe to repeat and to run concurrently.

    Returns False when another process has the lease. Raises StorageUnavailable; then nothing has changed.
    """
    if not File.objects.filter(pk=file.pk).stuck().acquire_lease():
        return False
    failpoint("resolve.1-claimed")
    file.refresh_from_db()
    try:
        require_right(file)
        metadata = assemble(file)
        failpoint("resolve.2-assembled")
        require_right(file)
        for problem in publish({file.pk: metadata}).refused.values():
            raise problem
        failpoint("resolve.3-published")
    except Problem as problem:
        release_lease(file, problem)
        if isinstance(problem, StorageUnavailable):
            raise
    return True


def _complete(file: File, digests: Sequence[str] | None) -> None:
    if not file.multipart_id:
        raise PartsMissing(range(1, file.part_count + 1))
    listed = s3.list_parts(file.key, file.multipart_id, store=file.store)
    if listed is None:
        return  # completed before, or aborted: the caller's HEAD decides
    missing = _missing(file, listed, digests)
    if missing:
        raise PartsMissing(missing)
    failpoint("finish.3-listed")
    s3.complete_multipart(file.key, file.multipart_id, listed, size=file.size, store=file.store, once=True)
    failpoint("finish.4-completed")


def _missing(file: File, listed: Sequence[s3.UploadedPart], digests: Sequence[str] | None) -> list[int]:
    """Return the numbers of parts that are missing, have the wrong length, or differ from the announced digest."""
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
