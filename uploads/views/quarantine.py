"""The quarantine: files that wait for the malware check, could not be checked, or are infected."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from uploads.errors import Forbidden, ValidationFailed
from uploads.listing import breadcrumbs_for
from uploads.models import File
from uploads.services import malware
from uploads.views.presenters import folder_path
from uploads.views.responses import html_errors, request_user

MAX_LISTED = 200


@require_safe
@html_errors
def quarantine(request: HttpRequest) -> HttpResponse:
    """List the files in quarantine that this person may review, newest first. There is no way to download them."""
    return _page(request)


@require_POST
@html_errors
def release_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    file = _get_file(request, pk)
    try:
        malware.release(file, request.POST.get("reason", ""), by=request_user(request))
    except ValidationFailed as problem:
        return _page(request, error=problem.message, about=pk)
    messages.success(request, _("Released “%(name)s” from quarantine.") % {"name": file.name})
    return redirect("quarantine")


@require_POST
@html_errors
def delete_quarantined(request: HttpRequest, pk: UUID) -> HttpResponse:
    file = _get_file(request, pk)
    malware.delete(file, by=request_user(request))
    messages.success(request, _("Deleted “%(name)s” permanently.") % {"name": file.name})
    return redirect("quarantine")


def _page(request: HttpRequest, *, error: str = "", about: UUID | None = None) -> HttpResponse:
    user = request_user(request)
    if not user.has_perm("uploads.review_quarantine"):
        raise Forbidden(_("You don't have permission to review the quarantine."))
    rows = File.objects.in_quarantine_for(user).select_related("owner", "guest_session")
    files = list(rows.newest_first()[:MAX_LISTED])
    paths = breadcrumbs_for(user, {file.folder_id for file in files if file.folder_id})
    context: dict[str, Any] = {
        "files": [(file, folder_path(paths.get(file.folder_id or 0, []))) for file in files],
        "error": error,
        "about": about,
        "is_scanning": settings.MALWARE_SCAN != "off",
        "holds": settings.MALWARE_SCANNER_UNAVAILABLE == "hold",
    }
    return render(request, "uploads/quarantine.html", context, status=400 if error else 200)


def _get_file(request: HttpRequest, pk: UUID) -> File:
    return get_object_or_404(File.objects.in_quarantine_for(request.user), pk=pk)
