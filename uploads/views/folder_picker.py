"""Choose a folder: in a dialog or, without JavaScript, on a page of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django import forms
from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse

from uploads.errors import Conflict, Forbidden, OverQuota, ValidationFailed
from uploads.forms import FolderPickerForm, find_folder, folder_name, parse_id
from uploads.listing import breadcrumbs_for
from uploads.models import Folder
from uploads.models.folder import FolderQuerySet
from uploads.services import folders
from uploads.views.presenters import folder_path
from uploads.views.responses import FieldError, render_dialog, request_user

MAX_CHOICES = 50
MAX_WORDS = 10  # of a search
MAX_TREE_ROWS = 300

Hidden = Sequence[tuple[str, str]]


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
