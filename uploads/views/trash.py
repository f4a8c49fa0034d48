"""The trash: list, move to trash, restore, undo."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from uploads import actions
from uploads.errors import Conflict, Forbidden, OverQuota, RefusedType, ValidationFailed
from uploads.forms import parse_id
from uploads.models import File, Folder
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
    file = get_object_or_404(File.objects.removable_by(user).by_permanent_id(pk))
    result = actions.trash_file(file, by=user)
    flash_result(request, _("Moved “%(name)s” to trash.") % {"name": file.name}, result, undo=True)
    return redirect_next(request, file.folder.get_absolute_url() if file.folder else None)


@require_POST
@html_errors
def restore_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    file = get_object_or_404(File.objects.removable_by(request.user).by_permanent_id(pk))
    actions.restore_file(file, by=request_user(request))
    messages.success(request, _("Restored “%(name)s”.") % {"name": file.name})
    return redirect_next(request, file.get_absolute_url())


@require_POST
@html_errors
def restore_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Restore a folder with the files and subfolders that went to the trash with it. Safe to repeat."""
    user = request_user(request)
    folder = get_object_or_404(Folder.objects.editable_by(user), pk=pk)
    if folder.removed_at is None:
        messages.info(request, _("“%(name)s” is no longer in the trash.") % {"name": folder.name})
        return redirect_next(request, folder.get_absolute_url())
    result = actions.restore_folder(folder, by=user)
    flash_result(request, _("Restored “%(name)s”.") % {"name": folder.name}, result)
    return redirect_next(request, reverse("trash"))


@require_POST
@html_errors
def undo(request: HttpRequest) -> HttpResponse:
    """Undo what one action of this user changed, where it is still as the action left it."""
    try:
        event_id = parse_id(request.POST.get("event")) or 0
        message, result, skipped = actions.undo_action(event_id, by=request_user(request))
    except (Conflict, Forbidden, OverQuota, RefusedType, ValidationFailed) as problem:
        messages.error(request, problem.message)
        return redirect_next(request)
    flash_result(request, message, result)
    if skipped:
        text = ngettext(
            "%(count)s item stays: it has changed since, or you don't have permission.",
            "%(count)s items stay: they have changed since, or you don't have permission.",
            skipped,
        )
        messages.warning(request, text % {"count": skipped})
    return redirect_next(request)
