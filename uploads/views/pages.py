"""The way to a file's bytes, and the uploads that nobody finished."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from uploads import services
from uploads.listing import names_for
from uploads.models import File
from uploads.views.answers import told_on_a_page
from uploads.views.delivery import deliver
from uploads.views.people import signed_in
from uploads.views.rows import way_in_words

MOST_UNFINISHED = 200


@require_safe
@told_on_a_page
def download(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Check the permission at each request, then redirect to a presigned URL that expires within minutes."""
    found = File.objects.listed_one(request.user, pk)
    if found is None:
        raise Http404
    return deliver(request, found, inline="inline" in request.GET)


@require_safe
def unfinished(request: HttpRequest) -> HttpResponse:
    """What the caller began and did not finish, newest first."""
    user = signed_in(request)
    files = list(File.objects.owned_by(user).unfinished().order_by("-created_at")[:MOST_UNFINISHED])
    ways = names_for(user, (file.folder_id for file in files if file.folder_id))
    told = [(file, way_in_words(ways.get(file.folder_id or 0, []))) for file in files]
    return render(request, "uploads/unfinished.html", {"files": told})


@require_POST
@told_on_a_page
def cancel_upload(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(File.objects.owned_by(request.user).unfinished(), pk=pk)
    services.cancel(found, by=signed_in(request))
    messages.success(request, _("The upload of “%(name)s” is cancelled.") % {"name": found.name})
    return redirect("unfinished")
