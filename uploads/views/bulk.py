"""Bulk actions. Files that the user may not change are reported by name; none is dropped silently."""

from __future__ import annotations

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from uploads import actions
from uploads.actions import BulkAction
from uploads.errors import ValidationFailed
from uploads.forms import FolderPickerForm, Selection, find_folder
from uploads.views.folder_picker import Hidden, choose_folder
from uploads.views.responses import flash_result, html_errors, redirect_next, request_user

CONFIRM_ABOVE = 100  # files
HIDDEN_FIELDS = ("do", "all", "query", "folder", "place", "next")


@require_POST
@html_errors
def bulk(request: HttpRequest) -> HttpResponse:
    """Run the action `do` on the selected files.

    An action with parameters first shows a page with its form, and one on many files a page that asks for confirmation.
    """
    user = request_user(request)
    selection = Selection.read(request.POST, request.POST.getlist("file"), user)
    action = actions.get_action(request.POST.get("do", ""))
    if action is None or action.url_name:
        raise ValidationFailed(_("Choose an action."))
    form_class = action.page_form_class or action.form_class
    is_sent = "go" in request.POST or not (form_class.base_fields or len(selection.links) > CONFIRM_ABOVE)
    form = form_class(request.POST if is_sent else None, user=user)
    if not form.is_valid():
        return _form_page(request, user, action, form, selection)
    result = action.execute(selection.links, form.cleaned_data, by=user)
    message = action.success_message(len(result.files), form.cleaned_data)
    flash_result(request, message, result, unusable=selection.unusable, undo=action.can_undo)
    return redirect_next(request)


def _form_page(
    request: HttpRequest, user: User, action: BulkAction, form: forms.Form, selection: Selection
) -> HttpResponse:
    title, hidden = action.title(len(selection.links)), hidden_fields(request)
    if isinstance(form, FolderPickerForm):
        here = find_folder(request.POST.get("folder"), user)
        return choose_folder(request, form, title=title, here=here, hidden=hidden)
    context = {"action": action, "title": title, "form": form, "hidden": hidden}
    return render(request, "uploads/bulk_form.html", context, status=400 if form.is_bound else 200)


def hidden_fields(request: HttpRequest) -> Hidden:
    """Return the selection as hidden fields, so that the next page sends it again."""
    fields = [(name, request.POST[name]) for name in HIDDEN_FIELDS if request.POST.get(name)]
    ticked = [] if request.POST.get("all") else request.POST.getlist("file")
    return [*fields, *(("file", link) for link in ticked)]
