"""Create, rename, move and remove folders, change their access rules, and choose a folder in a dialog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from uploads.accounts import roles
from uploads.actions.move import MoveAction
from uploads.actions.trash import TrashAction
from uploads.errors import Conflict, Forbidden, InvalidTransition, OverQuota, ValidationFailed
from uploads.forms import FolderPickerForm, access_levels, find_folder, folder_name, parse_id
from uploads.listing import breadcrumbs_for
from uploads.models import AccessLevel, Folder
from uploads.models.folder import FolderQuerySet
from uploads.services import folders
from uploads.views.library import breadcrumbs, library_page
from uploads.views.presenters import folder_path
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
MAX_CHOICES = 50
MAX_WORDS = 10  # of a search
MAX_TREE_ROWS = 300

Hidden = Sequence[tuple[str, str]]


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
def folder_access(request: HttpRequest, pk: int) -> HttpResponse:
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


class FolderChoice(NamedTuple):
    """A row of the tree: its level as something to iterate over, and whether it can be chosen, opened, or is open."""

    pk: int
    name: str
    indent: range
    may_choose: bool
    has_subfolders: bool
    is_open: bool


def picker_form(request: HttpRequest) -> FolderPickerForm:
    """Return the form of the folder picker, which is valid once a folder is chosen."""
    return FolderPickerForm(request.POST if "go" in request.POST else None, user=request_user(request))


def choose_folder(
    request: HttpRequest,
    form: forms.Form,
    *,
    title: str,
    here: Folder | None,
    hidden: Hidden = (),
    without: Sequence[Folder] = (),
) -> HttpResponse:
    """Show the folder picker: the tree, opened at `here` or where the person has opened it, or the folders that match
    the search. The folders in `without` and their subfolders are not offered. Create a folder if that was requested."""
    user = request_user(request)
    search = (request.POST.get("find") or request.GET.get("find") or "").replace("\x00", "").strip()[:200]
    opened = find_folder(request.POST["open"], user) if request.POST.get("open") else here
    selected, field_error = parse_id(request.POST.get("to")), None
    if "create" in request.POST:
        parent = find_folder(request.POST.get("to"), user) if request.POST.get("to") else opened
        search, opened = "", parent
        try:
            opened = folders.create(folder_name(request.POST.get("name", "")), parent=parent, by=user)
            selected = opened.pk
        except (ValidationFailed, Conflict, Forbidden, OverQuota) as problem:
            field_error = FieldError("new-folder-here", request.POST.get("name", ""), problem)
    rows = Folder.objects.visible_to(user)
    if without:
        rows = rows.exclude(path__overlap=[folder.pk for folder in without])
    choices, more = _matches(user, rows, search) if search else _tree(user, rows, opened)
    context: dict[str, Any] = {
        "title": title,
        "hidden": hidden,
        "find": search,
        "choices": choices,
        "more": more,
        "opened": opened,
        "selected": selected,
        "may_top": user.has_perm("uploads.add_file"),
        "form": form,
        "field_error": field_error,
        "back": here.get_absolute_url() if here else "/",
    }
    status = 400 if form.is_bound else field_error.problem.status_code if field_error else 200
    return render_dialog(request, "uploads/folder_picker.html", context, status=status, part="folder-choices")


def _matches(user: User, rows: FolderQuerySet, search: str) -> tuple[list[FolderChoice], bool]:
    """Return the folders to choose from that match the search, with their paths."""
    rows = rows.filter(pk__in=Folder.objects.writable_by(user).order_by().values("pk"))
    rows = rows.matching(" ".join(search.split()[:MAX_WORDS]))
    ids = list(rows.order_by("natural_name", "id").values_list("pk", flat=True)[: MAX_CHOICES + 1])
    paths = {pk: folder_path(path) for pk, path in breadcrumbs_for(user, ids[:MAX_CHOICES]).items()}
    choices = [FolderChoice(pk, paths[pk], range(0), True, False, False) for pk in ids if pk in paths]
    return choices, len(ids) > MAX_CHOICES


def _tree(user: User, rows: FolderQuerySet, opened: Folder | None) -> tuple[list[FolderChoice], bool]:
    """Return the top level, with the subfolders of the opened folder and of those above it in their places."""
    path = opened.path if opened else []
    shown = rows.filter(Q(parent__isnull=True) | Q(parent__in=path)).annotate(
        may_choose=Exists(Folder.objects.writable_by(user).filter(pk=OuterRef("pk"))),
        has_subfolders=Exists(rows.filter(parent=OuterRef("pk")).order_by()),
    )
    matches = list(shown.order_by("natural_name", "id")[: MAX_TREE_ROWS + 1])
    children: dict[int | None, list[Any]] = {}
    for folder in matches[:MAX_TREE_ROWS]:
        children.setdefault(folder.parent_id, []).append(folder)
    choices: list[FolderChoice] = []

    def add(parent: int | None, level: int) -> None:
        for folder in children.get(parent, []):
            is_open, has_subfolders = folder.pk in path, folder.has_subfolders
            choices.append(
                FolderChoice(folder.pk, folder.name, range(level), folder.may_choose, has_subfolders, is_open)
            )
            if is_open:
                add(folder.pk, level + 1)

    add(None, 1)
    return choices, len(matches) > MAX_TREE_ROWS
