"""Create, rename, move and remove folders, and change their access rules."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from uploads.accounts import roles
from uploads.actions.move import MoveAction
from uploads.actions.trash import TrashAction
from uploads.errors import Conflict, Forbidden, InvalidTransition, OverQuota, ValidationFailed
from uploads.forms import access_levels, find_folder, folder_name
from uploads.models import AccessLevel, Folder
from uploads.services import folders
from uploads.views.folder_picker import choose_folder, picker_form
from uploads.views.library import breadcrumbs, library_page
from uploads.views.responses import (
    FieldError,
    flash_result,
    html_errors,
    in_use_message,
    redirect_next,
    render_dialog,
    render_page,
    request_user,
)

MAX_GROUPS = 200


@require_POST
@html_errors
def create_folder(request: HttpRequest) -> HttpResponse:
    """Create a folder at the top level or in the folder `parent`, then redirect to its page."""
    user = request_user(request)
    missing = _("The parent folder no longer exists.")
    parent = find_folder(request.POST.get("parent"), user, missing=missing)
    name = request.POST.get("name", "")
    try:
        return redirect(folders.create(folder_name(name), parent=parent, by=user))
    except (ValidationFailed, Conflict, OverQuota) as problem:
        return library_page(request, parent, FieldError("new-folder", name, problem))


@require_POST
@html_errors
def rename_folder(request: HttpRequest, pk: int) -> HttpResponse:
    folder = _get_folder(request, pk)
    name = request.POST.get("name", "")
    try:
        event = folders.rename(folder, folder_name(name), by=request_user(request))
    except (ValidationFailed, Conflict) as problem:
        return library_page(request, folder, FieldError("rename-folder", name, problem))
    text = _("Renamed the folder to “%(name)s”.") % {"name": folder.name}
    messages.success(request, text, extra_tags=str(event or ""))
    return redirect_next(request, folder.get_absolute_url())


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def move_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the folder picker, then move the folder with its contents."""
    folder, user = _get_folder(request, pk), request_user(request)
    if not folders.can_edit(folder, user):
        raise Forbidden(_("You don't have permission to change this folder."))
    form = picker_form(request)
    if not form.is_valid():
        title = _("Move folder “%(name)s” to …") % {"name": folder.name}
        return choose_folder(request, form, title=title, here=folder.parent, without=[folder])
    target = form.cleaned_data["to"]
    action = MoveAction()
    result = action.execute([], {"to": target}, by=user, folders=[pk])
    flash_result(request, action.message(result, {"to": target}), result, undo=True)
    return redirect(folder)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def access_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Show and change the access rules: everyone by role, or selected groups."""
    folder, user = _get_folder(request, pk), request_user(request)
    if not Folder.objects.managed_by(user).filter(pk=pk).exists():
        raise Forbidden(_("You don't have permission to change access to this folder."))
    groups = [*roles.role_groups(), *roles.teams()][:MAX_GROUPS]
    if request.method == "POST":
        levels = access_levels(request.POST, groups)
        if levels is not None:  # groups that the page does not show keep their level
            hidden = folder.grants.exclude(group__in=groups).select_related("group")
            levels |= {grant.group: AccessLevel(grant.level) for grant in hidden}
        try:
            folders.set_access(folder, levels, by=user)
        except ValidationFailed as problem:
            return _access_page(request, folder, groups, levels or {}, FieldError("access", "", problem))
        messages.success(request, _("Changed access to “%(name)s”.") % {"name": folder.name})
        still_visible = Folder.objects.visible_to(user).filter(pk=pk).exists()
        return redirect(folder) if still_visible else redirect("library")
    grants = folder.grants.select_related("group")
    return _access_page(request, folder, groups, {grant.group: AccessLevel(grant.level) for grant in grants})


def _access_page(
    request: HttpRequest,
    folder: Folder,
    groups: list[Group],
    levels: Mapping[Group, AccessLevel],
    field_error: FieldError | None = None,
) -> HttpResponse:
    context = {
        "folder": folder,
        "crumbs": breadcrumbs(request_user(request), folder),
        "restricted": folder.restricted or field_error is not None,
        "groups": [(group, roles.group_label(group), levels.get(group)) for group in groups],
        "levels": AccessLevel.choices,
    }
    return render_page(request, "uploads/folder_access.html", context, field_error)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def remove_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for confirmation, then move the folder to the trash with everything in it."""
    folder, user = _get_folder(request, pk), request_user(request)
    if not folders.can_edit(folder, user):
        raise Forbidden(_("You don't have permission to change this folder."))
    action = TrashAction()
    if request.method != "POST":
        context = {
            "folder": folder,
            "title": action.question(0, [folder], by=user),
            "days": settings.TRASH_RETENTION_DAYS,
        }
        return render_dialog(request, "uploads/delete_folder.html", context)
    result = action.execute([], {}, by=user, folders=[pk])
    if not result.has_changes and result.in_use:
        raise InvalidTransition(in_use_message(result.in_use))
    flash_result(request, action.message(result, {}), result, undo=True)
    if result.in_use:
        return redirect(folder)
    return redirect(folder.parent) if folder.parent else redirect("library")


def _get_folder(request: HttpRequest, pk: int) -> Folder:
    return get_object_or_404(Folder.objects.visible_to(request.user), pk=pk)
