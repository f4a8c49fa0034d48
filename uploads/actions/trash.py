"""Move files to the trash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, register
from uploads.errors import InvalidTransition
from uploads.models import Action, File, State
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.services.files import with_versions


@register
class TrashAction(BulkAction):
    """Files go to the trash with all their versions; they can be restored until `purge_after`."""

    name, order = "trash", 60
    label = gettext_lazy("Move to trash")
    button_class, can_undo = "danger", True
    description = format_lazy(
        gettext_lazy("Files are hidden from everyone, and can be restored for {days} days."),
        days=settings.TRASH_RETENTION_DAYS,
    )
    audit_action, log_event = Action.TRASH, "file_trashed"

    def permitted(self, user: User) -> FileQuerySet:
        return File.objects.removable_by(user).listed()

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        purge_after = seconds_from_now(settings.TRASH_RETENTION_DAYS * 24 * 3600)
        with_versions(files).move_to(State.TRASHED, purge_after=purge_after)
        return {}

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Moved %(count)s file to trash.", "Moved %(count)s files to trash.", count)
        return text % {"count": count}


def trash_files(links: Iterable[UUID], *, by: User) -> BulkResult:
    """Move files to the trash, with all their versions; they can be restored until `purge_after`."""
    return TrashAction().execute(links, {}, by=by)


def trash_file(file: File, *, by: User) -> None:
    """Move one file to the trash. Safe to repeat.

    Raises InvalidTransition for a file that is not available, or that this person may not remove.
    """
    if File.objects.by_link(file.link).trashed().exists():
        return
    if not trash_files([file.link], by=by).files:
        raise InvalidTransition(_("“%(name)s” can't be moved to trash right now.") % {"name": file.name})
