"""The page on which a folder is chosen, with scripts and without."""

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
    """Whether a folder is chosen, and which (None: the top). Raises ValidationFailed for one that is not there."""
    text = request.POST.get("to", "")
    if "go" not in request.POST or not text:
        return False, None
    if text == TOP:
        return True, None
    found = Folder.objects.visible_to(request.user).filter(pk=parse_id(text) or 0).first()
    if found is None:
        raise ValidationFailed(_("The folder is not there any more. Choose another."))
    return True, found


def choose_folder(
    request: HttpRequest, *, title: str, here: Folder | None, hidden: Hidden = (), without: Folder | None = None
) -> HttpResponse:
    """Ask where to: the folders near `here`, or those that are looked for. `without` is not offered, nor what is
    below it."""
    user = request.user
    if not isinstance(user, User):
        return render(request, "uploads/choose_folder.html")
    find = (request.POST.get("find") or request.GET.get("find") or "").replace("\x00", "").strip()[:200]
    offered, more = _offered(user, find, here, without)
    context: dict[str, Any] = {
        "title": title,
        "hidden": hidden,
        "find": find,
        "offered": offered,
        "more": more,
        "may_top": user.has_perm("uploads.add_file"),
        "missing": "go" in request.POST,
        "back": here.get_absolute_url() if here else "/",
    }
    return render(request, "uploads/choose_folder.html", context)


def _offered(user: User, find: str, here: Folder | None, without: Folder | None) -> tuple[list[tuple[int, str]], bool]:
    rows = Folder.objects.writable_by(user)
    if without is not None:
        rows = rows.exclude(path__contains=[without.pk])
    for word in names.normalize_for_search(find).split()[:10]:
        rows = rows.filter(folded__contains=word)
    if not find:
        near = Q(parent__isnull=True)
        if here is not None:
            near |= Q(parent=here.parent_id) | Q(parent=here)
        rows = rows.filter(near)
    ids = list(rows.order_by("folded", "id").values_list("pk", flat=True)[: MAX_CHOICES + 1])
    ways = breadcrumbs_for(user, ids[:MAX_CHOICES])
    paths = {pk: folder_path(way) for pk, way in ways.items()}
    offered = sorted(paths.items(), key=lambda item: names.normalize_for_search(item[1]))
    return offered, len(ids) > MAX_CHOICES
