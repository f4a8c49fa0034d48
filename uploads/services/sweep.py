"""Do everything whose time has come."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from django.db import DatabaseError, transaction

from uploads.errors import Problem
from uploads.faultpoints import reached
from uploads.models import Action, Event, File, State, fold
from uploads.models.queries import FileQuerySet
from uploads.services.assemble import resolve
from uploads.services.preview_queue import tend_previews
from uploads.services.remove import erase

logger = logging.getLogger(__name__)

BATCH = 500


def sweep() -> Counter[str]:
    """Expire overdue uploads, end assemblies that were left, purge what is due, erase what must go.

    Returns how many of each, and `failed`. Safe to repeat and to run in several places at once; a row
    that fails is left for the next sweep and does not stop the others.
    """
    counts: Counter[str] = Counter()
    _each("resolved", File.objects.stuck(), resolve, counts)
    _each("expired", File.objects.overdue(), _discard_overdue, counts)
    _each("purged", File.objects.due_for_purge(), _discard_due, counts)
    fold()
    _each("erased", File.objects.filter(state=State.DELETING), erase, counts)
    tend_previews()
    return counts


def _each(what: str, rows: FileQuerySet, work: Callable[[File], object], counts: Counter[str]) -> None:
    for pk in list(rows.order_by("updated_at").values_list("pk", flat=True)[:BATCH]):
        file = File.objects.filter(pk=pk).first()
        if file is None:
            continue
        try:
            if work(file) is not False:
                counts[what] += 1
        except Exception as fault:  # whatever is wrong with one row, the others go on
            counts["failed"] += 1
            bug = not isinstance(fault, Problem | DatabaseError)
            logger.warning("sweep_failed file=%s step=%s fault=%s", pk, what, type(fault).__name__, exc_info=bug)


def _discard_overdue(file: File) -> bool:
    had = File.objects.overdue().filter(pk=file.pk).discard(owner_id=file.owner_id)
    reached("expire.1-discarded")
    return bool(had)


def _discard_due(file: File) -> bool:
    with transaction.atomic():
        had = File.objects.due_for_purge().filter(pk=file.pk).discard(owner_id=file.owner_id)
        if had:
            reached("purge.1-discarding")
            Event.objects.record(Action.PURGE, file=file, size=file.size)
    reached("purge.2-discarded")
    return bool(had)
