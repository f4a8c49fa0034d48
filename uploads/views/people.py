"""People: the list, and the form that invites one more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from uploads.accounts import invitations, people, roles
from uploads.accounts.people import NO_ROLE, PeopleFilter
from uploads.accounts.people_forms import InviteForm
from uploads.accounts.roles import Role
from uploads.accounts.views import second_factor_redirect
from uploads.errors import Forbidden, Problem
from uploads.services import mail
from uploads.views.responses import html_errors, no_store, request_user

PAGE_SIZE = 50
STATUSES = {"active": True, "inactive": False}

View = Callable[..., HttpResponseBase]


def manages_people(view: View) -> View:
    """Decorate a view for people with the permission `manage_people`: others get 403."""

    @html_errors
    @functools.wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm("uploads.manage_people"):
            raise Forbidden(_("You don't have permission to manage people."))
        return view(request, **kwargs)

    return guarded


def changes_people(view: View) -> View:
    """Decorate a view that changes accounts: also require a second factor where the admin does."""

    @manages_people
    @functools.wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        next_url = request.get_full_path() if request.method in {"GET", "HEAD"} else _parent(request.path)
        return second_factor_redirect(request, next_url) or view(request, **kwargs)

    return guarded


@require_http_methods(["GET", "HEAD", "POST"])
@manages_people
def people_list(request: HttpRequest) -> HttpResponseBase:
    """List people. POST creates an invitation, and shows its link once."""
    by = request_user(request)
    form = InviteForm(request.POST if request.method == "POST" else None, by=by)
    if not form.is_valid():
        return _people_page(request, form)
    role, email = Role(form.cleaned_data["role"]), form.cleaned_data["email"]
    teams = form.cleaned_data.get("teams", ())
    gives_more = role == Role.ADMINISTRATOR or teams  # than any administrator sees without a second factor
    if gives_more and (response := second_factor_redirect(request, request.path)):
        return response
    try:
        invitation, token = invitations.invite(by=by, role=role, email=email, teams=teams)
    except Problem as problem:
        form.add_error("role", problem.message)
        return _people_page(request, form)
    context = {
        "invitation": invitation,
        "role": role,
        "url": request.build_absolute_uri(invitations.invitation_path(token)),
        "is_mailed": bool(email) and mail.is_configured(),
    }
    return no_store(render(request, "people/invited.html", context))


def _people_page(request: HttpRequest, invite_form: InviteForm) -> HttpResponse:
    query = _read_filter(request)
    page = Paginator(people.list_people(query), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": [_row(user) for user in page],
        "query": query,
        "status": request.GET.get("status", "") if query.is_active is not None else "",
        "roles": [*Role.choices, (NO_ROLE, _("No role"))],
        "invite_form": invite_form,
        "invitation_days": settings.INVITATION_DAYS,
        "sends_mail": mail.is_configured(),
    }
    return render(request, "people/people.html", context)


def _read_filter(request: HttpRequest) -> PeopleFilter:
    """Return the filter; what it can't be is left out."""
    role, status = request.GET.get("role", ""), request.GET.get("status", "")
    return PeopleFilter(
        search=request.GET.get("q", "").strip()[: people.MAX_SEARCH_CHARACTERS],
        role=role if role in {*Role.values, NO_ROLE} else "",
        is_active=STATUSES.get(status),
    )


def _row(user: User) -> dict[str, Any]:
    return {
        "user": user,
        "role": roles.role_of(user),
        "teams": roles.teams_of(user),
        "usage": people.usage_of(user),
    }


def _parent(path: str) -> str:
    return path.rsplit("/", maxsplit=1)[0] + "/"
