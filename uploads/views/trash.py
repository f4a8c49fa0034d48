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
from uploads.errors import WrongState
from uploads.forms import whole_number
from uploads.models import Action, Event, File
from uploads.services import Outcome
from uploads.views.answers import told_on_a_page
from uploads.views.browse import Place, browse
from uploads.views.going_back import back, tell
from uploads.views.people import signed_in


@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    context = browse(request, Place(reverse("trash"), trash=True)) | {"days": settings.TRASH_DAYS}
    return render(request, "uploads/trash.html", context)


@require_POST
@told_on_a_page
def trash_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Hide one file; the message offers to take it back."""
    user = signed_in(request)
    found = get_object_or_404(File.objects.removable_by(user).by_link(pk))
    services.trash(found, by=user)
    tell(request, _("“%(name)s” is in the trash.") % {"name": found.name}, Outcome([found]), undo=True)
    return back(request, found.folder.get_absolute_url() if found.folder else None)


@require_POST
@told_on_a_page
def restore_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = get_object_or_404(File.objects.removable_by(request.user).by_link(pk))
    services.restore(found, by=signed_in(request))
    messages.success(request, _("“%(name)s” is back in the library.") % {"name": found.name})
    return redirect("file", pk=pk)


@require_POST
@told_on_a_page
def undo(request: HttpRequest) -> HttpResponse:
    """Bring back what one act of this person put into the trash. Raises WrongState for an act that was none."""
    user = signed_in(request)
    mine = Event.objects.filter(actor_id=user.pk, action=Action.TRASH)
    event = mine.filter(pk=whole_number(request.POST.get("event")) or 0).first()
    if event is None:
        raise WrongState(_("There is nothing to take back. What was removed is in the trash."))
    links = [link for link in mine.filter(at=event.at).values_list("file_id", flat=True) if link]
    outcome = services.restore_many(links, by=user)
    count = len(outcome.files)
    done = ngettext("%(count)s file is back.", "%(count)s files are back.", count) % {"count": count}
    tell(request, done, outcome)
    return back(request)
