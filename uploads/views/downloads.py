"""Downloads, previews and zips, by redirect to storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from uploads import content_headers, services
from uploads.errors import ObjectRefused, StorageUnavailable, ValidationFailed
from uploads.forms import Selection
from uploads.models import File, Preview, PreviewKind, PreviewState
from uploads.models.querysets import FileQuerySet
from uploads.previews import EXCERPT_BYTES
from uploads.previews.text_excerpt import MAX_MARKDOWN_CHARACTERS, TABLE, parse_markdown, read_table, rich_format_of
from uploads.services import downloads
from uploads.services.zips import NoFiles
from uploads.views.responses import (
    head_response,
    html_errors,
    in_own_frame,
    redirect_next,
    redirect_to_storage,
    request_user,
)

WEBP = "image/webp"
PAGE_NUMBER = re.compile("[1-9][0-9]{0,2}")


@require_safe
@html_errors
def download(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Check the permission at each request, then redirect to a presigned URL that expires within minutes."""
    file = File.objects.visible_by_permanent_id(request.user, pk)
    if file is None:
        raise Http404
    return deliver(request, file, inline="inline" in request.GET)


@require_safe
@html_errors
def thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Redirect to the thumbnail that lists show. A file without one is a 404."""
    return redirect_to_preview(request, _visible_files(request.user, pk), PreviewKind.THUMBNAIL)


@require_safe
@html_errors
def preview(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Redirect to the picture or text excerpt that the file's page shows. A file without one is a 404.

    `?page=3` is that page of a document.
    """
    return redirect_to_page(request, _visible_files(request.user, pk))


@require_safe
@in_own_frame
@html_errors
def preview_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the excerpt of a CSV file as a table, or of a Markdown file as a page, in a frame of the file's page."""
    return render_excerpt(request, _visible_files(request.user, pk))


@require_safe
@html_errors
def download_version(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """Download one of the versions of a file, with the same permission check as the file."""
    current = get_object_or_404(_visible_files(request.user, pk))
    file = get_object_or_404(File.objects.versions_of(current).available(), pk=version)
    return deliver(request, file)


def _visible_files(user: User | AnonymousUser, pk: UUID) -> FileQuerySet:
    return File.objects.listed_for(user).by_permanent_id(pk)


def redirect_to_page(request: HttpRequest, files: FileQuerySet) -> HttpResponse:
    """Redirect to the page of a document that the query string names, or else to the picture or excerpt."""
    number = request.GET.get("page", "1")
    if not PAGE_NUMBER.fullmatch(number):
        raise Http404
    if (page := int(number)) > 1:
        return redirect_to_preview(request, files, PreviewKind.PAGE, page=page)
    return redirect_to_preview(request, files, PreviewKind.PICTURE, PreviewKind.EXCERPT)


def redirect_to_preview(request: HttpRequest, files: FileQuerySet, *kinds: PreviewKind, page: int = 1) -> HttpResponse:
    """Redirect to a preview. The redirect is not cached, so that each request checks the permission; the preview is."""
    ready = Preview.objects.select_related("file").filter(state=PreviewState.READY)
    preview = get_object_or_404(ready, file__in=files, kind__in=kinds, page=page)
    content_type = content_headers.TEXT if preview.kind == PreviewKind.EXCERPT else WEBP
    url = downloads.preview_url(preview, content_type=content_type)
    if request.method == "HEAD":
        return head_response(size=preview.size, content_type=content_type, disposition="inline")
    return redirect_to_storage(url)


def render_excerpt(request: HttpRequest, files: FileQuerySet) -> HttpResponse:
    """Return a page with the rendered excerpt of a file, for a frame. 404 for a file that is shown as it is."""
    ready = Preview.objects.select_related("file").filter(kind=PreviewKind.EXCERPT, state=PreviewState.READY)
    preview = get_object_or_404(ready, file__in=files)
    rich_format, is_complete = rich_format_of(preview.file.name), preview.file.size <= EXCERPT_BYTES
    if not rich_format:
        raise Http404
    context: dict[str, Any] = {"name": preview.file.name}
    text = downloads.excerpt_text(preview)
    if rich_format == TABLE:
        table = read_table(text, is_complete=is_complete)
        context |= {"table": table, "is_complete": table.is_complete if table else is_complete}
    else:
        context["nodes"] = parse_markdown(text)
        context["is_complete"] = is_complete and len(text) <= MAX_MARKDOWN_CHARACTERS
    return render(request, "uploads/preview_page.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def download_zip(request: HttpRequest) -> HttpResponseBase:
    """Download the selected files as a zip. Any missing file is an error before the download starts."""
    user = request_user(request)
    data = request.POST if request.method == "POST" else request.GET
    selection = Selection.read(data, user)
    if selection.unusable:
        raise ValidationFailed(_("The list of files couldn't be read. Go back and select the files again."))
    try:
        bundle = services.bundle(user, selection.file_ids, folders=selection.folders)
    except NoFiles as problem:
        messages.error(request, problem.message)
        return redirect_next(request)
    return zip_response(request, bundle, partial(services.open_zip, bundle, by=user))


def zip_response(
    request: HttpRequest, bundle: services.Bundle, open_zip: Callable[[], Iterator[bytes]]
) -> HttpResponseBase:
    """Return the response to GET or HEAD of a zip, which is opened for GET only."""
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Type": "application/zip",
        "Content-Length": str(bundle.length),
        "Content-Disposition": content_headers.content_disposition(bundle.name, inline=False),
    }
    if request.method == "HEAD":
        return HttpResponse(headers=headers)
    return StreamingHttpResponse(open_zip(), headers=headers)


def deliver(
    request: HttpRequest, file: File, *, inline: bool = False, record: Callable[[], None] | None = None
) -> HttpResponse:
    """Return the response to GET or HEAD of `file`, which the user may see; a GET is recorded in the activity.

    `record` is given for guests: it records the download in the name of their link, or raises.
    Raises Quarantined, ObjectMissing where the storage has lost the bytes, and FilesRefused where it refuses to return
    them.
    """
    downloads.require_deliverable([file])
    refused = False
    try:
        services.fetch_encoding(file)
    except ObjectRefused:
        refused = True
    except StorageUnavailable:  # the storage itself answers after the redirect
        pass
    content_type, disposition = content_headers.download_headers(file, inline=inline)
    if refused or file.refusal:
        services.require_readable([file])
    if request.method == "HEAD":
        return head_response(size=file.size, content_type=content_type, disposition=disposition)
    url = downloads.download_url(file, disposition=disposition, content_type=content_type)
    if record:
        record()
    else:
        services.record_download(file, by=request_user(request), inline=inline)
    return redirect_to_storage(url)
