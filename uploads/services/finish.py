"""Finish uploads: lease the rows, assemble and inspect the objects, publish the files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import (
    BadDigest,
    CompletionInProgress,
    Forbidden,
    Gone,
    LinkEnded,
    OverQuota,
    PartsMissing,
    Problem,
    RefusedEncoding,
    RefusedType,
    StorageUnavailable,
    UploadNotFound,
)
from uploads.failpoints import failpoint
from uploads.media_types import category_of
from uploads.models import Category, ChecksumStatus, File, GuestSession, ObjectMetadata, State, publish
from uploads.parts import checksum_of
from uploads.s3.client import STORAGE_CONCURRENCY
from uploads.services.bucket_guard import require_own_bucket
from uploads.services.contents import request_contents
from uploads.services.file_requests import require_accepted_from_guest
from uploads.services.malware import request_scans_of_new
from uploads.services.mime import detect_type
from uploads.services.notifications import report_guest_files, warn_of_quota
from uploads.services.previews import kinds_for
from uploads.services.sign import permission_problems, require_permission, why_closed
from uploads.services.start import validate_type
from uploads.services.tasks import request_previews, request_verification

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FinishRequest:
    """An upload to finish: one base64 SHA-256 for each part that was sent, in order."""

    id: UUID
    digests: list[str]


@dataclass(frozen=True, slots=True)
class Finished:
    """An available file; `visible` is False if it belongs to another person, who made it private for the sender."""

    file: File
    visible: bool = True


def finish(
    owner: User, requests: Sequence[FinishRequest], *, guest: GuestSession | None = None
) -> list[Finished | Problem]:
    """Assemble and publish these uploads, and return for each, in order, the available file or the problem.

    They are those that `owner` has sent or, with `guest`, those that this guest has sent to `owner`.

    Safe to repeat and to race: an upload that is already available gives the same result again, one that another
    request is completing gives CompletionInProgress.
    """
    files = _rows(owner, guest, requests)
    outcomes = {request.id: _validate(files.get(request.id), request.digests) for request in requests}
    leased = _acquire_lease(files, {request.id: request for request in requests if outcomes[request.id] is None})
    work = [(files[request.id], request.digests) for request in requests if request.id in leased]
    outcomes |= _publish(owner, _assemble_all(work))
    return _results(owner, guest, requests, outcomes)


def _rows(owner: User, guest: GuestSession | None, requests: Sequence[FinishRequest]) -> dict[UUID, File]:
    rows = File.objects.uploads_of(owner, guest) if guest else File.objects.sent_by(owner)
    return rows.in_bulk([request.id for request in requests])


def _validate(file: File | None, digests: Sequence[str]) -> Problem | None:
    """Return what is wrong with a request, before any call to the storage."""
    if file is None:
        return UploadNotFound()
    if file.state in {State.TRASHED, State.DELETING}:
        return Gone()
    if len(digests) == file.part_count:
        return None
    return BadDigest(_("This upload has %(parts)s parts. Send one SHA-256 for each part.") % {"parts": file.part_count})


def _acquire_lease(files: dict[UUID, File], requests: dict[UUID, FinishRequest]) -> set[UUID]:
    """Move the free rows to `completing` with a lease, and return the ids of those that we leased.

    Rows are locked in one order, so that two batches cannot deadlock. Most files finish with the checksum that they
    were announced with, so one UPDATE moves them all.
    """
    with transaction.atomic():
        free = File.objects.filter(pk__in=requests).completable().order_by("pk").select_for_update(no_key=True)
        leased = set(free.values_list("pk", flat=True))
        for pk in leased:
            checksum = checksum_of(requests[pk].digests)
            if files[pk].checksum != checksum:
                File.objects.filter(pk=pk).update(checksum=checksum)
            files[pk].checksum = checksum
        File.objects.filter(pk__in=leased).acquire_lease()
        failpoint("finish.1-leasing")
    failpoint("finish.2-leased")
    return leased


def _assemble_all(
    work: Sequence[tuple[File, Sequence[str]]],
) -> list[tuple[File, ObjectMetadata | Problem]]:
    """Assemble several objects concurrently. Once the storage is unavailable, the rest is not tried."""
    is_unavailable = threading.Event()

    def attempt(file: File, digests: Sequence[str]) -> ObjectMetadata | Problem:
        if is_unavailable.is_set():
            return StorageUnavailable("skipped: the storage is unavailable")
        try:
            return assemble(file, digests)
        except Problem as problem:
            if isinstance(problem, StorageUnavailable):
                is_unavailable.set()
            return problem

    if len(work) <= 1:
        return [(file, attempt(file, digests)) for file, digests in work]
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as pool:
        outcomes = list(pool.map(lambda pair: attempt(*pair), work))
    return [(file, outcome) for (file, _digests), outcome in zip(work, outcomes, strict=True)]


def _publish(owner: User, assembled: Sequence[tuple[File, ObjectMetadata | Problem]]) -> dict[UUID, Problem | None]:
    """Publish all assembled files at once, release the others, and return the problems by file.

    The permission is checked here, since assembling a large file takes long. A file whose outcome is unknown is
    checked when that is known.
    """
    decided = [file for file, outcome in assembled if not isinstance(outcome, StorageUnavailable)]
    metadata = {file.pk: outcome for file, outcome in assembled if isinstance(outcome, ObjectMetadata)}
    with transaction.atomic():
        refused = permission_problems(owner.pk, decided)
        published, over_quota = publish({pk: item for pk, item in metadata.items() if pk not in refused})
    refused |= over_quota
    assembled = [(file, refused.get(file.pk, outcome)) for file, outcome in assembled]
    failpoint("finish.7-published")
    scanned = request_scans_of_new(published, owner_id=owner.pk)
    _request_previews(owner, assembled, published - scanned)  # the others get theirs after the malware check
    request_contents(published - scanned, owner_id=owner.pk)
    _request_verification(owner, assembled, published)
    if published:
        warn_of_quota({owner.pk, *(file.owner_id for file, _outcome in assembled)})
        report_guest_files(file.guest_session_id for file, _outcome in assembled if file.pk in published)
    failpoint("finish.8-previews-requested")
    for file, problem in assembled:
        if file.pk in published:
            logger.info("upload_available file=%s size=%s", file.pk, file.size)
        elif isinstance(problem, Problem):
            failpoint("finish.9-refused")
            release_lease(file, problem)
    return {file.pk: problem for file, problem in assembled if isinstance(problem, Problem)}


def _request_previews(
    owner: User, assembled: Sequence[tuple[File, ObjectMetadata | Problem]], published: set[UUID]
) -> None:
    """Request previews, pictures before texts, because lists show pictures."""
    kinds = {
        file.pk: kinds_for(outcome.category, outcome.detected_type or file.declared_type, size=file.size)
        for file, outcome in assembled
        if file.pk in published and isinstance(outcome, ObjectMetadata)
    }
    ids = sorted((pk for pk, previews in kinds.items() if previews), key=lambda pk: -len(kinds[pk]))
    request_previews(ids, owner_id=owner.pk)


def _request_verification(
    owner: User, assembled: Sequence[tuple[File, ObjectMetadata | Problem]], published: set[UUID]
) -> None:
    """Request verification of files that the storage did not verify, small files first so that they do not wait."""
    unverified = [
        file
        for file, outcome in assembled
        if file.pk in published
        and isinstance(outcome, ObjectMetadata)
        and outcome.checksum_status is ChecksumStatus.UNVERIFIED
    ]
    ids = [file.pk for file in sorted(unverified, key=lambda file: file.size)]
    request_verification(ids, owner_id=owner.pk)


def _results(
    owner: User, guest: GuestSession | None, requests: Sequence[FinishRequest], outcomes: dict[UUID, Problem | None]
) -> list[Finished | Problem]:
    """Return the results from the rows as they are committed now, so that only available files count as finished."""
    rows = _rows(owner, guest, requests)
    foreign = [pk for pk, row in rows.items() if row.owner_id != owner.pk and guest is None]
    visible = File.objects.visible_to(owner).filter(pk__in=foreign) if foreign else File.objects.none()
    hidden = set(foreign) - set(visible.values_list("pk", flat=True))
    return [_result(rows.get(request.id), outcomes[request.id], hidden) for request in requests]


def _result(row: File | None, problem: Problem | None, hidden: set[UUID]) -> Finished | Problem:
    if row is not None and row.state == State.AVAILABLE:
        return Finished(row, visible=row.pk not in hidden)
    if problem is not None:
        return problem
    if row is not None and row.state == State.COMPLETING:
        return CompletionInProgress()
    return why_closed(row)


# --- one object, and its lease ------------------------------------------------------------------


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
    if file.guest_session_id:
        require_accepted_from_guest(file, detected)
    failpoint("finish.5-inspected")
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
    elif isinstance(problem, Gone | RefusedType | RefusedEncoding | Forbidden | LinkEnded | OverQuota):
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
    failpoint("resolve.1-leased")
    file.refresh_from_db()
    try:
        metadata = assemble(file)
        failpoint("resolve.2-assembled")
        with transaction.atomic():
            require_permission(file)
            over_quota = publish({file.pk: metadata}).refused
        for problem in over_quota.values():
            raise problem
        warn_of_quota({file.owner_id})
        report_guest_files([file.guest_session_id])
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
