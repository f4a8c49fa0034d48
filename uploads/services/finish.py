"""Finish uploads: claim the rows, assemble the objects, publish."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from uploads.errors import BadDigest, Gone, NotFound, Problem, StillCompleting, StoreUnavailable
from uploads.models import File, State
from uploads.parts import checksum_of
from uploads.services.assemble import Facts, assemble, give_back, publish
from uploads.services.sign import why_closed
from uploads.wanted import Claim

STORE_CALLS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Finished:
    file: File


def finish(owner: User, claims: Sequence[Claim]) -> list[Finished | Problem]:
    """Assemble and publish these uploads; per file the available row or what is in the way, in order.

    Safe to repeat and to race: an upload that is available already is answered the same way again,
    one that somebody else is completing now with StillCompleting.
    """
    files = File.objects.owned_by(owner).in_bulk([claim.id for claim in claims])
    outcomes: dict[UUID, Problem] = {}
    mine = _claim(files, claims, outcomes)
    claimed = [(files[claim.id], claim.digests) for claim in claims if claim.id in mine]
    found = _assemble_all(claimed)
    _settle(found, outcomes)
    return _answers(owner, claims, outcomes)


def _claim(files: dict[UUID, File], claims: Sequence[Claim], outcomes: dict[UUID, Problem]) -> set[UUID]:
    """Move to `completing` whatever may, and say which are ours to assemble.

    Rows in one order, so that two batches cannot wait for each other in a circle.
    """
    mine = set()
    with transaction.atomic():
        for claim in sorted(claims, key=lambda claim: claim.id):
            try:
                if _claim_one(files.get(claim.id), claim.digests):
                    mine.add(claim.id)
            except Problem as problem:
                outcomes[claim.id] = problem
    return mine


def _claim_one(file: File | None, digests: Sequence[str]) -> bool:
    """True when the row is ours to assemble, False when it is available already."""
    if file is None:
        raise NotFound()
    if file.state in {State.TRASHED, State.DELETING}:
        raise Gone()
    if len(digests) != file.part_count:
        raise BadDigest(_("This upload has %(parts)s parts: send one SHA-256 for each.") % {"parts": file.part_count})
    file.checksum = checksum_of(digests)
    if file.state != State.AVAILABLE and File.objects.filter(pk=file.pk).claim(checksum=file.checksum):
        file.state = State.COMPLETING
        return True
    file.refresh_from_db()
    if file.state == State.AVAILABLE:
        return False
    raise StillCompleting() if file.state == State.COMPLETING else why_closed(file)


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

    if len(work) == 1:
        return [(work[0][0], one(*work[0]))]
    with ThreadPoolExecutor(STORE_CALLS_AT_ONCE) as pool:
        outcomes = list(pool.map(lambda pair: one(*pair), work))
    return [(file, outcome) for (file, _digests), outcome in zip(work, outcomes, strict=True)]


def _settle(found: Sequence[tuple[File, Facts | Problem]], outcomes: dict[UUID, Problem]) -> None:
    publish([(file, facts) for file, facts in found if isinstance(facts, Facts)])
    for file, problem in found:
        if isinstance(problem, Problem):
            give_back(file, problem)
            outcomes[file.pk] = problem


def _answers(owner: User, claims: Sequence[Claim], outcomes: dict[UUID, Problem]) -> list[Finished | Problem]:
    """Answer from the rows as they are committed now: success is only told of what is available."""
    rows = File.objects.owned_by(owner).in_bulk([claim.id for claim in claims])
    answers: list[Finished | Problem] = []
    for claim in claims:
        row = rows.get(claim.id)
        if row is not None and row.state == State.AVAILABLE:
            answers.append(Finished(row))
        elif claim.id in outcomes:
            answers.append(outcomes[claim.id])
        elif row is not None and row.state == State.COMPLETING:
            answers.append(StillCompleting())
        else:
            answers.append(Gone())
    return answers
