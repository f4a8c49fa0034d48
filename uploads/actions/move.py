"""Move files and folders into a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, count_files, count_folders, name_folders, register
from uploads.forms import FolderField, FolderPickerForm, UserForm
from uploads.models import Action, Event, File, Folder
from uploads.services.files import with_versions
from uploads.services.folders import lock, lock_target, move, require_writable

MISSING = -1  # the folder of a file that no longer exists


class MoveForm(UserForm):
    """The target, typed as a path."""

    to = FolderField(label=gettext_lazy("Destination folder"))


@register
class MoveAction(BulkAction):
    name, order, row_right, takes_folders, can_undo, undo_detail = "move", 10, "c", True, True, "from_id"
    label, icon = gettext_lazy("Move"), "move"
    description = gettext_lazy("Links and contents stay the same. The files get the access rules of the new folder.")
    form_class, page_form_class = MoveForm, FolderPickerForm
    audit_action, log_event = Action.MOVE, "file_moved"

    def prepare(self, file_ids: Collection[UUID], data: Mapping[str, Any], *, by: User) -> None:
        target: Folder | None = data["to"]
        lock([target.pk] if target else [])
        require_writable(target, by)

    def previous(self, files: list[File], data: Mapping[str, Any]) -> Mapping[UUID, Mapping[str, Any]]:
        return {file.pk: {"from_id": file.folder_id} for file in files}

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        target: Folder | None = data["to"]
        with_versions(files).update(folder=target, updated_at=Now())
        return {"folder_id": target.pk if target else None, "folder_name": target.name if target else ""}

    def change_folders(self, result: BulkResult, data: Mapping[str, Any], *, by: User) -> list[Event]:
        target = lock_target(data["to"], by)
        return [move(folder, target, by=by) for folder in result.folders]

    def can_undo_event(self, row: Event) -> bool:
        return super().can_undo_event(row) or (row.action == Action.FOLDER and self.undo_detail in row.detail)

    def undo(self, events: Sequence[Event], *, by: User) -> BulkResult:
        """Move files and folders back to where they were, all or none."""
        files = File.objects.by_permanent_ids(row.file_id for row in events if row.file_id)
        file_places = {series or pk: place for series, pk, place in files.values_list("series", "pk", "folder_id")}
        rows = Folder.objects.living().filter(pk__in=[row.folder_id for row in events if row.folder_id])
        folder_places = dict(rows.values_list("pk", "parent_id"))
        places: dict[int | None, tuple[list[UUID], list[int]]] = {}
        for row in events:
            file_ids, folders = places.setdefault(row.detail["from_id"], ([], []))
            if row.file_id and file_places.get(row.file_id, MISSING) == row.detail["folder_id"]:
                file_ids.append(row.file_id)
            elif row.folder_id and folder_places.get(row.folder_id, MISSING) == row.detail["parent_id"]:
                folders.append(row.folder_id)
        result = BulkResult()
        with transaction.atomic():
            for pk, (file_ids, folders) in places.items():
                target = Folder.objects.get(pk=pk) if pk else None
                result.add(self.execute(file_ids, {"to": target}, by=by, folders=folders))
        return result

    def undo_message(self, result: BulkResult) -> str:
        if result.folders:
            count = len(result.folders) + len(result.files)
            return ngettext("Moved %(count)s item back.", "Moved %(count)s items back.", count) % {"count": count}
        count = len(result.files)
        return ngettext("Moved %(count)s file back.", "Moved %(count)s files back.", count) % {"count": count}

    def title(self, count: int) -> str:
        return ngettext("Move %(count)s file to …", "Move %(count)s files to …", count) % {"count": count}

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Moved %(count)s file to “%(into)s”.", "Moved %(count)s files to “%(into)s”.", count)
        return text % {"count": count, "into": data["to"].name if data["to"] else _("Library")}

    def question(self, count: int, folders: Sequence[Folder], *, by: User) -> str:
        if not folders:
            return self.title(count)
        names = name_folders(folders)
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

    def target_url(self, data: Mapping[str, Any]) -> str:
        return data["to"].get_absolute_url() if data["to"] else reverse("library")

    def describe(self, detail: Mapping[str, Any]) -> str:
        if detail.get("folder_name"):
            return _("moved it to “%(folder)s”") % {"folder": detail["folder_name"]}
        return _("moved it to the top level of the library")


def move_files(file_ids: Iterable[UUID], target: Folder | None, *, by: User) -> BulkResult:
    """Move files into another folder (None: the top level). Raises Forbidden if this person may not add files there."""
    return MoveAction().execute(file_ids, {"to": target}, by=by)
