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
    result = actions.trash_file(file, by=user)
    flash_result(request, _("Moved “%(name)s” to trash.") % {"name": file.name}, result, undo=True)
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
    """Restore what one action of this user moved to the trash. Raises InvalidTransition if there is none."""
    user = request_user(request)
    own = Event.objects.filter(actor_id=user.pk)
    event = own.filter(pk=parse_id(request.POST.get("event")) or 0).first()
    events = list(own.together_with(event)) if event else []
    links = [row.file_id for row in events if row.file_id and row.action == Action.TRASH]
    folders = [row.folder_id for row in events if row.folder_id and row.detail.get("removed")]
    if not links and not folders:
        raise InvalidTransition(_("Nothing to undo. Deleted files are in the trash."))
    action = RestoreAction()
    result = action.execute(links, {}, by=user, folders=folders)
    flash_result(request, action.message(result, {}), result)
    return redirect_next(request)
