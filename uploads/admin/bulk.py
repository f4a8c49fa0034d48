"""Bulk actions in the admin, for files and for folders: a page first lists the rows that change, and those that stay as
they are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from uploads.actions import BulkAction, BulkResult, admin_actions
from uploads.admin.base import LargeTableAdmin
from uploads.errors import Conflict, InvalidTransition, Problem, ValidationFailed
from uploads.views.responses import flash_result, request_user

MAX_SELECTED = 500  # each is a form field, and Django accepts a thousand
MAX_LISTED_NAMES = 20

AdminActions = dict[str, tuple["AdminAction", str, Any]]  # in the form that ModelAdmin.get_actions returns


class AdminAction:
    """A bulk action as a function of ModelAdmin."""

    template: ClassVar[str]
    shows_paths: ClassVar[bool] = False

    def __init__(self, action: BulkAction) -> None:
        self.action = action

    def __call__(
        self, modeladmin: LargeTableAdmin, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        rows = list(queryset.order_by("natural_name", "id")[: MAX_SELECTED + 1])
        if len(rows) > MAX_SELECTED:
            messages.error(request, self.too_many_message())
            return None
        user = request_user(request)
        form = self.action.form_class(request.POST if "confirmed" in request.POST else None, user=user)
        if form.is_valid():
            try:
                self._execute(rows, form.cleaned_data, request)
            except (Conflict, InvalidTransition, ValidationFailed) as problem:
                form.add_error(None, problem.message)
            except Problem as problem:
                messages.error(request, problem.message)
                return HttpResponseRedirect(request.get_full_path())
            else:
                return HttpResponseRedirect(request.get_full_path())
        return self._confirm_page(form, rows, modeladmin, request)

    def _execute(self, rows: list[Any], data: Mapping[str, Any], request: HttpRequest) -> None:
        missing = max(0, len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(rows))
        result = self.execute(rows, data, by=request_user(request))
        flash_result(request, self.action.message(result, data), result, unusable=missing)

    def _confirm_page(
        self, form: forms.Form, rows: list[Any], modeladmin: LargeTableAdmin, request: HttpRequest
    ) -> HttpResponse:
        user = request_user(request)
        permitted = set(self.permitted(user).filter(pk__in=[row.pk for row in rows]).values_list("pk", flat=True))
        changeable = [row for row in rows if row.pk in permitted]
        refused = [row for row in rows if row.pk not in permitted]
        if self.shows_paths:
            modeladmin.annotate_page(request, [*changeable[:MAX_LISTED_NAMES], *refused[:MAX_LISTED_NAMES]])
        context = {
            **modeladmin.admin_site.each_context(request),
            "title": self.action.label,
            "opts": modeladmin.opts,
            "media": modeladmin.media,
            "action": self.action,
            "question": self.question(changeable, by=user),
            "form": form,
            "changeable": changeable[:MAX_LISTED_NAMES],
            "changeable_count": len(changeable),
            "changeable_more": max(0, len(changeable) - MAX_LISTED_NAMES),
            "refused": refused[:MAX_LISTED_NAMES],
            "refused_count": len(refused),
            "refused_more": max(0, len(refused) - MAX_LISTED_NAMES),
            "selected": rows,
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, self.template, context)

    def question(self, rows: Sequence[Any], *, by: User) -> str:
        """Return the heading above the rows that change; '' for their number."""
        return ""

    @abstractmethod
    def permitted(self, user: User) -> QuerySet[Any]:
        """Return the rows to which this user may do this."""

    @abstractmethod
    def execute(self, rows: Sequence[Any], data: Mapping[str, Any], *, by: User) -> BulkResult:
        """Do this to the rows. Raises Problem."""

    @abstractmethod
    def too_many_message(self) -> str:
        """Return the message for more than MAX_SELECTED rows."""


class FileAction(AdminAction):
    template = "admin/uploads/file/confirm.html"

    def permitted(self, user: User) -> QuerySet[Any]:
        return self.action.permitted(user)

    def execute(self, rows: Sequence[Any], data: Mapping[str, Any], *, by: User) -> BulkResult:
        return self.action.execute([file.permanent_id for file in rows], data, by=by)

    def too_many_message(self) -> str:
        return _("You can select up to %(most)s files at a time.") % {"most": MAX_SELECTED}


class FolderAction(AdminAction):
    template, shows_paths = "admin/uploads/folder/confirm.html", True

    def question(self, rows: Sequence[Any], *, by: User) -> str:
        return self.action.question(0, rows, by=by) if rows else ""

    def permitted(self, user: User) -> QuerySet[Any]:
        return self.action.permitted_folders(user)

    def execute(self, rows: Sequence[Any], data: Mapping[str, Any], *, by: User) -> BulkResult:
        return self.action.execute([], data, by=by, folders=[folder.pk for folder in rows])

    def too_many_message(self) -> str:
        return _("You can select up to %(most)s folders at a time.") % {"most": MAX_SELECTED}


def file_actions() -> AdminActions:
    return {action.name: (FileAction(action), action.name, action.label) for action in admin_actions()}


def folder_actions(*, in_trash: bool) -> AdminActions:
    """Return the actions for folders of the library or of the trash."""
    offered = [action for action in admin_actions() if action.takes_folders and action.in_trash == in_trash]
    return {action.name: (FolderAction(action), action.name, action.label) for action in offered}
