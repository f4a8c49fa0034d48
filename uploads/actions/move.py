"""Move files and folders into a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, count_files, count_folders, register
from uploads.forms import FolderField, FolderPickerForm, UserForm
from uploads.models import Action, Event, File, Folder
from uploads.services.files import with_versions
from uploads.services.folders import lock, move_locked, require_writable


class MoveForm(UserForm):
    """The target, typed as a path."""

    to = FolderField(label=gettext_lazy("Destination folder"))


@register
class MoveAction(BulkAction):
    name, order, takes_folders = "move", 10, True
    label = gettext_lazy("Move")
    description = gettext_lazy("Links and contents stay the same. The files get the access rules of the new folder.")
    form_class, page_form_class = MoveForm, FolderPickerForm
    audit_action, log_event = Action.MOVE, "file_moved"

    def prepare(self, links: Collection[UUID], data: Mapping[str, Any], *, by: User) -> None:
        target: Folder | None = data["to"]
        lock([target.pk] if target else [])
        require_writable(target, by)

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        target: Folder | None = data["to"]
        with_versions(files).update(folder=target, updated_at=Now())
        return {"folder_id": target.pk if target else None, "folder_name": target.name if target else ""}

    def change_folders(self, result: BulkResult, data: Mapping[str, Any], *, by: User) -> list[Event]:
        return [move_locked(folder, data["to"], by=by) for folder in result.folders]

    def title(self, count: int) -> str:
        return ngettext("Move %(count)s file to …", "Move %(count)s files to …", count) % {"count": count}

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Moved %(count)s file to “%(into)s”.", "Moved %(count)s files to “%(into)s”.", count)
        return text % {"count": count, "into": data["to"].name if data["to"] else _("Library")}

    def question(self, count: int, folders: Sequence[Folder], *, by: User) -> str:
        if not folders:
            return self.title(count)
        names = f"“{folders[0]}”" if len(folders) == 1 else count_folders(len(folders))
        if count:
            return _("Move %(names)s and %(files)s to …") % {"names": names, "files": count_files(count)}
        return _("Move %(names)s to …") % {"names": names}

    def folder_message(self, result: BulkResult, data: Mapping[str, Any]) -> str:
        into = data["to"].name if data["to"] else _("Library")
        if len(result.folders) == 1 and not result.files:
            return _("Moved “%(name)s” to “%(into)s”.") % {"name": result.folders[0], "into": into}
        if not result.files:
            return _("Moved %(folders)s to “%(into)s”.") % {"folders": count_folders(len(result.folders)), "into": into}
        parts = {"folders": count_folders(len(result.folders)), "files": count_files(len(result.files)), "into": into}
        return _("Moved %(folders)s and %(files)s to “%(into)s”.") % parts

    def describe(self, detail: Mapping[str, Any]) -> str:
        if detail.get("folder_name"):
            return _("moved it to “%(folder)s”") % {"folder": detail["folder_name"]}
        return _("moved it to the top level of the library")


def move_files(links: Iterable[UUID], target: Folder | None, *, by: User) -> BulkResult:
    """Move files into another folder (None: the top level). Raises Forbidden if this person may not add files there."""
    return MoveAction().execute(links, {"to": target}, by=by)
