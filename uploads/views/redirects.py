"""Redirects back to a page, and the messages shown there."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from uploads.actions import BulkResult
from uploads.models import Action, Event
from uploads.views.responses import request_user

MAX_NAMES = 10
MAX_URL_CHARACTERS = 2_000


def redirect_next(request: HttpRequest, default: str | None = None) -> HttpResponseRedirect:
    """Redirect to the form's `next` if it is a path of this site, otherwise to `default` or the library."""
    url = request.POST.get("next", "")
    hosts = {request.get_host()}
    is_safe = url_has_allowed_host_and_scheme(url, allowed_hosts=hosts, require_https=request.is_secure())
    if not is_safe or not url.startswith("/") or len(url) > MAX_URL_CHARACTERS:
        url = default or reverse("library")
    return HttpResponseRedirect(url)


def flash_result(
    request: HttpRequest, message: str, result: BulkResult, *, unusable: int = 0, undo: bool = False
) -> None:
    """Show `message` if files changed, then which did not and why. With `undo`, add a button to undo the change."""
    if result.files:
        messages.success(request, message, extra_tags=_undo(request, result) if undo else "")
    if result.refused:
        names = ", ".join(f"“{name}”" for name in result.refused[:MAX_NAMES])
        more = len(result.refused) - MAX_NAMES
        text = _("Not changed, because they are not yours to change: %(names)s") % {"names": names}
        if more > 0:
            text += " " + ngettext("and %(count)s more", "and %(count)s more", more) % {"count": more}
        messages.warning(request, text)
    if unknown := result.unknown + unusable:
        messages.warning(
            request,
            ngettext(
                "%(count)s file was not there any more, or is not yours to see.",
                "%(count)s files were not there any more, or are not yours to see.",
                unknown,
            )
            % {"count": unknown},
        )


def _undo(request: HttpRequest, result: BulkResult) -> str:
    """Return the id of the event of this change, with which `undo` restores all files that it moved to the trash."""
    rows = Event.objects.about(result.links[0]).filter(action=Action.TRASH, actor_id=request_user(request).pk)
    return str(rows.values_list("pk", flat=True).first() or "")
