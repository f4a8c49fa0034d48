"""Redaction of the audit log, which also holds names of files that the reader may not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User

from uploads.listing import redact_detail, referenced_folders, visible_folder_ids
from uploads.models import Event, File
from uploads.models.querysets import FileQuerySet


def redact_events(events: Sequence[Any], user: User) -> None:
    """Set `redacted_name`, `redacted_detail` and `is_file_visible` on each event, as far as `user` may see them.

    Names of files that the user may not see are left out. Names of deleted files are for superusers only, because it
    is no longer known who could see them. Three queries, for any number of events.
    """
    links = {event.file_id for event in events if event.file_id}
    visible = _visible(links, user)
    existing = _existing(links)
    folders = visible_folder_ids(referenced_folders(events), user)
    for event in events:
        is_visible = _is_visible(event, visible, existing, folders, user)
        event.redacted_name = event.name if is_visible else ""
        event.redacted_detail = redact_detail(event, folders) if is_visible else {}
        event.is_file_visible = event.file_id in visible


def _is_visible(event: Event, visible: set[UUID], existing: set[UUID], folders: set[int], user: User) -> bool:
    if event.file_id:
        return event.file_id in visible or (user.is_superuser and event.file_id not in existing)
    if event.folder_id:
        return event.folder_id in folders
    return True


def _visible(links: set[UUID], user: User) -> set[UUID]:
    return _matching(File.objects.visible_to(user), links)


def _existing(links: set[UUID]) -> set[UUID]:
    return _matching(File.objects.all(), links)


def _matching(rows: FileQuerySet, links: set[UUID]) -> set[UUID]:
    return {file.link for file in rows.by_links(links).only("id", "series")} if links else set()
