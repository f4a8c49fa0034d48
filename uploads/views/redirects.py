"""Where a person came from, and what is said there."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from uploads.models import Action, Event
from uploads.services import BulkResult
from uploads.views.responses import request_user

MAX_NAMES = 10
MAX_URL_CHARACTERS = 2_000


def redirect_next(request: HttpRequest, default: str | None = None) -> HttpResponseRedirect:
    """To the page that the form names as `next`, if that is one of ours."""
    url = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(url, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    if not ours or not url.startswith("/") or len(url) > MAX_URL_CHARACTERS:
        url = default or reverse("library")
    return HttpResponseRedirect(url)


def flash_result(
    request: HttpRequest, done: str, outcome: BulkResult, *, unusable: int = 0, undo: bool = False
) -> None:
    """`done` for what was changed, then what was not and why. With `undo`, a button takes it back."""
    if outcome.files:
        messages.success(request, done, extra_tags=_undo(request, outcome) if undo else "")
    if outcome.refused:
        names = ", ".join(f"“{name}”" for name in outcome.refused[:MAX_NAMES])
        more = len(outcome.refused) - MAX_NAMES
        text = _("Not changed, because they are not yours to change: %(names)s") % {"names": names}
        if more > 0:
            text += " " + ngettext("and %(count)s more", "and %(count)s more", more) % {"count": more}
        messages.warning(request, text)
    if unknown := outcome.unknown + unusable:
        messages.warning(
            request,
            ngettext(
                "%(count)s file was not there any more, or is not yours to see.",
                "%(count)s files were not there any more, or are not yours to see.",
                unknown,
            )
            % {"count": unknown},
        )


def _undo(request: HttpRequest, outcome: BulkResult) -> str:
    """The event that tells of this act: with it, all that went into the trash then comes back."""
    rows = Event.objects.about(outcome.links[0]).filter(action=Action.TRASH, actor_id=request_user(request).pk)
    return str(rows.values_list("pk", flat=True).first() or "")
