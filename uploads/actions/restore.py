"""Restore files from the trash."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, register
from uploads.errors import Forbidden, InvalidTransition
from uploads.models import Action, File, State
from uploads.models.querysets import FileQuerySet
from uploads.services.files import with_versions
from uploads.services.folders import lock


@register
class RestoreAction(BulkAction):
    """Files come back as they were, with their folders; but not into folders that the person may not add files to."""

    name, order = "restore", 70
    label = gettext_lazy("Restore")
    button_class, in_trash = "primary", True
    description = gettext_lazy("Files are restored as they were, together with their folders.")
    audit_action, log_event = Action.RESTORE, "file_restored"

    def permitted(self, user: User) -> FileQuerySet:
        return File.objects.restorable_by(user).filter(current=True)

    def prepare(self, links: Collection[UUID], data: Mapping[str, Any], *, by: User) -> None:
        rows = self.permitted(by).by_links(links).filter(folder__isnull=False)
        lock(pk for pk in rows.values_list("folder_id", flat=True) if pk)

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        with_versions(files).trashed().move_to(State.AVAILABLE, purge_after=None)
        return {}

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        return ngettext("Restored %(count)s file.", "Restored %(count)s files.", count) % {"count": count}


def restore_files(links: Iterable[UUID], *, by: User) -> BulkResult:
    """Restore files from the trash as they were, with their folders; but not into folders that this person may not
    add files to (any more)."""
    return RestoreAction().execute(links, {}, by=by)


def restore_file(file: File, *, by: User) -> None:
    """Restore one file from the trash, as it was. Safe to repeat. Raises Forbidden, InvalidTransition."""
    if File.objects.by_link(file.link).available().exists():
        return
    if not restore_files([file.link], by=by).files:
        if File.objects.by_link(file.link).trashed().exists():
            raise Forbidden(_("You don't have permission to upload to this folder."))
        raise InvalidTransition(_("The file is no longer in the trash."))
