"""Bulk actions. What the user may not change is reported by name; nothing is dropped silently."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.utils.formats import number_format
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from uploads import actions
from uploads.actions import BulkAction
from uploads.errors import Conflict, InvalidTransition, ValidationFailed
from uploads.forms import FolderPickerForm, Selection, find_folder
from uploads.models import Folder
from uploads.views.folders import Hidden, choose_folder
from uploads.views.responses import flash_result, html_errors, next_url, redirect_next, render_dialog, request_user

CONFIRM_ABOVE = 100  # files
HIDDEN_FIELDS = ("do", "all", "query", "folder", "place", "next")


@require_POST
@html_errors
def bulk(request: HttpRequest) -> HttpResponse:
    """Run the action `do` on the selected files and folders.

    An action with parameters first shows a page with its form, and one on many files, or on a folder that goes to the
    trash with files, a page that asks for confirmation.
    """
    user = request_user(request)
    selection = Selection.read(request.POST, user)
    action = actions.get_action(request.POST.get("do", ""))
    if action is None or action.url_name:
        raise ValidationFailed(_("Choose an action."))
    folders = _selected_folders(action, selection, user)
    if not selection.file_ids and not selection.unusable and not action.takes_folders:
        raise ValidationFailed(_("This action is for files only. Select at least one file."))
    form_class = action.page_form_class or action.form_class
    has_form = bool(form_class.base_fields) or len(selection.file_ids) > CONFIRM_ABOVE
    is_sent = "go" in request.POST or not (has_form or action.needs_confirmation(folders, by=user))
    form = form_class(request.POST if is_sent else None, user=user)
    if form.is_valid():
        try:
            result = action.execute(selection.file_ids, form.cleaned_data, by=user, folders=selection.folders)
        except (Conflict, InvalidTransition, ValidationFailed) as problem:
            form.add_error(None, problem.message)
        else:
            message = action.message(result, form.cleaned_data)
            if not action.takes_folders and selection.folders and not request.POST.get("all"):
                messages.warning(request, _("Folders were skipped: this action is for files only."))
            url = action.target_url(form.cleaned_data)
            flash_result(request, message, result, unusable=selection.unusable, undo=action.can_undo, url=url)
            return redirect_next(request)
    return _form_page(request, user, action, form, selection, folders)


@require_POST
@html_errors
def selection_count(request: HttpRequest) -> HttpResponse:
    """Return the text that says how many files and folders are selected, for the bar below a list."""
    try:
        selection = Selection.read(request.POST, request_user(request))
    except ValidationFailed as problem:
        return HttpResponse(escape(problem.message))
    count = number_format(len(selection.file_ids) + len(selection.folders), force_grouping=True)
    text = _("All %(count)s selected") if request.POST.get("all") else _("%(count)s selected")
    return HttpResponse(escape(text % {"count": count}))


def _selected_folders(action: BulkAction, selection: Selection, user: User) -> list[Folder]:
    if not selection.folders or not action.takes_folders:
        return []
    return list(action.permitted_folders(user).filter(pk__in=selection.folders).order_by("natural_name", "pk"))


def _form_page(
    request: HttpRequest,
    user: User,
    action: BulkAction,
    form: forms.Form,
    selection: Selection,
    folders: list[Folder],
) -> HttpResponse:
    title, hidden = action.question(len(selection.file_ids), folders, by=user), hidden_fields(request)
    if isinstance(form, FolderPickerForm):
        here = find_folder(request.POST.get("folder"), user)
        return choose_folder(request, form, title=title, here=here, hidden=hidden, without=folders)
    context = {"action": action, "title": title, "form": form, "hidden": hidden, "back": next_url(request)}
    context |= action.form_context(selection.file_ids, by=user)
    return render_dialog(request, action.template, context, status=400 if form.is_bound else 200)


def hidden_fields(request: HttpRequest) -> Hidden:
    """Return the selection as hidden fields, so that the next page sends it again."""
    fields = [(name, request.POST[name]) for name in HIDDEN_FIELDS if request.POST.get(name)]
    if request.POST.get("all"):
        return fields
    return [*fields, *((name, value) for name in ("file", "folders") for value in request.POST.getlist(name))]
