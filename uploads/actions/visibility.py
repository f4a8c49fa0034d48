"""Make files private, or show them to the team."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, register
from uploads.models import Action, Event, File, Visibility
from uploads.models.querysets import FileQuerySet
from uploads.services.files import with_versions


class VisibilityAction(BulkAction):
    """Only the owner of a file may change its visibility."""

    menu, icon, can_undo, undo_detail = gettext_lazy("Visibility"), "eye", True, "previous"
    visibility: ClassVar[Visibility]
    audit_action = Action.VISIBILITY

    def permitted(self, user: User) -> FileQuerySet:
        return File.objects.owned_by(user).listed()

    def previous(self, files: list[File], data: Mapping[str, Any]) -> Mapping[UUID, Mapping[str, Any]]:
        return {file.pk: {"previous": file.visibility} for file in files}

    def undo(self, events: Sequence[Event], *, by: User) -> BulkResult:
        changed = [row for row in events if row.file_id and row.detail["previous"] != row.detail["visibility"]]
        result = BulkResult()
        for visibility in Visibility:
            file_ids = [row.file_id for row in changed if row.file_id and row.detail["previous"] == visibility]
            others = File.objects.by_permanent_ids(file_ids).exclude(visibility=visibility)
            result.add(set_visibility([file.permanent_id for file in others], visibility, by=by))
        return result

    def undo_message(self, result: BulkResult) -> str:
        count = len(result.files)
        text = ngettext("Restored visibility of %(count)s file.", "Restored visibility of %(count)s files.", count)
        return text % {"count": count}

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        with_versions(files).update(visibility=self.visibility, updated_at=Now())
        return {"visibility": self.visibility.value}

    def describe(self, detail: Mapping[str, Any]) -> str:
        return _("made it private") if detail.get("visibility") == Visibility.PRIVATE else _("shared it with the team")


@register
class MakePrivateAction(VisibilityAction):
    name, order, row_right, visibility = "private", 40, "o", Visibility.PRIVATE
    label = gettext_lazy("Make private")
    description = gettext_lazy("Only the owner will see these files. You can change only your own files.")
    log_event = "file_hidden"

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Made %(count)s file private.", "Made %(count)s files private.", count)
        return text % {"count": count}


@register
class ShowToTeamAction(VisibilityAction):
    name, order, row_right, visibility = "team", 50, "o", Visibility.TEAM
    label = gettext_lazy("Share with team")
    description = gettext_lazy("Everyone with access to their folders will see these files.")
    log_event = "file_shown"

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("Shared %(count)s file with the team.", "Shared %(count)s files with the team.", count)
        return text % {"count": count}


def set_visibility(file_ids: Iterable[UUID], visibility: Visibility, *, by: User) -> BulkResult:
    """Show files to the team or make them private. Only the owner of a file may do this."""
    action = ShowToTeamAction() if visibility == Visibility.TEAM else MakePrivateAction()
    return action.execute(file_ids, {}, by=by)
