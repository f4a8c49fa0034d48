"""The files before and after a file, in the list that it was opened from."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import Resolver404, resolve, reverse

from uploads import listing
from uploads.forms import read_list_query
from uploads.listing import ListQuery, Neighbors, SearchTooBroad
from uploads.models import File, Folder
from uploads.views.responses import MAX_URL_CHARACTERS, request_user


def neighbor_context(request: HttpRequest, file: File) -> dict[str, Any]:
    """Return the URLs of the list, and of the files before and after `file` in it, empty where there is none; and its
    `position` among the `total` of files, 0 where they are not counted.

    The list is named by the parameter `from`, else by the page before, else it is that of the file's folder.
    """
    user = request_user(request)
    url = request.GET.get("from") or request.META.get("HTTP_HX_CURRENT_URL") or request.META.get("HTTP_REFERER", "")
    folder, query = _read_list(url, user) or (file.folder, ListQuery())
    path = folder.get_absolute_url() if folder else reverse("library")
    list_url = path + query.to_querystring()
    files = listing.files_for(user, query, folder)
    try:
        neighbors = listing.neighbors(query, file, files=files, folder=folder, columns=listing.COLUMNS)
    except SearchTooBroad:
        neighbors = Neighbors()
    return {
        "list_url": list_url,
        "previous_url": _file_url(neighbors.before, list_url),
        "next_url": _file_url(neighbors.after, list_url),
        "position": neighbors.position,
        "total": neighbors.total,
    }


def _file_url(link: UUID | None, list_url: str) -> str:
    return reverse("file", args=[link], query={"from": list_url}) if link else ""


def _read_list(url: str, user: User) -> tuple[Folder | None, ListQuery] | None:
    """Return folder and query of a list's URL, or of the list that a file's URL names; None for anything else."""
    try:
        parts = urlsplit(url[:MAX_URL_CHARACTERS])
        match = resolve(parts.path)
    except (ValueError, Resolver404):
        return None
    params: dict[str, Any] = dict(parse_qsl(parts.query))
    if match.url_name == "file":
        source = params.get("from", "")
        return None if source.startswith("/files/") else _read_list(source, user)
    if match.url_name not in {"library", "folder"}:
        return None
    folder = None
    if match.url_name == "folder":
        folder = Folder.objects.visible_to(user).filter(pk=match.kwargs["pk"]).first()
        if folder is None:
            return None
    query, _notes = read_list_query(params, user)
    return folder, query
