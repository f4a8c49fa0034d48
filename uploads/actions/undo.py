"""Undo an action by its events in the audit log."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.actions.base import BulkResult, get_action
from uploads.errors import InvalidTransition
from uploads.models import Action, Event, File, Folder
from uploads.models.querysets import seconds_from_now
from uploads.services import files, folders

UNDO_SECONDS = 3600
BULK_ACTIONS = {Action.TRASH: "trash", Action.MOVE: "move", Action.TAG: "tag", Action.VISIBILITY: "private"}


def undo_action(event_id: int, *, by: User) -> tuple[str, BulkResult]:
    """Undo what this person did within UNDO_SECONDS in the action with this event; return the message and the result.

    What has changed since stays as it is, and so does what the person may no longer change: both count as `unknown`.
    Raises InvalidTransition if there is nothing to undo, and the Problems of the action.
    """
    own = Event.objects.filter(actor_id=by.pk, at__gt=seconds_from_now(-UNDO_SECONDS))
    first = own.filter(pk=event_id).first()
    events = list(own.together_with(first)) if first else []
    if not events:
        raise InvalidTransition(_("Nothing to undo. Deleted files are in the trash."))
    if len(events) == 1 and (undone := _undo_rename(events[0], by)):
        return undone
    action = get_action(_action_name(events))
    if action is None:
        raise InvalidTransition(_("Nothing to undo. Deleted files are in the trash."))
    result = action.undo(events, by=by)
    result.refused, result.unknown = [], max(0, len(events) - len(result.files) - len(result.folders))
    return action.undo_message(result), result


def _action_name(events: list[Event]) -> str:
    """Return the name of the bulk action that can undo these events, or ''. Older events lack the details."""
    names = {_name_of(row) for row in events}
    return names.pop() if len(names) == 1 else ""


def _name_of(row: Event) -> str:
    needed = {"move": "from_id", "tag": "tagged", "private": "previous"}
    if row.action == Action.FOLDER:
        return "trash" if row.detail.get("removed") else "move" if "from_id" in row.detail else ""
    name = BULK_ACTIONS.get(Action(row.action), "") if row.action in Action.values else ""
    return name if name == "trash" or needed.get(name, "") in row.detail else ""


def _undo_rename(row: Event, by: User) -> tuple[str, BulkResult] | None:
    """Restore the name of a file or folder that still has its new one. Return None for another event."""
    new_name, result = row.detail.get("new_name"), BulkResult()
    if row.action == Action.RENAME and row.file_id:
        file = File.objects.visible_to(by).listed().by_link(row.file_id).filter(name=new_name).first()
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
    if not result.has_changes:
        result.unknown = 1
    return _("Restored the name “%(name)s”.") % {"name": name}, result
