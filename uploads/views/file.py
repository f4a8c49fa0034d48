"""The page of one file, its actions, and the files before and after it in the list it was opened from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import Resolver404, resolve, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads import actions, content_headers, listing, services
from uploads.actions import BulkResult
from uploads.errors import Forbidden, StorageUnavailable, ValidationFailed
from uploads.forms import UploadForm, parse_file_name, parse_tags, read_list_query
from uploads.listing import (
    ListQuery,
    Neighbors,
    SearchTooBroad,
    breadcrumbs_for,
    redact_detail,
    referenced_folders,
    visible_folder_ids,
)
from uploads.models import (
    Action,
    Category,
    ChecksumStatus,
    Event,
    Favorite,
    File,
    Folder,
    GuestSession,
    Preview,
    PreviewKind,
    PreviewState,
    ShareLink,
    Tag,
    Visibility,
)
from uploads.models.states import FAILED_CHECKSUMS
from uploads.previews.text_excerpt import rich_format_of
from uploads.services.previews import REASONS
from uploads.views.folders import choose_folder, picker_form
from uploads.views.library import breadcrumbs, pinned_querystring, with_cookie_defaults
from uploads.views.presenters import folder_path
from uploads.views.responses import (
    MAX_URL_CHARACTERS,
    FieldError,
    flash_result,
    html_errors,
    redirect_next,
    render_page,
    request_user,
)

MAX_VERSIONS = 100
RECENT_EVENTS = 10
MAX_EVENTS = 50
MAX_ID_DIGITS = 18  # fewer than a bigint can have
MAX_DUPLICATES = 10
PLAYABLE = {Category.VIDEO.value, Category.AUDIO.value}


@require_safe
def file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a file: preview, permanent link, facts, versions and activity."""
    files = File.objects.listed_for(request.user).by_permanent_id(pk)
    row = get_object_or_404(files.select_related("owner", "folder"))
    if request.GET.get("pages") == "waiting" and _waiting_pages(row).exists():
        return HttpResponse(status=204)  # the page that polls stays as it is
    return _file_page(request, row)


def _waiting_pages(file: File) -> QuerySet[Preview]:
    return Preview.objects.filter(file=file, kind=PreviewKind.PAGE, state=PreviewState.PENDING)


def _file_page(request: HttpRequest, file: File, field_error: FieldError | None = None) -> HttpResponse:
    user, pk = request_user(request), file.permanent_id
    with suppress(StorageUnavailable):  # the page works without it
        services.fetch_encoding(file)
    context = {
        "file": file,
        "crumbs": breadcrumbs(user, file.folder),
        "permanent_url": request.build_absolute_uri(file.get_absolute_url()),
        "tags": list(Tag.objects.filter(taggings__file=file).values_list("name", flat=True)),
        "known_tags": actions.known_tags(user),
        "versions": _versions(file),
        "activity": _activity(pk, user, request.GET.get("activity", "")),
        "duplicates": _duplicates(user, file),
        "is_favorite": Favorite.objects.of(user).filter(file=pk).exists(),
        "is_owner": file.owner_id == user.pk,
        "is_shared": bool(ShareLink.objects.shared_files([pk])),
        **neighbor_context(request, file),
        **_rights(user, file),
        "preview_url": f"{file.get_absolute_url()}preview",
        "poll_url": file.get_absolute_url(),
        **preview_context(file, inline_url=reverse("download", args=[file.permanent_id]) + "?inline=1"),
    }
    return render_page(request, "uploads/file.html", context, field_error)


def _versions(file: File) -> list[File]:
    """Return the versions of a file, newest first; none for a file that never had a second one, without a query."""
    if not file.series:
        return []
    versions = File.objects.versions_of(file).available().select_related("owner", "uploaded_by", "guest_session")
    return list(versions.order_by("-available_at", "-id")[:MAX_VERSIONS])


def _duplicates(user: User, file: File) -> dict[str, Any]:
    """Return name, URL and folder of other files with the same content that the user may see."""
    files = File.objects.listed_for(user).same_content_as(file).order_by("natural_name", "id")
    rows = list(files.values_list("series", "pk", "name", "folder_id")[: MAX_DUPLICATES + 1])
    paths = breadcrumbs_for(user, {folder_id for *_ids, folder_id in rows if folder_id}) if rows else {}
    files_shown = [
        {
            "name": name,
            "url": reverse("file", args=[series or pk]),
            "folder": folder_path(paths.get(folder_id or 0, [])) or _("Library"),
        }
        for series, pk, name, folder_id in rows[:MAX_DUPLICATES]
    ]
    return {"files": files_shown, "more": len(rows) > MAX_DUPLICATES}


