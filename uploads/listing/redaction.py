"""Redaction of the activity: events contain names of folders that the reader may not see now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import User

from uploads.listing.marks import HIDDEN_NAME
from uploads.models import Action, Event, Folder

MAX_KEY = 2**63 - 1


def referenced_folders(events: Iterable[Event]) -> set[int]:
    """Return the ids of the folders that these events are about, or that files were moved to."""
    ids = {pk for event in events for pk in (event.folder_id, _target(event))}
    return {pk for pk in ids if pk is not None}


def visible_folder_ids(ids: set[int], user: User) -> set[int]:
    """Return those of the ids whose folder names this user may see; removed folders only for superusers. One query."""
    if user.is_superuser:
        return ids
    return set(Folder.objects.visible_to(user).filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()


def redact_detail(event: Event, visible: set[int]) -> dict[str, Any]:
    """Return the event's details, with folder names only of the `visible` ids. Old events can contain anything."""
    detail = event.detail if isinstance(event.detail, dict) else {}
    if event.action != Action.MOVE or not detail.get("folder_name") or _target(event) in visible:
        return detail
    return {**detail, "folder_name": HIDDEN_NAME}


def _target(event: Event) -> int | None:
    """Return the id of the folder that a file was moved to, None for the top level and invalid values."""
    target = event.detail.get("folder_id") if event.action == Action.MOVE and isinstance(event.detail, dict) else None
    return target if type(target) is int and 0 < target <= MAX_KEY else None
