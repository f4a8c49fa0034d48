"""The page to choose a folder, which works with and without JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from uploads import names
from uploads.forms import FolderPickerForm
from uploads.listing import breadcrumbs_for
from uploads.models import Folder
from uploads.views.presenters import folder_path
from uploads.views.responses import request_user

MAX_CHOICES = 50

Hidden = Sequence[tuple[str, str]]


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
    """Show the folder picker: the folders near `here`, or those that match the search. The folders in `without` and
    their subfolders are not offered."""
    user = request_user(request)
    search = (request.POST.get("find") or request.GET.get("find") or "").replace("\x00", "").strip()[:200]
    choices, more = _choices(user, search, here, without)
    context: dict[str, Any] = {
        "title": title,
        "hidden": hidden,
        "find": search,
        "offered": choices,
        "more": more,
        "may_top": user.has_perm("uploads.add_file"),
        "form": form,
        "back": here.get_absolute_url() if here else "/",
    }
    return render(request, "uploads/folder_picker.html", context, status=400 if form.is_bound else 200)


def _choices(
    user: User, search: str, here: Folder | None, without: Sequence[Folder]
) -> tuple[list[tuple[int, str]], bool]:
    rows = Folder.objects.writable_by(user)
    if without:
        rows = rows.exclude(path__overlap=[folder.pk for folder in without])
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
