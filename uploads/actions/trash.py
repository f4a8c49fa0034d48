"""Move files and folders to the trash."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.utils.formats import number_format
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import (
    MAX_FILES_INSIDE,
    BulkAction,
    BulkResult,
    continue_in_folder,
    count_files,
    count_folders,
    count_with_inside,
    name_folders,
    register,
)
from uploads.actions.restore import RestoreAction
from uploads.errors import InvalidTransition
from uploads.models import Action, Event, File, Folder, State
from uploads.models.audit import event
from uploads.models.querysets import FileQuerySet, database_now
from uploads.services.files import with_versions
from uploads.services.folders import remove_empty

logger = logging.getLogger(__name__)


@register
class TrashAction(BulkAction):
    """Files go to the trash with all their versions; they can be restored until `purge_after`.

    A folder goes there with everything in it. If it holds files that the person may not remove, or uploads, only its
    other files go there, and it stays with the subfolders that are still in use.
    """

    name, order, row_right, takes_folders = "trash", 60, "d", True
    label, icon = gettext_lazy("Move to trash"), "trash"
    button_class, can_undo = "danger", True
    description = format_lazy(
        gettext_lazy("Files are hidden from everyone, and can be restored for {days} days."),
        days=settings.TRASH_RETENTION_DAYS,
    )
    audit_action, log_event = Action.TRASH, "file_trashed"

    def permitted(self, user: User) -> FileQuerySet:
        return File.objects.removable_by(user).listed()

    def inside(self, folders: Sequence[Folder], *, by: User) -> FileQuerySet:
        return self.permitted(by).below_any(folders)

    def execute(
        self, file_ids: Iterable[UUID], data: Mapping[str, Any], *, by: User, folders: Iterable[int] = ()
    ) -> BulkResult:
        """As in the base class. Files and folders get the same `purge_after`, by which a folder is restored whole."""
        purge_after = database_now() + timedelta(days=settings.TRASH_RETENTION_DAYS)
        return super().execute(file_ids, {"purge_after": purge_after, **data}, by=by, folders=folders)

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        with_versions(files).move_to(State.TRASHED, purge_after=data["purge_after"])
        return {}

    def change_folders(self, result: BulkResult, data: Mapping[str, Any], *, by: User) -> list[Event]:
        removed = []
        for folder in result.folders:
            if self.inside([folder], by=by).exists():
                result.unfinished.append(folder)
                continue_in_folder(self, folder, data["purge_after"], by=by)
            elif remove_empty(folder, purge_after=data["purge_after"]):
                removed.append(folder)
                logger.info("folder_removed folder=%s by=%s", folder.pk, by.pk)
            else:
                result.in_use.append(folder)
        result.folders = removed
        return [event(Action.FOLDER, by=by, folder=folder, removed=True) for folder in removed]

    def can_undo_event(self, row: Event) -> bool:
        return super().can_undo_event(row) or (row.action == Action.FOLDER and bool(row.detail.get("removed")))

    def undo(self, events: Sequence[Event], *, by: User) -> BulkResult:
        file_ids = [row.file_id for row in events if row.file_id]
        folders = [row.folder_id for row in events if row.folder_id]
        return RestoreAction().execute(file_ids, {}, by=by, folders=folders)

    def undo_message(self, result: BulkResult) -> str:
        return RestoreAction().message(result, {})

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Moved %(count)s file to trash.", "Moved %(count)s files to trash.", count)
        return text % {"count": count}

    def folder_message(self, result: BulkResult, data: Mapping[str, Any]) -> str:
        files, folders = len(result.files), len(result.folders)
        if folders == 1 and not files:
            return _("Moved “%(name)s” to trash.") % {"name": result.folders[0]}
        if folders == 1:
            text = ngettext(
                "Moved “%(name)s” and %(count)s file to trash.", "Moved “%(name)s” and %(count)s files to trash.", files
            )
            return text % {"name": result.folders[0], "count": files}
        if not files:
            return _("Moved %(folders)s to trash.") % {"folders": count_folders(folders)}
        parts = {"folders": count_folders(folders), "files": count_files(files)}
        return _("Moved %(folders)s and %(files)s to trash.") % parts

    def needs_confirmation(self, folders: Sequence[Folder], *, by: User) -> bool:
        return bool(folders) and self.inside(folders, by=by).exists()

    def question(self, count: int, folders: Sequence[Folder], *, by: User) -> str:
        if not folders:
            return self.title(count)
        return _question(count, folders, self.count_inside(folders, by=by))


def _question(count: int, folders: Sequence[Folder], inside: int) -> str:
    if not count + inside:
        return _("Move %(names)s to trash?") % {"names": name_folders(folders)}
    if len(folders) == 1 and not count and inside <= MAX_FILES_INSIDE:
        text = ngettext(
            "Move “%(name)s” and its %(count)s file to trash?",
            "Move “%(name)s” and its %(count)s files to trash?",
            inside,
        )
        return text % {"name": folders[0], "count": number_format(inside, force_grouping=True)}
    names = {"names": name_folders(folders), "files": count_with_inside(count, inside)}
    return _("Move %(names)s and %(files)s to trash?") % names


def trash_files(file_ids: Iterable[UUID], *, by: User) -> BulkResult:
    """Move files to the trash, with all their versions; they can be restored until `purge_after`."""
    return TrashAction().execute(file_ids, {}, by=by)


def trash_file(file: File, *, by: User) -> BulkResult:
    """Move one file to the trash. Safe to repeat: then the result is empty.

    Raises InvalidTransition for a file that is not available, or that this person may not remove.
    """
    if File.objects.by_permanent_id(file.permanent_id).trashed().exists():
        return BulkResult()
    result = trash_files([file.permanent_id], by=by)
    if not result.files:
        raise InvalidTransition(_("“%(name)s” can't be moved to trash right now.") % {"name": file.name})
    return result
