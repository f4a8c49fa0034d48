"""Undo an action by its events in the audit log."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.actions.base import BulkResult, find_undo
from uploads.errors import InvalidTransition
from uploads.models import Action, Event, File, Folder
from uploads.models.querysets import seconds_from_now
from uploads.services import files, folders

UNDO_SECONDS = 3600


def undo_action(event_id: int, *, by: User) -> tuple[str, BulkResult, int]:
    """Undo what this person did within UNDO_SECONDS in the action with this event.

    Return the message, the result, and how many files and folders stay as they are: they have changed since, or the
    person may no longer change them. Raises InvalidTransition if there is nothing to undo, and the Problems of the
    action.
    """
    own = Event.objects.filter(actor_id=by.pk, at__gt=seconds_from_now(-UNDO_SECONDS))
    first = own.filter(pk=event_id).first()
    events = list(own.together_with(first)) if first else []
    if len(events) == 1 and (undone := _undo_rename(events[0], by)):
        return undone
    action = find_undo(events)
    if action is None:
        raise InvalidTransition(_("Nothing to undo. Deleted files are in the trash."))
    result = action.undo(events, by=by)
    result.refused, result.unknown = [], 0
    return action.undo_message(result), result, max(0, len(events) - len(result.files) - len(result.folders))


def _undo_rename(row: Event, by: User) -> tuple[str, BulkResult, int] | None:
    """Restore the name of a file or folder that still has its new one. Return None for another event."""
    new_name, result = row.detail.get("new_name"), BulkResult()
    if row.action == Action.RENAME and row.file_id:
        file = File.objects.listed_for(by).by_permanent_id(row.file_id).filter(name=new_name).first()
        name = row.name
        if file and files.rename(file, name, by=by):
            result.files.append(file)
    elif row.action == Action.FOLDER and new_name and "old_name" in row.detail:
        folder = Folder.objects.visible_to(by).filter(pk=row.folder_id or 0, name=new_name).first()
        name = row.detail["old_name"]
        if folder and folders.rename(folder, name, by=by):
            result.folders.append(folder)
    else:
        return None
    return _("Restored the name “%(name)s”.") % {"name": name}, result, int(not result.has_changes)
