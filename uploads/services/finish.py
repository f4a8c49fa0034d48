"""Finish uploads: lease the rows, assemble the objects, publish the files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from uploads.errors import BadDigest, CompletionInProgress, Gone, NotFound, Problem, StorageUnavailable
from uploads.failpoints import failpoint
from uploads.models import ChecksumStatus, File, ObjectMetadata, State, publish
from uploads.parts import checksum_of
from uploads.services.assemble import assemble, release_lease
from uploads.services.previews import kinds_for
from uploads.services.rights import refusals
from uploads.services.sign import why_closed
from uploads.services.tasks import request_previews, request_verification
from uploads.upload_requests import FinishRequest

logger = logging.getLogger(__name__)

STORAGE_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Finished:
    """An available file; `visible` is False if it belongs to another person, who made it private for the sender."""

    file: File
    visible: bool = True


def finish(owner: User, requests: Sequence[FinishRequest]) -> list[Finished | Problem]:
    """Assemble and publish these uploads, and return for each, in order, the available file or the problem.

    Safe to repeat and to race: an upload that is already available gives the same result again, one that another
    request is completing gives CompletionInProgress.
    """
    files = File.objects.sent_by(owner).in_bulk([request.id for request in requests])
    outcomes = {request.id: _validate(files.get(request.id), request.digests) for request in requests}
    leased = _acquire_lease(files, {request.id: request for request in requests if outcomes[request.id] is None})
    work = [(files[request.id], request.digests) for request in requests if request.id in leased]
    refused = refusals(owner.pk, [file for file, _digests in work])
    assembled: list[tuple[File, ObjectMetadata | Problem]] = [
        (file, refused[file.pk]) for file, _digests in work if file.pk in refused
    ]
    assembled += _assemble_all([(file, digests) for file, digests in work if file.pk not in refused])
    outcomes |= _publish(owner, assembled)
    return _results(owner, requests, outcomes)


def _validate(file: File | None, digests: Sequence[str]) -> Problem | None:
    """Return what is wrong with a request, before any call to the storage."""
    if file is None:
        return NotFound()
    if file.state in {State.TRASHED, State.DELETING}:
        return Gone()
    if len(digests) == file.part_count:
        return None
    return BadDigest(_("This upload has %(parts)s parts: send one SHA-256 for each.") % {"parts": file.part_count})


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
        failpoint("finish.1-claiming")
    failpoint("finish.2-claimed")
    return leased


def _assemble_all(
    work: Sequence[tuple[File, Sequence[str]]],
) -> list[tuple[File, ObjectMetadata | Problem]]:
    """Assemble several objects concurrently. Once the storage is unavailable, the rest is not tried."""
    is_unavailable = threading.Event()

    def attempt(file: File, digests: Sequence[str]) -> ObjectMetadata | Problem:
        if is_unavailable.is_set():
            return StorageUnavailable("not tried: the store is away")
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

    Assembling a large file takes long, so the permission is checked again.
    """
    complete = [(file, outcome) for file, outcome in assembled if isinstance(outcome, ObjectMetadata)]
    refused = refusals(owner.pk, [file for file, _metadata in complete])
    published, over_quota = publish({file.pk: metadata for file, metadata in complete if file.pk not in refused})
    refused |= over_quota
    assembled = [(file, refused.get(file.pk, outcome)) for file, outcome in assembled]
    failpoint("finish.7-published")
    _request_previews(owner, assembled, published)
    _request_verification(owner, assembled, published)
    failpoint("finish.8-previews-asked")
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
    owner: User, requests: Sequence[FinishRequest], outcomes: dict[UUID, Problem | None]
) -> list[Finished | Problem]:
    """Return the results from the rows as they are committed now, so that only available files count as finished."""
    rows = File.objects.sent_by(owner).in_bulk([request.id for request in requests])
    foreign = [pk for pk, row in rows.items() if row.owner_id != owner.pk]
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
