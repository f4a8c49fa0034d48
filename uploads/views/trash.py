"""The trash: list, move to trash, restore, undo."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from uploads import actions
from uploads.actions import BulkResult
from uploads.actions.restore import RestoreAction
from uploads.errors import InvalidTransition
from uploads.forms import parse_id
from uploads.models import Action, Event, File
from uploads.views.library import ListScope, browse
from uploads.views.responses import flash_result, html_errors, redirect_next, request_user


@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    context = browse(request, ListScope(reverse("trash"), trash=True)) | {"days": settings.TRASH_RETENTION_DAYS}
    return render(request, "uploads/trash.html", context)


@require_POST
@html_errors
def trash_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Move one file to the trash; the message offers to undo it."""
    user = request_user(request)
    file = get_object_or_404(File.objects.removable_by(user).by_link(pk))
    actions.trash_file(file, by=user)
    flash_result(request, _("Moved “%(name)s” to trash.") % {"name": file.name}, BulkResult([file]), undo=True)
    return redirect_next(request, file.folder.get_absolute_url() if file.folder else None)


@require_POST
@html_errors
def restore_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    file = get_object_or_404(File.objects.removable_by(request.user).by_link(pk))
    actions.restore_file(file, by=request_user(request))
    messages.success(request, _("Restored “%(name)s”.") % {"name": file.name})
    return redirect("file", pk=pk)


@require_POST
@html_errors
def undo(request: HttpRequest) -> HttpResponse:
    """Restore the files that one action of this user moved to the trash. Raises InvalidTransition if there is none."""
    user = request_user(request)
    events = Event.objects.filter(actor_id=user.pk, action=Action.TRASH)
    event = events.filter(pk=parse_id(request.POST.get("event")) or 0).first()
    if event is None:
        raise InvalidTransition(_("Nothing to undo. Deleted files are in the trash."))
    links = [link for link in events.filter(at=event.at).values_list("file_id", flat=True) if link]
    result = actions.restore_files(links, by=user)
    flash_result(request, RestoreAction().success_message(len(result.files), {}), result)
    return redirect_next(request)
