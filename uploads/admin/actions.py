"""Many files at once: each act is first shown as a page that says what will happen to how many, and to which not."""

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

MAX_SELECTED = 500  # each is a field of the form, and Django takes a thousand
MAX_LISTED_NAMES = 20


class Nothing(forms.Form):
    """For acts that ask for nothing more."""


class WhereTo(forms.Form):
    folder = FolderField(label=gettext_lazy("To the folder"))


class WhichTags(forms.Form):
    tags = TagsField()


@dataclass(frozen=True, slots=True)
class BulkAction:
    """What can be done to chosen files: in words, to which of them, and by which service."""

    name: str
    label: Any
    tells: Any
    done: Any
    allowed: Callable[[User], FileQuerySet]
    run: Callable[[list[UUID], dict[str, Any], User], BulkResult]
    form: type[forms.Form] = Nothing


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
            days=settings.TRASH_DAYS,
        ),
        gettext_lazy("Put into the trash: %(count)s."),
        lambda user: File.objects.removable_by(user).listed(),
        lambda links, data, user: services.trash_many(links, by=user),
    ),
    BulkAction(
        "restore",
        gettext_lazy("Restore from the trash"),
        gettext_lazy("They come back as they were, with their folders."),
        gettext_lazy("Restored: %(count)s."),
        lambda user: File.objects.restorable_by(user).filter(current=True),
        lambda links, data, user: services.restore_many(links, by=user),
    ),
    BulkAction(
        "move",
        gettext_lazy("Move to a folder"),
        gettext_lazy("Their links and their bytes stay as they are; the access of the new folder holds for them."),
        gettext_lazy("Moved: %(count)s."),
        _changeable,
        lambda links, data, user: services.move_files(links, data["folder"], by=user),
        WhereTo,
    ),
    BulkAction(
        "add_tags",
        gettext_lazy("Add tags"),
        gettext_lazy("The tags they have stay. A tag that is not there yet comes into being."),
        gettext_lazy("Tagged: %(count)s."),
        _changeable,
        lambda links, data, user: services.tag_files(links, add=data["tags"], by=user),
        WhichTags,
    ),
    BulkAction(
        "remove_tags",
        gettext_lazy("Remove tags"),
        gettext_lazy("Only these tags are taken off; the files stay where they are."),
        gettext_lazy("Changed: %(count)s."),
        _changeable,
        lambda links, data, user: services.tag_files(links, remove=data["tags"], by=user),
        WhichTags,
    ),
    BulkAction(
        "show",
        gettext_lazy("Show to the team"),
        gettext_lazy("Everybody who may see their folders will see them."),
        gettext_lazy("Shown to the team: %(count)s."),
        _own,
        lambda links, data, user: services.set_visibility(links, Visibility.TEAM, by=user),
    ),
    BulkAction(
        "hide",
        gettext_lazy("Make private"),
        gettext_lazy("Only their owner will see them. That is for each file's owner alone."),
        gettext_lazy("Made private: %(count)s."),
        _own,
        lambda links, data, user: services.set_visibility(links, Visibility.PRIVATE, by=user),
    ),
)


def actions() -> dict[str, tuple[Callable[..., Any], str, Any]]:
    """The acts as the admin takes its actions."""
    return {act.name: (_action(act), act.name, act.label) for act in ADMIN_ACTIONS}


def _action(act: BulkAction) -> Callable[..., Any]:
    def take(modeladmin: ModelAdmin[File], request: HttpRequest, queryset: QuerySet[File]) -> HttpResponse | None:
        files = list(queryset.order_by("folded", "id")[: MAX_SELECTED + 1])
        if len(files) > MAX_SELECTED:
            messages.error(request, _("Choose at most %(most)s files at once.") % {"most": MAX_SELECTED})
            return None
        user = request_user(request)
        form = act.form(request.POST if "confirmed" in request.POST else None)
        if isinstance(form.fields.get("folder"), FolderField):
            form.fields["folder"].user = user  # type: ignore[attr-defined]
        if not form.is_valid():
            return _confirm_page(act, form, files, modeladmin, request)
        return _do(act, form, files, request)

    return take


def _confirm_page(
    act: BulkAction, form: forms.Form, files: list[File], modeladmin: ModelAdmin[File], request: HttpRequest
) -> HttpResponse:
    rows = act.allowed(request_user(request)).filter(pk__in=[file.pk for file in files])
    allowed = set(rows.values_list("pk", flat=True))
    going = [file for file in files if file.pk in allowed]
    refused = [file for file in files if file.pk not in allowed]
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": act.label,
        "opts": modeladmin.opts,
        "media": modeladmin.media,
        "act": act,
        "form": form,
        "going": going[:MAX_LISTED_NAMES],
        "going_count": len(going),
        "going_more": max(0, len(going) - MAX_LISTED_NAMES),
        "refused": refused[:MAX_LISTED_NAMES],
        "refused_count": len(refused),
        "refused_more": max(0, len(refused) - MAX_LISTED_NAMES),
        "chosen": files,
        "chosen_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/uploads/file/confirm.html", context)


def _do(act: BulkAction, form: forms.Form, files: Iterable[File], request: HttpRequest) -> HttpResponse:
    links = [file.link for file in files]
    unknown = len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(links)
    try:
        message_result(
            request, act.done, act.run(links, form.cleaned_data, request_user(request)), unknown=max(0, unknown)
        )
    except Problem as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(request.get_full_path())


def message_result(request: HttpRequest, done: Any, outcome: BulkResult, *, unknown: int = 0) -> None:
    """Say how many were changed, and which were left as they were."""
    if outcome.files:
        messages.success(request, str(done) % {"count": len(outcome.files)})
    if outcome.refused:
        named = ", ".join(outcome.refused[:MAX_LISTED_NAMES]) + (
            " …" if len(outcome.refused) > MAX_LISTED_NAMES else ""
        )
        messages.warning(request, _("Left as they were, because that is not for you or not now: %(names)s") % {
            "names": named
        })  # fmt: skip
    if missing := outcome.unknown + unknown:
        told = ngettext("%(count)s file was not found.", "%(count)s files were not found.", missing)
        messages.warning(request, told % {"count": missing})
