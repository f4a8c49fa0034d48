"""What of the activity log a reader may know: the log remembers names of files that are private to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from uploads.listing import redact_detail, redact_folders, referenced_folders
from uploads.models import Event, File
from uploads.models.querysets import FileQuerySet


def redact_events(events: Sequence[Any], user: User) -> None:
    """Tell on each event what this person may know of it: `told_name`, `told_detail`, and `open` where its file is.

    Names of files that this person may not see stay untold, as everywhere; of files that are gone only superusers
    learn them, for nobody can say any more who might have seen them. Three queries, however many events.
    """
    links = {event.file_id for event in events if event.file_id}
    seen = _seen(links, user)
    there = _there(links)
    folders = redact_folders(referenced_folders(events), user)
    for event in events:
        known = _visible_ids(event, seen, there, folders, user)
        event.told_name = event.name if known else ""
        event.told_detail = redact_detail(event, folders) if known else {}
        event.open = event.file_id in seen


def _visible_ids(event: Event, seen: set[UUID], there: set[UUID], folders: set[int], user: User) -> bool:
    if event.file_id:
        return event.file_id in seen or (user.is_superuser and event.file_id not in there)
    if event.folder_id:
        return event.folder_id in folders
    return True


def _seen(links: set[UUID], user: User) -> set[UUID]:
    return _links(File.objects.visible_to(user), links)


def _there(links: set[UUID]) -> set[UUID]:
    return _links(File.objects.all(), links)


def _links(rows: FileQuerySet, links: set[UUID]) -> set[UUID]:
    return {file.link for file in rows.by_links(links).only("id", "series")} if links else set()
