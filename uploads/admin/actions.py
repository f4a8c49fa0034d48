"""Bulk actions on files. A confirmation page first lists the files that change and those that stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from uploads import services
from uploads.admin.fields import FolderField, TagsField
from uploads.errors import Problem
from uploads.models import File, Visibility
from uploads.models.querysets import FileQuerySet
from uploads.services import BulkResult
from uploads.views.responses import request_user

MAX_SELECTED = 500  # each is a form field, and Django accepts a thousand
MAX_LISTED_NAMES = 20


class NoFieldsForm(forms.Form):
    """The form of actions without parameters."""


class FolderForm(forms.Form):
    folder = FolderField(label=gettext_lazy("To the folder"))


class TagsForm(forms.Form):
    tags = TagsField()


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A bulk action: its texts, the files that a user may select for it, and the service that runs it."""

    name: str
    label: Any
    description: Any
    success_message: Any
    allowed: Callable[[User], FileQuerySet]
    run: Callable[[list[UUID], dict[str, Any], User], BulkResult]
    form: type[forms.Form] = NoFieldsForm


def _changeable(user: User) -> FileQuerySet:
    return File.objects.changeable_by(user).listed()


def _own(user: User) -> FileQuerySet:
    return File.objects.owned_by(user).listed()


ADMIN_ACTIONS = (
    BulkAction(
        "trash",
        gettext_lazy("Put into the trash"),
        format_lazy(
            gettext_lazy("They are hidden from everyone at once, and can be restored for {days} days."),
            days=settings.TRASH_RETENTION_DAYS,
        ),
        gettext_lazy("Put into the trash: %(count)s."),
        lambda user: File.objects.removable_by(user).listed(),
        lambda ids, data, user: services.trash_many(ids, by=user),
    ),
    BulkAction(
        "restore",
        gettext_lazy("Restore from the trash"),
        gettext_lazy("They come back as they were, with their folders."),
        gettext_lazy("Restored: %(count)s."),
        lambda user: File.objects.restorable_by(user).filter(current=True),
        lambda ids, data, user: services.restore_many(ids, by=user),
    ),
    BulkAction(
        "move",
        gettext_lazy("Move to a folder"),
        gettext_lazy("Their links and their bytes stay as they are; the access of the new folder holds for them."),
        gettext_lazy("Moved: %(count)s."),
        _changeable,
        lambda ids, data, user: services.move_files(ids, data["folder"], by=user),
        FolderForm,
    ),
    BulkAction(
        "add_tags",
        gettext_lazy("Add tags"),
        gettext_lazy("The tags they have stay. A tag that is not there yet comes into being."),
        gettext_lazy("Tagged: %(count)s."),
        _changeable,
        lambda ids, data, user: services.tag_files(ids, add=data["tags"], by=user),
        TagsForm,
    ),
    BulkAction(
        "remove_tags",
        gettext_lazy("Remove tags"),
        gettext_lazy("Only these tags are taken off; the files stay where they are."),
        gettext_lazy("Changed: %(count)s."),
        _changeable,
        lambda ids, data, user: services.tag_files(ids, remove=data["tags"], by=user),
        TagsForm,
    ),
    BulkAction(
        "show",
        gettext_lazy("Show to the team"),
        gettext_lazy("Everybody who may see their folders will see them."),
        gettext_lazy("Shown to the team: %(count)s."),
        _own,
        lambda ids, data, user: services.set_visibility(ids, Visibility.TEAM, by=user),
    ),
    BulkAction(
        "hide",
        gettext_lazy("Make private"),
        gettext_lazy("Only their owner will see them. That is for each file's owner alone."),
        gettext_lazy("Made private: %(count)s."),
        _own,
        lambda ids, data, user: services.set_visibility(ids, Visibility.PRIVATE, by=user),
    ),
)


def actions() -> dict[str, tuple[Callable[..., Any], str, Any]]:
    """Return the actions in the form that ModelAdmin.get_actions returns."""
    return {action.name: (_admin_action(action), action.name, action.label) for action in ADMIN_ACTIONS}


def _admin_action(action: BulkAction) -> Callable[..., Any]:
    def run(modeladmin: ModelAdmin[File], request: HttpRequest, queryset: QuerySet[File]) -> HttpResponse | None:
        files = list(queryset.order_by("normalized_name", "id")[: MAX_SELECTED + 1])
        if len(files) > MAX_SELECTED:
            messages.error(request, _("Choose at most %(most)s files at once.") % {"most": MAX_SELECTED})
            return None
        user = request_user(request)
        form = action.form(request.POST if "confirmed" in request.POST else None)
        if isinstance(form.fields.get("folder"), FolderField):
            form.fields["folder"].user = user  # type: ignore[attr-defined]
        if not form.is_valid():
            return _confirm_page(action, form, files, modeladmin, request)
        return _run(action, form, files, request)

    return run


def _confirm_page(
    action: BulkAction, form: forms.Form, files: list[File], modeladmin: ModelAdmin[File], request: HttpRequest
) -> HttpResponse:
    rows = action.allowed(request_user(request)).filter(pk__in=[file.pk for file in files])
    allowed = set(rows.values_list("pk", flat=True))
    changeable = [file for file in files if file.pk in allowed]
    refused = [file for file in files if file.pk not in allowed]
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": action.label,
        "opts": modeladmin.opts,
        "media": modeladmin.media,
        "action": action,
        "form": form,
        "changeable": changeable[:MAX_LISTED_NAMES],
        "changeable_count": len(changeable),
        "changeable_more": max(0, len(changeable) - MAX_LISTED_NAMES),
        "refused": refused[:MAX_LISTED_NAMES],
        "refused_count": len(refused),
        "refused_more": max(0, len(refused) - MAX_LISTED_NAMES),
        "selected": files,
        "checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/uploads/file/confirm.html", context)


def _run(action: BulkAction, form: forms.Form, files: Iterable[File], request: HttpRequest) -> HttpResponse:
    ids = [file.link for file in files]
    unknown = len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(ids)
    try:
        message_result(
            request,
            action.success_message,
            action.run(ids, form.cleaned_data, request_user(request)),
            unknown=max(0, unknown),
        )
    except Problem as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(request.get_full_path())


def message_result(request: HttpRequest, success_message: Any, result: BulkResult, *, unknown: int = 0) -> None:
    """Add messages about how many files were changed, and which were not."""
    if result.files:
        messages.success(request, str(success_message) % {"count": len(result.files)})
    if result.refused:
        names = ", ".join(result.refused[:MAX_LISTED_NAMES]) + (" …" if len(result.refused) > MAX_LISTED_NAMES else "")
        messages.warning(request, _("Left as they were, because that is not for you or not now: %(names)s") % {
            "names": names
        })  # fmt: skip
    if missing := result.unknown + unknown:
        text = ngettext("%(count)s file was not found.", "%(count)s files were not found.", missing)
        messages.warning(request, text % {"count": missing})