@require_POST
@html_errors
def rename_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    file = _get_file(request, pk)
    old_name, name = file.name, request.POST.get("name", "")
    try:
        event = services.rename(file, parse_file_name(name), by=request_user(request))
    except ValidationFailed as problem:
        file.refresh_from_db()
        return _file_page(request, file, FieldError("name", name, problem))
    text = _("Renamed the file to “%(name)s”.") % {"name": file.name}
    messages.success(request, text, extra_tags=str(event or ""))
    old, new = (PurePosixPath(text).suffix.lower() for text in (old_name, file.name))
    if old != new:
        text = _("The extension changed from “%(old)s” to “%(new)s”. Some programs may not open the file.")
        messages.warning(request, text % {"old": old, "new": new})
    return redirect_next(request, file.get_absolute_url())


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def move_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the folder picker, then move the file."""
    file, user = _get_file(request, pk), request_user(request)
    if not _rights(user, file)["may_change"]:
        raise Forbidden(_("You don't have permission to change this file."))
    form = picker_form(request)
    if not form.is_valid():
        return choose_folder(request, form, title=_("Move “%(name)s” to …") % {"name": file.name}, here=file.folder)
    target = form.cleaned_data["to"]
    result = actions.move_files([pk], target, by=user)
    into = target.name if target else _("Library")
    url = target.get_absolute_url() if target else reverse("library")
    flash_result(
        request, _("Moved “%(name)s” to “%(into)s”.") % {"name": file.name, "into": into}, result, undo=True, url=url
    )
    return redirect("file", pk=pk)


@require_POST
@html_errors
def tag_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Add the tags of `add`, and remove those of `remove`."""
    file = _get_file(request, pk)
    try:
        add, remove = (parse_tags(request.POST.get(name, "")) for name in ("add", "remove"))
        if not add and not remove:
            raise ValidationFailed(_("Enter a tag."))
        result = _require(actions.tag_files([pk], add=add, remove=remove, by=request_user(request)))
    except ValidationFailed as problem:
        return _file_page(request, file, FieldError("add-tag", request.POST.get("add", ""), problem))
    flash_result(request, _("Changed tags of “%(name)s”.") % {"name": file.name}, result, undo=True)
    return redirect("file", pk=pk)


