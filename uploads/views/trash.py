"""The trash, and the way back out of it."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from uploads import services
from uploads.errors import InvalidTransition
from uploads.forms import parse_id
from uploads.models import Action, Event, File
from uploads.services import BulkResult
from uploads.views.library import ListScope, browse
from uploads.views.redirects import flash_result, redirect_next
from uploads.views.responses import html_errors, request_user


@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    context = browse(request, ListScope(reverse("trash"), trash=True)) | {"days": settings.TRASH_DAYS}
    return render(request, "uploads/trash.html", context)


@require_POST
@html_errors
def trash_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Hide one file; the message offers to take it back."""
    user = request_user(request)
    found = get_object_or_404(File.objects.removable_by(user).by_link(pk))
    services.trash(found, by=user)
    flash_result(request, _("“%(name)s” is in the trash.") % {"name": found.name}, BulkResult([found]), undo=True)
    return redirect_next(request, found.folder.get_absolute_url() if found.folder else None)


@require_POST
@html_errors
def restore_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(File.objects.removable_by(request.user).by_link(pk))
    services.restore(found, by=request_user(request))
    messages.success(request, _("“%(name)s” is back in the library.") % {"name": found.name})
    return redirect("file", pk=pk)


@require_POST
@html_errors
def undo(request: HttpRequest) -> HttpResponse:
    """Bring back what one act of this person put into the trash. Raises InvalidTransition for an act that was none."""
    user = request_user(request)
    mine = Event.objects.filter(actor_id=user.pk, action=Action.TRASH)
    event = mine.filter(pk=parse_id(request.POST.get("event")) or 0).first()
    if event is None:
        raise InvalidTransition(_("There is nothing to take back. What was removed is in the trash."))
    links = [link for link in mine.filter(at=event.at).values_list("file_id", flat=True) if link]
    outcome = services.restore_many(links, by=user)
    count = len(outcome.files)
    done = ngettext("%(count)s file is back.", "%(count)s files are back.", count) % {"count": count}
    flash_result(request, done, outcome)
    return redirect_next(request)
