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
from uploads.errors import BadInput
from uploads.forms import whole_number
from uploads.listing import names_for
from uploads.models import Folder
from uploads.views.rows import way_in_words

MOST_OFFERED = 50
TOP = "0"

Hidden = Sequence[tuple[str, str]]


def chosen_folder(request: HttpRequest) -> tuple[bool, Folder | None]:
    """Whether a folder is chosen, and which (None: the top). Raises BadInput for one that is not there."""
    text = request.POST.get("to", "")
    if "go" not in request.POST or not text:
        return False, None
    if text == TOP:
        return True, None
    found = Folder.objects.visible_to(request.user).filter(pk=whole_number(text) or 0).first()
    if found is None:
        raise BadInput(_("The folder is not there any more. Choose another."))
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
    rows = Folder.objects.open_to(user)
    if without is not None:
        rows = rows.exclude(path__contains=[without.pk])
    for word in names.fold(find).split()[:10]:
        rows = rows.filter(folded__contains=word)
    if not find:
        near = Q(parent__isnull=True)
        if here is not None:
            near |= Q(parent=here.parent_id) | Q(parent=here)
        rows = rows.filter(near)
    ids = list(rows.order_by("folded", "id").values_list("pk", flat=True)[: MOST_OFFERED + 1])
    ways = names_for(user, ids[:MOST_OFFERED])
    offered = sorted(((pk, way_in_words(way)) for pk, way in ways.items()), key=lambda one: names.fold(one[1]))
    return offered, len(ids) > MOST_OFFERED
