"""Restore files and folders from the trash."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import (
    BulkAction,
    BulkResult,
    continue_in_folder,
    count_folders,
    count_with_inside,
    name_folders,
    register,
)
from uploads.errors import FolderNotWritable, InvalidTransition
from uploads.models import Action, Event, File, Folder, State
from uploads.models.audit import event
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet
from uploads.services.files import with_versions
from uploads.services.folders import lock, restore_branch


@register
class RestoreAction(BulkAction):
    """Files come back as they were, with their folders; but not into folders that the person may not add files to.

    A folder comes back with the files and subfolders that went to the trash with it.
    """

    name, order, takes_folders = "restore", 70, True
    label, icon = gettext_lazy("Restore"), "restore"
    button_class, in_trash = "primary", True
    description = gettext_lazy("Files are restored as they were, together with their folders.")
    audit_action, log_event = Action.RESTORE, "file_restored"

    def permitted(self, user: User) -> FileQuerySet:
        return File.objects.restorable_by(user).filter(current=True)

    def permitted_folders(self, user: User) -> FolderQuerySet:
        return Folder.objects.trashed().editable_by(user)

    def inside(self, folders: Sequence[Folder], *, by: User) -> FileQuerySet:
        rows = self.permitted(by).below_any(folders)
        return rows.filter(purge_after__in={folder.purge_after for folder in folders})

    def prepare(self, file_ids: Collection[UUID], data: Mapping[str, Any], *, by: User) -> None:
        rows = self.permitted(by).by_permanent_ids(file_ids).filter(folder__isnull=False)
        lock(pk for pk in rows.values_list("folder_id", flat=True) if pk)

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        with_versions(files).trashed().move_to(State.AVAILABLE, purge_after=None)
        return {}

    def change_folders(self, result: BulkResult, data: Mapping[str, Any], *, by: User) -> list[Event]:
        for folder in result.folders:
            restore_branch(folder, by=by)
            if folder.purge_after and self.inside([folder], by=by).exists():
                result.unfinished.append(folder)
                continue_in_folder(self, folder, folder.purge_after, by=by)
        return [event(Action.FOLDER, by=by, folder=folder, restored=True) for folder in result.folders]

    def question(self, count: int, folders: Sequence[Folder], *, by: User) -> str:
        if not folders:
            return self.title(count)
        inside = self.count_inside(folders, by=by)
        if not count + inside:
            return _("Restore %(names)s?") % {"names": name_folders(folders)}
        names = {"names": name_folders(folders), "files": count_with_inside(count, inside)}
        return _("Restore %(names)s and %(files)s?") % names

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        return ngettext("Restored %(count)s file.", "Restored %(count)s files.", count) % {"count": count}

    def folder_message(self, result: BulkResult, data: Mapping[str, Any]) -> str:
        if len(result.folders) == 1:
            return _("Restored “%(name)s”.") % {"name": result.folders[0]}
        return _("Restored %(folders)s.") % {"folders": count_folders(len(result.folders))}


def restore_files(file_ids: Iterable[UUID], *, by: User) -> BulkResult:
    """Restore files from the trash as they were, with their folders; but not into folders that this person may not
    add files to (any more)."""
    return RestoreAction().execute(file_ids, {}, by=by)


def restore_folder(folder: Folder, *, by: User) -> BulkResult:
    """Restore a folder from the trash with the files and subfolders that went there with it. Raises Conflict."""
    return RestoreAction().execute([], {}, by=by, folders=[folder.pk])


def restore_file(file: File, *, by: User) -> None:
    """Restore one file from the trash, as it was. Safe to repeat. Raises Forbidden, InvalidTransition."""
    if File.objects.by_permanent_id(file.permanent_id).available().exists():
        return
    if not restore_files([file.permanent_id], by=by).files:
        if File.objects.by_permanent_id(file.permanent_id).trashed().exists():
            raise FolderNotWritable()
        raise InvalidTransition(_("The file is no longer in the trash."))
