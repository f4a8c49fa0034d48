"""The page to choose a folder, which works with and without JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from uploads import names
from uploads.errors import ValidationFailed
from uploads.forms import parse_id
from uploads.listing import breadcrumbs_for
from uploads.models import Folder
from uploads.views.presenters import folder_path

MAX_CHOICES = 50
TOP = "0"

Hidden = Sequence[tuple[str, str]]


def chosen_folder(request: HttpRequest) -> tuple[bool, Folder | None]:
    """Return whether a folder is chosen, and which (None: the top level). Raises ValidationFailed if it is missing."""
    text = request.POST.get("to", "")
    if "go" not in request.POST or not text:
        return False, None
    if text == TOP:
        return True, None
    folder = Folder.objects.visible_to(request.user).filter(pk=parse_id(text) or 0).first()
    if folder is None:
        raise ValidationFailed(_("The folder is not there any more. Choose another."))
    return True, folder


def choose_folder(
    request: HttpRequest, *, title: str, here: Folder | None, hidden: Hidden = (), without: Folder | None = None
) -> HttpResponse:
    """Show the folder picker: the folders near `here`, or those that match the search. `without` and its subfolders
    are not offered."""
    user = request.user
    if not isinstance(user, User):
        return render(request, "uploads/folder_picker.html")
    search = (request.POST.get("find") or request.GET.get("find") or "").replace("\x00", "").strip()[:200]
    choices, more = _choices(user, search, here, without)
    context: dict[str, Any] = {
        "title": title,
        "hidden": hidden,
        "find": search,
        "offered": choices,
        "more": more,
        "may_top": user.has_perm("uploads.add_file"),
        "missing": "go" in request.POST,
        "back": here.get_absolute_url() if here else "/",
    }
    return render(request, "uploads/folder_picker.html", context)


def _choices(
    user: User, search: str, here: Folder | None, without: Folder | None
) -> tuple[list[tuple[int, str]], bool]:
    rows = Folder.objects.writable_by(user)
    if without is not None:
        rows = rows.exclude(path__contains=[without.pk])
    for word in names.normalize_for_search(search).split()[:10]:
        rows = rows.filter(normalized_name__contains=word)
    if not search:
        nearby = Q(parent__isnull=True)
        if here is not None:
            nearby |= Q(parent=here.parent_id) | Q(parent=here)
        rows = rows.filter(nearby)
    ids = list(rows.order_by("normalized_name", "id").values_list("pk", flat=True)[: MAX_CHOICES + 1])
    breadcrumbs = breadcrumbs_for(user, ids[:MAX_CHOICES])
    paths = {pk: folder_path(path) for pk, path in breadcrumbs.items()}
    choices = sorted(paths.items(), key=lambda item: names.normalize_for_search(item[1]))
    return choices, len(ids) > MAX_CHOICES
