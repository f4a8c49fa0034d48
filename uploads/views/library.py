"""The library: its top, and the page of each folder."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from uploads.models import Change, Figure, Folder, Kind, Tag
from uploads.services import folders
from uploads.views.browse import Place, browse, crumbs
from uploads.views.people import signed_in

MOST_TAGS = 2_000


@require_safe
def library(request: HttpRequest) -> HttpResponse:
    """The top: its folders, the files that are in none, and the whole library for who looks for something."""
    user = signed_in(request)
    if not user.has_perm("uploads.view_file"):
        return render(request, "uploads/no_role.html")
    may_add = user.has_perm("uploads.add_file")
    context = browse(request, Place(reverse("library"))) | {"may_add": may_add, "title": _("Library")}
    return render(request, "uploads/library.html", context)


@require_safe
def folder(request: HttpRequest, pk: int) -> HttpResponse:
    """What is in a folder."""
    user = signed_in(request)
    found = get_object_or_404(Folder.objects.visible_to(user), pk=pk)
    context = browse(request, Place(found.get_absolute_url(), found))
    context |= {"folder": found, "title": found.name, "crumbs": crumbs(user, found), **rights(user, found)}
    return render(request, "uploads/library.html", context)


@require_safe
def tags(request: HttpRequest) -> HttpResponse:
    """All tags with how many files have them, as of now: kept figures and what was noted since."""
    if not signed_in(request).has_perm("uploads.view_file"):
        return render(request, "uploads/no_role.html")
    counts: dict[str, int] = {}
    for model in (Figure, Change):
        for key, files in model.objects.filter(kind=Kind.TAG).values_list("key").annotate(Sum("files")):
            counts[key] = counts.get(key, 0) + files
    tags = list(Tag.objects.all()[: MOST_TAGS + 1])
    told = [(tag.name, max(0, counts.get(str(tag.pk), 0))) for tag in tags[:MOST_TAGS]]
    return render(request, "uploads/tags.html", {"tags": told, "more": len(tags) > MOST_TAGS})


def rights(user: User, found: Folder) -> dict[str, Any]:
    """What this person may do with a folder."""
    manages = Folder.objects.managed_by(user).filter(pk=found.pk).exists()
    return {
        "may_add": Folder.objects.open_to(user).filter(pk=found.pk).exists(),
        "may_hold": manages or folders.may_hold(found, user),
        "may_manage": manages,
    }
