"""Make files private, or show them to the team."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads.actions.base import BulkAction, BulkResult, register
from uploads.models import Action, File, Visibility
from uploads.models.querysets import FileQuerySet
from uploads.services.files import with_versions


class VisibilityAction(BulkAction):
    """Only the owner of a file may change its visibility."""

    visibility: ClassVar[Visibility]
    audit_action = Action.VISIBILITY

    def permitted(self, user: User) -> FileQuerySet:
        return File.objects.owned_by(user).listed()

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        with_versions(files).update(visibility=self.visibility, updated_at=Now())
        return {"visibility": self.visibility.value}

    def describe(self, detail: Mapping[str, Any]) -> str:
        return _("made it private") if detail.get("visibility") == Visibility.PRIVATE else _("showed it to the team")


@register
class MakePrivateAction(VisibilityAction):
    name, order, visibility = "private", 40, Visibility.PRIVATE
    label = gettext_lazy("Make private")
    description = gettext_lazy("Only their owner will see them. That is for each file's owner alone.")
    log_event = "file_hidden"

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("%(count)s file is private now.", "%(count)s files are private now.", count)
        return text % {"count": count}


@register
class ShowToTeamAction(VisibilityAction):
    name, order, visibility = "team", 50, Visibility.TEAM
    label = gettext_lazy("Show to the team")
    description = gettext_lazy("Everybody who may see their folders will see them.")
    log_event = "file_shown"

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        text = ngettext("The team sees %(count)s file now.", "The team sees %(count)s files now.", count)
        return text % {"count": count}


def set_visibility(links: Iterable[UUID], visibility: Visibility, *, by: User) -> BulkResult:
    """Show files to the team or make them private. Only the owner of a file may do this."""
    action = ShowToTeamAction() if visibility == Visibility.TEAM else MakePrivateAction()
    return action.execute(links, {}, by=by)