@require_POST
@html_errors
def change_visibility(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Make the file visible to the team or private. Only its owner can."""
    file = _get_file(request, pk)
    visibility = request.POST.get("visibility", "")
    if visibility not in Visibility.values:
        raise ValidationFailed(_("Choose who can see the file: the team, or only you."))
    result = _require(actions.set_visibility([pk], Visibility(visibility), by=request_user(request)))
    private = visibility == Visibility.PRIVATE
    text = _("Made “%(name)s” private.") if private else _("Shared “%(name)s” with the team.")
    flash_result(request, text % {"name": file.name}, result, undo=True)
    return redirect("file", pk=pk)


@require_safe
@html_errors
def replace_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the form for a new version, which posts to the upload form's URL."""
    file = _get_file(request, pk)
    if not _rights(request_user(request), file)["may_replace"]:
        raise Forbidden(_("You don't have permission to change this file."))
    form = UploadForm(initial={"replaces": pk})
    return render(request, "uploads/replace_file.html", {"file": file, "form": form})


@require_POST
@html_errors
def restore_version(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """Make a previous version the current one."""
    file = _get_file(request, pk)
    previous = get_object_or_404(File.objects.versions_of(file).available(), pk=version)
    services.restore_version(file, previous, by=request_user(request))
    messages.success(request, _("Version restored. The previous version was kept."))
    return redirect("file", pk=pk)


def _get_file(request: HttpRequest, pk: UUID) -> File:
    return get_object_or_404(File.objects.listed_for(request.user).by_permanent_id(pk).select_related("folder"))


def _require(result: BulkResult) -> BulkResult:
    if not result.files:
        raise Forbidden(_("You don't have permission to change this file."))
    return result


def _rights(user: User, file: File) -> dict[str, bool]:
    """Return what a user who can see the file may do with it.

    The queries are slow, so they are skipped if the result is known: owners may change and remove their files, and
    one query is enough for a role that grants both permissions or neither.
    """
    is_owner = file.owner_id == user.pk
    may_change = is_owner or File.objects.changeable_by(user).filter(pk=file.pk).exists()
    same = is_owner or user.has_perm("uploads.change_file") == user.has_perm("uploads.delete_file")
    return {
        "may_change": may_change,
        "may_replace": may_change and user.has_perm("uploads.add_file"),
        "may_trash": may_change if same else File.objects.removable_by(user).filter(pk=file.pk).exists(),
    }


def preview_context(file: File, *, inline_url: str | None) -> dict[str, Any]:
    """Return the context of the preview: a player, a picture or excerpt, or the reason why there is none.

    `inline_url` shows the file itself in the browser, if its type allows that; None if it must not be shown.
    """
    if file.quarantined:
        return {
            "inline_url": None,
            "kind": "",
            "reason": _("It is in quarantine."),
            "untouched": False,
            "pending": False,
        }
    inline = content_headers.may_be_inline(file) and file.checksum_status != ChecksumStatus.MISSING and not file.refusal
    inline_url = inline_url if inline else None
    rows = list(Preview.objects.filter(file=file).order_by("page"))
    previews = {preview.kind: preview for preview in rows if preview.kind != PreviewKind.PAGE}
    if inline_url and file.category in PLAYABLE:
        picture = previews.get(PreviewKind.PICTURE)
        poster = picture if picture and picture.state == PreviewState.READY else None
        return {"inline_url": inline_url, "kind": file.category, "preview": poster}
    for kind in (PreviewKind.PICTURE, PreviewKind.EXCERPT):
        if (preview := previews.get(kind)) and preview.state == PreviewState.READY:
            is_rich = kind == PreviewKind.EXCERPT and rich_format_of(file.name)
            context = {"inline_url": inline_url, "kind": kind.value, "preview": preview, "is_rich": bool(is_rich)}
            return context | _pages_context(preview, [row for row in rows if row.kind == PreviewKind.PAGE])
    reason = next((preview.reason for preview in previews.values() if preview.state == PreviewState.FAILED), "")
    reason = reason or (services.REASONS[file.refusal] if file.refusal else "")
    expected = bool(services.kinds_for(file.category, file.type, size=file.size))
    return {
        "inline_url": inline_url,
        "kind": "",
        "reason": reason and _(reason),
        "untouched": reason != REASONS["missing"] and file.checksum_status not in FAILED_CHECKSUMS,
        "pending": expected and not reason,
    }


def _pages_context(picture: Preview, pages: list[Preview]) -> dict[str, Any]:
    """Return the pages of a document, up to the last that could be drawn; empty for other files.

    While some are being made, only the first is shown, so that the page does not change while someone reads.
    """
    if (picture.page_count or 1) == 1:
        return {}
    if any(page.state == PreviewState.PENDING for page in pages):
        return {"page_count": picture.page_count, "pages_pending": True}
    last = max((page.page for page in pages if page.state == PreviewState.READY), default=1)
    shown = [picture, *(page for page in pages if page.page <= last)]
    return {"page_count": picture.page_count, "last_page": last, "pages": shown}


def _activity(file_id: UUID, user: User, start: str) -> dict[str, Any]:
    """Return the events of a file with their descriptions, redacted for this user: the last few, or a page of all.

    `start` is empty for the last few, "all" for the first page, or the id of the event before the page. `older` is the
    `start` of the events that follow. Descriptions leave out the actor and the time.
    """
    rows, count = Event.objects.about(file_id), MAX_EVENTS if start else RECENT_EVENTS
    if start.isdecimal() and len(start) <= MAX_ID_DIGITS:
        rows = rows.filter(pk__lt=int(start))
    events = list(rows[: count + 1])
    more, events = len(events) > count, events[:count]
    older = (str(events[-1].pk) if start else "all") if more else ""
    visible = visible_folder_ids(referenced_folders(events), user)
    described = [(event, _describe_event(event, redact_detail(event, visible))) for event in events]
    return {"events": described, "is_open": bool(start), "older": older}


def _describe_event(event: Event, detail: dict[str, Any]) -> str:
    if event.action == Action.RENAME and detail.get("new_name"):
        return _("renamed it to “%(name)s”") % {"name": detail["new_name"]}
    if event.action == Action.GUEST_UPLOAD:
        guest = GuestSession(name=str(detail.get("guest") or ""), address=str(detail.get("guest_address") or ""))
        return _("received it from %(guest)s through a file request") % {"guest": guest.label}
    return actions.describe(event.action, detail)


def neighbor_context(request: HttpRequest, file: File) -> dict[str, Any]:
    """Return the URLs of the list, and of the files before and after `file` in it, empty where there is none; and its
    `position` among the `total` of files, 0 where they are not counted.

    The list is named by the parameter `from`, else by the page before, else it is that of the file's folder.
    """
    user = request_user(request)
    url = request.GET.get("from") or request.META.get("HTTP_HX_CURRENT_URL") or request.META.get("HTTP_REFERER", "")
    folder, query = _read_list(request, url) or (file.folder, with_cookie_defaults(request, ListQuery(), {}))
    path = folder.get_absolute_url() if folder else reverse("library")
    list_url = path + pinned_querystring(request, query)
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


def _file_url(pk: UUID | None, list_url: str) -> str:
    return reverse("file", args=[pk], query={"from": list_url}) if pk else ""


def _read_list(request: HttpRequest, url: str) -> tuple[Folder | None, ListQuery] | None:
    """Return folder and query of a list's URL, or of the list that a file's URL names; None for anything else."""
    try:
        parts = urlsplit(url[:MAX_URL_CHARACTERS])
        match = resolve(parts.path)
    except (ValueError, Resolver404):
        return None
    params: dict[str, Any] = dict(parse_qsl(parts.query))
    if match.url_name == "file":
        source = params.get("from", "")
        return None if source.startswith("/files/") else _read_list(request, source)
    if match.url_name not in {"library", "folder"}:
        return None
    user, folder = request_user(request), None
    if match.url_name == "folder":
        folder = Folder.objects.visible_to(user).filter(pk=match.kwargs["pk"]).first()
        if folder is None:
            return None
    query, _notes = read_list_query(params, user)
    return folder, with_cookie_defaults(request, query, params)
