"""The pages on which people find their files again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from uploads import delivery, s3, services
from uploads.models import File
from uploads.models.queries import FileQuerySet
from uploads.views.answers import no_store, told_on_a_page
from uploads.views.people import signed_in

FILES_A_PAGE = 50


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its files, and where the next and the first page are."""

    files: list[File]
    next_url: str | None
    first_url: str | None


@require_safe
def library(request: HttpRequest) -> HttpResponse:
    """Everything the caller may see, newest first."""
    user = signed_in(request)
    after = _after(request)
    rows = File.objects.visible_to(user).listed().newest_first(after)
    context = {
        "page": _page(rows, "available_at", reverse("library"), after),
        "may_upload": user.has_perm("uploads.add_file"),
        "has_role": user.has_perm("uploads.view_file"),
    }
    return render(request, "uploads/library.html", context)


@require_safe
def file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What a file is, and the link to hand on."""
    found = get_object_or_404(File.objects.visible_to(request.user).listed().by_link(pk).select_related("owner"))
    inline_url = reverse("download", args=[pk]) + "?inline=1"
    context = {
        "file": found,
        "permanent_url": request.build_absolute_uri(found.get_absolute_url()),
        "inline_url": inline_url if delivery.may_be_inline(found) else None,
        "may_trash": File.objects.removable_by(request.user).filter(pk=pk).exists(),
    }
    return render(request, "uploads/file.html", context)


@require_safe
@told_on_a_page
def download(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask the permission anew each time, then send to a signed URL that lives for minutes."""
    found = get_object_or_404(File.objects.visible_to(request.user).listed().by_link(pk))
    content_type, disposition = delivery.headers(found, inline="inline" in request.GET)
    url = s3.download_url(found.key, disposition=disposition, content_type=content_type)
    return no_store(HttpResponseRedirect(url))


@require_POST
@told_on_a_page
def trash_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(File.objects.removable_by(request.user), pk=pk)
    services.trash(found, by=signed_in(request))
    messages.success(request, _("“%(name)s” is in the trash.") % {"name": found.name})
    return redirect("trash")


@require_POST
@told_on_a_page
def restore_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(File.objects.removable_by(request.user), pk=pk)
    services.restore(found, by=signed_in(request))
    messages.success(request, _("“%(name)s” is back in the library.") % {"name": found.name})
    return redirect("file", pk=pk)


@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    after = _after(request)
    rows = File.objects.removable_by(request.user).trashed().latest_trashed_first(after)
    context = {"page": _page(rows, "purge_after", reverse("trash"), after)}
    return render(request, "uploads/trash.html", context)


@require_safe
def unfinished(request: HttpRequest) -> HttpResponse:
    rows = File.objects.owned_by(request.user).unfinished().order_by("-created_at")
    return render(request, "uploads/unfinished.html", {"files": rows[: FILES_A_PAGE * 4]})


@require_POST
@told_on_a_page
def cancel_upload(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(File.objects.owned_by(request.user).unfinished(), pk=pk)
    services.cancel(found, by=signed_in(request))
    messages.success(request, _("The upload of “%(name)s” is cancelled.") % {"name": found.name})
    return redirect("unfinished")


def _page(rows: FileQuerySet, column: str, url: str, after: tuple[datetime, UUID] | None) -> Page:
    found = list(rows.select_related("owner")[: FILES_A_PAGE + 1])
    files, more = found[:FILES_A_PAGE], found[FILES_A_PAGE:]
    next_url = None
    if more:
        last = files[-1]
        cursor = f"{getattr(last, column).isoformat()}_{last.pk}"
        next_url = f"{url}?{urlencode({'after': cursor})}"
    return Page(files, next_url, url if after else None)


def _after(request: HttpRequest) -> tuple[datetime, UUID] | None:
    """The last row of the page before, as its link says. A link that was tampered with is a 404."""
    text = request.GET.get("after")
    if not text:
        return None
    moment, _underscore, pk = text.partition("_")
    try:
        found = datetime.fromisoformat(moment)
        if found.tzinfo is None:
            raise Http404
        # Postgres takes fewer offsets than Python does
        return found.astimezone(UTC), UUID(pk)
    except (ValueError, OverflowError) as error:
        raise Http404 from error
