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

from uploads.errors import BadDigest, Gone, NotFound, Problem, StillCompleting, StoreUnavailable
from uploads.faultpoints import reached
from uploads.models import Basis, Facts, File, State, publish
from uploads.parts import checksum_of
from uploads.services.assemble import assemble, give_back
from uploads.services.preview_queue import request_previews
from uploads.services.previews import looks_of
from uploads.services.rights import refusals
from uploads.services.sign import why_closed
from uploads.services.verify_queue import request_verification
from uploads.wanted import Claim

logger = logging.getLogger(__name__)

STORE_CALLS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Finished:
    """An available row; `visible` is False once the file is another's, who hid it from who sent the version."""

    file: File
    visible: bool = True


def finish(owner: User, claims: Sequence[Claim]) -> list[Finished | Problem]:
    """Assemble and publish these uploads; per file the available row or what is in the way, in order.

    Safe to repeat and to race: an upload that is available already is answered the same way again,
    one that somebody else is completing now with StillCompleting.
    """
    files = File.objects.sent_by(owner).in_bulk([claim.id for claim in claims])
    outcomes = {claim.id: _look(files.get(claim.id), claim.digests) for claim in claims}
    mine = _claim(files, {claim.id: claim for claim in claims if outcomes[claim.id] is None})
    work = [(files[claim.id], claim.digests) for claim in claims if claim.id in mine]
    refused = refusals(owner.pk, [file for file, _digests in work])
    found: list[tuple[File, Facts | Problem]] = [
        (file, refused[file.pk]) for file, _digests in work if file.pk in refused
    ]
    found += _assemble_all([(file, digests) for file, digests in work if file.pk not in refused])
    outcomes |= _settle(owner, found)
    return _answers(owner, claims, outcomes)


def _look(file: File | None, digests: Sequence[str]) -> Problem | None:
    """What is wrong with a claim before anything is asked of anybody."""
    if file is None:
        return NotFound()
    if file.state in {State.TRASHED, State.DELETING}:
        return Gone()
    if len(digests) == file.part_count:
        return None
    return BadDigest(_("This upload has %(parts)s parts: send one SHA-256 for each.") % {"parts": file.part_count})


def _claim(files: dict[UUID, File], claims: dict[UUID, Claim]) -> set[UUID]:
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
        reached("finish.1-claiming")
    reached("finish.2-claimed")
    return mine


def _assemble_all(
    work: Sequence[tuple[File, Sequence[str]]],
) -> list[tuple[File, Facts | Problem]]:
    """Ask the store for several objects at once. Once it is away, the rest is not even tried."""
    store_is_away = threading.Event()

    def one(file: File, digests: Sequence[str]) -> Facts | Problem:
        if store_is_away.is_set():
            return StoreUnavailable("not tried: the store is away")
        try:
            return assemble(file, digests)
        except Problem as problem:
            if isinstance(problem, StoreUnavailable):
                store_is_away.set()
            return problem

    if len(work) <= 1:
        return [(file, one(file, digests)) for file, digests in work]
    with ThreadPoolExecutor(STORE_CALLS_AT_ONCE) as pool:
        outcomes = list(pool.map(lambda pair: one(*pair), work))
    return [(file, outcome) for (file, _digests), outcome in zip(work, outcomes, strict=True)]


def _settle(owner: User, found: Sequence[tuple[File, Facts | Problem]]) -> dict[UUID, Problem | None]:
    """Publish what was assembled, all at once, and give back what was not. To assemble a large file takes long, so the
    right to it is asked for again."""
    refused = refusals(owner.pk, [file for file, facts in found if isinstance(facts, Facts)])
    published, full = publish(
        {file.pk: facts for file, facts in found if isinstance(facts, Facts) and file.pk not in refused}
    )
    refused |= full
    found = [(file, refused.get(file.pk, facts)) for file, facts in found]
    reached("finish.7-published")
    _request_previews(owner, found, published)
    _request_verification(owner, found, published)
    reached("finish.8-previews-asked")
    for file, problem in found:
        if file.pk in published:
            logger.info("upload_available file=%s size=%s", file.pk, file.size)
        elif isinstance(problem, Problem):
            reached("finish.9-refused")
            give_back(file, problem)
    return {file.pk: problem for file, problem in found if isinstance(problem, Problem)}


def _request_previews(owner: User, found: Sequence[tuple[File, Facts | Problem]], published: set[UUID]) -> None:
    """Pictures before texts: lists show them."""
    wanted = {
        file.pk: looks_of(facts.family, facts.detected_type or file.claimed_type, size=file.size)
        for file, facts in found
        if file.pk in published and isinstance(facts, Facts)
    }
    ids = sorted((pk for pk, looks in wanted.items() if looks), key=lambda pk: -len(wanted[pk]))
    request_previews(ids, owner_id=owner.pk)


def _request_verification(owner: User, found: Sequence[tuple[File, Facts | Problem]], published: set[UUID]) -> None:
    """Of what the store did not check itself; the small ones first, which need not wait for the large."""
    claimed = [
        file
        for file, facts in found
        if file.pk in published and isinstance(facts, Facts) and facts.checksum_basis is Basis.CLAIMED
    ]
    ids = [file.pk for file in sorted(claimed, key=lambda file: file.size)]
    request_verification(ids, owner_id=owner.pk)


def _answers(owner: User, claims: Sequence[Claim], outcomes: dict[UUID, Problem | None]) -> list[Finished | Problem]:
    """Answer from the rows as they are committed now: success is only told of what is available."""
    rows = File.objects.sent_by(owner).in_bulk([claim.id for claim in claims])
    others = [pk for pk, row in rows.items() if row.owner_id != owner.pk]
    seen = set(File.objects.visible_to(owner).filter(pk__in=others).values_list("pk", flat=True)) if others else set()
    hidden = set(others) - seen
    return [_answer(rows.get(claim.id), outcomes[claim.id], hidden) for claim in claims]


def _answer(row: File | None, problem: Problem | None, hidden: set[UUID]) -> Finished | Problem:
    if row is not None and row.state == State.AVAILABLE:
        return Finished(row, visible=row.pk not in hidden)
    if problem is not None:
        return problem
    if row is not None and row.state == State.COMPLETING:
        return StillCompleting()
    return why_closed(row)
