"""Finish uploads: claim the rows, assemble the objects, publish."""

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
from uploads.services.assemble import assemble, release_claim
from uploads.services.preview_tasks import request_previews
from uploads.services.previews import kinds_for
from uploads.services.rights import refusals
from uploads.services.sign import why_closed
from uploads.services.verify_tasks import request_verification
from uploads.upload_requests import FinishRequest

logger = logging.getLogger(__name__)

STORAGE_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Finished:
    """An available row; `visible` is False once the file is another's, who hid it from who sent the version."""

    file: File
    visible: bool = True


def finish(owner: User, claims: Sequence[FinishRequest]) -> list[Finished | Problem]:
    """Assemble and publish these uploads; per file the available row or what is in the way, in order.

    Safe to repeat and to race: an upload that is available already is answered the same way again,
    one that somebody else is completing now with CompletionInProgress.
    """
    files = File.objects.sent_by(owner).in_bulk([claim.id for claim in claims])
    outcomes = {claim.id: _validate(files.get(claim.id), claim.digests) for claim in claims}
    mine = _acquire_lease(files, {claim.id: claim for claim in claims if outcomes[claim.id] is None})
    work = [(files[claim.id], claim.digests) for claim in claims if claim.id in mine]
    refused = refusals(owner.pk, [file for file, _digests in work])
    found: list[tuple[File, ObjectMetadata | Problem]] = [
        (file, refused[file.pk]) for file, _digests in work if file.pk in refused
    ]
    found += _assemble_all([(file, digests) for file, digests in work if file.pk not in refused])
    outcomes |= _publish(owner, found)
    return _results(owner, claims, outcomes)


def _validate(file: File | None, digests: Sequence[str]) -> Problem | None:
    """What is wrong with a claim before anything is asked of anybody."""
    if file is None:
        return NotFound()
    if file.state in {State.TRASHED, State.DELETING}:
        return Gone()
    if len(digests) == file.part_count:
        return None
    return BadDigest(_("This upload has %(parts)s parts: send one SHA-256 for each.") % {"parts": file.part_count})


def _acquire_lease(files: dict[UUID, File], claims: dict[UUID, FinishRequest]) -> set[UUID]:
    """Move to `completing` whatever may, and say which are ours to assemble.

    Rows are locked in one order, so that two batches cannot wait for each other in a circle. Most files
    finish with the checksum that they were announced with: these are moved by one UPDATE.
    """
    with transaction.atomic():
        free = File.objects.filter(pk__in=claims).claimable().order_by("pk").select_for_update(no_key=True)
        mine = set(free.values_list("pk", flat=True))
        for pk in mine:
            checksum = checksum_of(claims[pk].digests)
            if files[pk].checksum != checksum:
                File.objects.filter(pk=pk).update(checksum=checksum)
            files[pk].checksum = checksum
        File.objects.filter(pk__in=mine).claim()
        failpoint("finish.1-claiming")
    failpoint("finish.2-claimed")
    return mine


def _assemble_all(
    work: Sequence[tuple[File, Sequence[str]]],
) -> list[tuple[File, ObjectMetadata | Problem]]:
    """Ask the store for several objects at once. Once it is away, the rest is not even tried."""
    store_is_away = threading.Event()

    def one(file: File, digests: Sequence[str]) -> ObjectMetadata | Problem:
        if store_is_away.is_set():
            return StorageUnavailable("not tried: the store is away")
        try:
            return assemble(file, digests)
        except Problem as problem:
            if isinstance(problem, StorageUnavailable):
                store_is_away.set()
            return problem

    if len(work) <= 1:
        return [(file, one(file, digests)) for file, digests in work]
    with ThreadPoolExecutor(STORAGE_CONCURRENCY) as pool:
        outcomes = list(pool.map(lambda pair: one(*pair), work))
    return [(file, outcome) for (file, _digests), outcome in zip(work, outcomes, strict=True)]


def _publish(owner: User, found: Sequence[tuple[File, ObjectMetadata | Problem]]) -> dict[UUID, Problem | None]:
    """Publish what was assembled, all at once, and give back what was not. To assemble a large file takes long, so the
    right to it is asked for again."""
    refused = refusals(owner.pk, [file for file, facts in found if isinstance(facts, ObjectMetadata)])
    published, full = publish(
        {file.pk: facts for file, facts in found if isinstance(facts, ObjectMetadata) and file.pk not in refused}
    )
    refused |= full
    found = [(file, refused.get(file.pk, facts)) for file, facts in found]
    failpoint("finish.7-published")
    _request_previews(owner, found, published)
    _request_verification(owner, found, published)
    failpoint("finish.8-previews-asked")
    for file, problem in found:
        if file.pk in published:
            logger.info("upload_available file=%s size=%s", file.pk, file.size)
        elif isinstance(problem, Problem):
            failpoint("finish.9-refused")
            release_claim(file, problem)
    return {file.pk: problem for file, problem in found if isinstance(problem, Problem)}


def _request_previews(
    owner: User, found: Sequence[tuple[File, ObjectMetadata | Problem]], published: set[UUID]
) -> None:
    """Pictures before texts: lists show them."""
    wanted = {
        file.pk: kinds_for(facts.family, facts.detected_type or file.claimed_type, size=file.size)
        for file, facts in found
        if file.pk in published and isinstance(facts, ObjectMetadata)
    }
    ids = sorted((pk for pk, looks in wanted.items() if looks), key=lambda pk: -len(wanted[pk]))
    request_previews(ids, owner_id=owner.pk)


def _request_verification(
    owner: User, found: Sequence[tuple[File, ObjectMetadata | Problem]], published: set[UUID]
) -> None:
    """Of what the store did not check itself; the small ones first, which need not wait for the large."""
    claimed = [
        file
        for file, facts in found
        if file.pk in published and isinstance(facts, ObjectMetadata) and facts.checksum_basis is ChecksumStatus.CLAIMED
    ]
    ids = [file.pk for file in sorted(claimed, key=lambda file: file.size)]
    request_verification(ids, owner_id=owner.pk)


def _results(
    owner: User, claims: Sequence[FinishRequest], outcomes: dict[UUID, Problem | None]
) -> list[Finished | Problem]:
    """Answer from the rows as they are committed now: success is only told of what is available."""
    rows = File.objects.sent_by(owner).in_bulk([claim.id for claim in claims])
    others = [pk for pk, row in rows.items() if row.owner_id != owner.pk]
    seen = set(File.objects.visible_to(owner).filter(pk__in=others).values_list("pk", flat=True)) if others else set()
    hidden = set(others) - seen
    return [_result(rows.get(claim.id), outcomes[claim.id], hidden) for claim in claims]


def _result(row: File | None, problem: Problem | None, hidden: set[UUID]) -> Finished | Problem:
    if row is not None and row.state == State.AVAILABLE:
        return Finished(row, visible=row.pk not in hidden)
    if problem is not None:
        return problem
    if row is not None and row.state == State.COMPLETING:
        return CompletionInProgress()
    return why_closed(row)
