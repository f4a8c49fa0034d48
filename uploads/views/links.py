"""Pages behind public links, which people without an account open."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _

from uploads.accounts.backends import load_link_and_creator
from uploads.errors import LinkEnded, LinkUnknown, Problem
from uploads.middleware import client_ip
from uploads.models import LinkState, new_link_hint
from uploads.models.links import Link, PublicLink
from uploads.models.throttle import client_network
from uploads.services.guess_limit import LINK_GUESSES
from uploads.views.responses import public_error_page


def find_link(model: type[Link], token: str, request: HttpRequest) -> Link:
    """Return the active link with this token, with its creator.

    Raises LinkUnknown for an unknown token, and LinkEnded for a link that no longer works or whose creator is inactive.
    What the creator may do now is for the caller to check. GuessLimitMiddleware has refused addresses that have tried
    many unknown tokens.
    """
    link = load_link(model, token, request)
    require_active(link)
    return link


def load_link(model: type[Link], token: str, request: HttpRequest) -> Link:
    """Return the link with this token in any state, with its creator and the creator's permissions.

    Raises LinkUnknown, and LinkEnded for an inactive creator, as `find_link`.
    """
    network = client_network(client_ip(request))
    link = load_link_and_creator(model, token)
    if link is None:
        LINK_GUESSES.count_miss(network, token)
        raise LinkUnknown
    LINK_GUESSES.count_visit(network, token)
    if not link.created_by.is_active:
        raise ended(link)
    return link


def require_active(link: PublicLink) -> None:
    """Raise LinkEnded, with whom to ask, if the link no longer works."""
    if (state := link.state) != LinkState.ACTIVE:
        raise LinkEnded(f"{_reason(state)} {new_link_hint(link.created_by)}")


def ended(link: PublicLink) -> LinkEnded:
    """Return the error for a link whose files are gone, or no longer its creator's to share."""
    return LinkEnded(f"{_('This link no longer works.')} {new_link_hint(link.created_by)}")


def public_view(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Decorate a view that needs no login: return problems as pages for people without an account.

    The headers of paths in LINK_PATHS are set by SecurityHeadersMiddleware.
    """

    @login_not_required
    @functools.wraps(view)
    def guarded(request: HttpRequest, **kwargs: str) -> HttpResponseBase:
        try:
            return view(request, **kwargs)
        except Problem as problem:
            return public_error_page(problem)

    return guarded


def render_form(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Render a page with a form for people without an account.

    Under no-referrer, browsers send `Origin: null` with a form, which the CSRF check refuses (Fetch, "append a request
    `Origin` header"). Under same-origin the address stays on this site as well.
    """
    response = render(request, template, context, status=status)
    response["Referrer-Policy"] = "same-origin"
    return response


def _reason(state: LinkState) -> str:
    return {
        LinkState.EXPIRED: _("This link has expired."),
        LinkState.USED_UP: _("This link has reached its usage limit."),
    }.get(state, _("This link was revoked."))
