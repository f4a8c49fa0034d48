"""Bulk actions on files. A confirmation page first lists the files that change and those that stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from uploads.actions import BulkAction, admin_actions
from uploads.errors import Problem
from uploads.models import File
from uploads.views.responses import flash_result, request_user

MAX_SELECTED = 500  # each is a form field, and Django accepts a thousand
MAX_LISTED_NAMES = 20


def get_actions() -> dict[str, tuple[Callable[..., Any], str, Any]]:
    """Return the actions in the form that ModelAdmin.get_actions returns."""
    return {action.name: (_admin_action(action), action.name, action.label) for action in admin_actions()}


def _admin_action(action: BulkAction) -> Callable[..., Any]:
    def run(modeladmin: ModelAdmin[File], request: HttpRequest, queryset: QuerySet[File]) -> HttpResponse | None:
        files = list(queryset.order_by("natural_name", "id")[: MAX_SELECTED + 1])
        if len(files) > MAX_SELECTED:
            messages.error(request, _("You can select up to %(most)s files at a time.") % {"most": MAX_SELECTED})
            return None
        is_confirmed = "confirmed" in request.POST
        form = action.form_class(request.POST if is_confirmed else None, user=request_user(request))
        if not form.is_valid():
            return _confirm_page(action, form, files, modeladmin, request)
        return _execute(action, form, files, request)

    return run


def _confirm_page(
    action: BulkAction, form: forms.Form, files: list[File], modeladmin: ModelAdmin[File], request: HttpRequest
) -> HttpResponse:
    rows = action.permitted(request_user(request)).filter(pk__in=[file.pk for file in files])
    permitted = set(rows.values_list("pk", flat=True))
    changeable = [file for file in files if file.pk in permitted]
    refused = [file for file in files if file.pk not in permitted]
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


def _execute(action: BulkAction, form: forms.Form, files: Iterable[File], request: HttpRequest) -> HttpResponse:
    links = [file.link for file in files]
    missing = max(0, len(set(request.POST.getlist(ACTION_CHECKBOX_NAME))) - len(links))
    try:
        result = action.execute(links, form.cleaned_data, by=request_user(request))
        message = action.success_message(len(result.files), form.cleaned_data)
        flash_result(request, message, result, unusable=missing)
    except Problem as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(request.get_full_path())
