"""What the activity log may tell: it remembers names of folders that are closed to who reads it now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User

from uploads.listing.selectors import HIDDEN_NAME
from uploads.models import Action, Event, Folder

MAX_KEY = 2**63 - 1


def referenced_folders(events: Iterable[Event]) -> set[int]:
    """The folders that these events are about, or that files went into."""
    named = {pk for event in events for pk in (event.folder_id, _target(event))}
    return {pk for pk in named if pk is not None}


def redact_folders(ids: set[int], user: User) -> set[int]:
    """Those of them whose name this person may know; of removed ones, superusers. One query."""
    if user.is_superuser:
        return ids
    return set(Folder.objects.visible_to(user).filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()


def redact_detail(event: Event, told: set[int]) -> dict[str, Any]:
    """The event's details. Of the folders only those in `told` are named. Old events may hold anything."""
    detail = event.detail if isinstance(event.detail, dict) else {}
    if event.action != Action.MOVE or not detail.get("into") or _target(event) in told:
        return detail
    return {**detail, "into": HIDDEN_NAME}


def _target(event: Event) -> int | None:
    """Where a file was moved to; None for the top, and for what is no folder's key."""
    found = event.detail.get("to") if event.action == Action.MOVE and isinstance(event.detail, dict) else None
    return found if type(found) is int and 0 < found <= MAX_KEY else None
