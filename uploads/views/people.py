"""People: the list, the form that invites one more, and the page of each, where administrators change the account."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.accounts import invitations, people, roles
from uploads.accounts.factors import may_sign_in_here
from uploads.accounts.password_reset import create_reset, reset_path
from uploads.accounts.people import NO_ROLE, PeopleFilter
from uploads.accounts.people_forms import EmailForm, InviteForm, QuotaForm, ReceiverForm, RoleForm, TeamsForm
from uploads.accounts.roles import Role
from uploads.accounts.views import second_factor_redirect
from uploads.errors import Forbidden, InvalidTransition, Problem
from uploads.models import Invitation, PublicLink, ShareLink
from uploads.services import hand_over, mail, sign_in_events
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
    """List people. POST creates an invitation for each address, or one without, and shows their links once."""
    by = request_user(request)
    form = InviteForm(request.POST if request.method == "POST" else None, by=by)
    if not form.is_valid():
        return _people_page(request, form)
    role, emails = Role(form.cleaned_data["role"]), form.cleaned_data["emails"] or [""]
    teams = form.cleaned_data.get("teams", ())
    if response := require_factor_to_invite(request, role, teams):
        return response
    try:
        with transaction.atomic():
            created = [invitations.invite(by=by, role=role, email=email, teams=teams) for email in emails]
    except Problem as problem:
        form.add_error("role", problem.message)
        return _people_page(request, form)
    return invited_page(request, created)


def require_factor_to_invite(request: HttpRequest, role: Role, teams: Collection[Group]) -> HttpResponseBase | None:
    """Return a redirect if a second factor is needed: who is invited sees more than an administrator without one."""
    gives_more = role == Role.ADMINISTRATOR or teams
    return second_factor_redirect(request, reverse("people")) if gives_more else None


def invited_page(request: HttpRequest, created: Sequence[tuple[Invitation, str]]) -> HttpResponse:
    """Show the links of these invitations, by their tokens, once."""
    links = [
        {"email": invitation.email, "url": request.build_absolute_uri(invitations.invitation_path(token))}
        for invitation, token in created
    ]
    invitation, _token = created[0]
    context = {
        "links": links,
        "role": Role(invitation.role),
        "expires_at": invitation.expires_at,
        "is_mailed": bool(invitation.email) and mail.is_configured(),
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


# --- the page of a person ------------------------------------------------------------------------

MAX_SUGGESTIONS = 200
MAX_LINKS = 20


@require_safe
@changes_people
def person(request: HttpRequest, pk: int) -> HttpResponseBase:
    return _person_page(request, pk)


def _person_page(request: HttpRequest, pk: int, **bound: Any) -> HttpResponse:
    """Render the page of a person. `bound` replaces forms by those with errors, or adds the link just made."""
    by = request_user(request)
    user = get_object_or_404(people.with_details(User.objects.all()), pk=pk)
    role, teams = roles.role_of(user), roles.teams_of(user)
    context = {
        "person": user,  # `user` is who sees the page
        "role": role,
        "teams": teams,
        "usage": people.usage_of(user),
        "is_self": user.pk == by.pk,
        "can_change": roles.is_manageable(user, by=by),
        "role_form": RoleForm(by=by, current=role),
        "teams_form": TeamsForm(initial={"teams": [team.pk for team in teams]}),
        "has_teams": roles.teams().exists(),
        "quota_form": QuotaForm(user=user),
        "email_form": EmailForm(user=user),
        "receiver": hand_over.receiver_of(user),
        "may_have_password": may_sign_in_here(user),
        "files_remaining": hand_over.files_to_hand_over(user).count() if not user.is_active else 0,
        **bound,
    }
    return render(request, "people/person.html", context)


@require_POST
@changes_people
def change_role(request: HttpRequest, pk: int) -> HttpResponseBase:
    user, by = _get_person(pk), request_user(request)
    form = RoleForm(request.POST, by=by)
    if not form.is_valid():
        return _person_page(request, pk, role_form=form)
    try:
        roles.set_role(user, form.selected, by=by)
    except Problem as problem:
        form.add_error("role", problem.message)
        return _person_page(request, pk, role_form=form)
    role = form.selected.label if form.selected else _("No role")
    messages.success(
        request, _("Changed the role of %(name)s to %(role)s.") % {"name": user.get_username(), "role": role}
    )
    return redirect("person", pk=pk)


@require_POST
@changes_people
def change_teams(request: HttpRequest, pk: int) -> HttpResponseBase:
    user = _get_person(pk)
    form = TeamsForm(request.POST)
    if not form.is_valid():
        return _person_page(request, pk, teams_form=form)
    try:
        roles.set_teams(user, form.cleaned_data["teams"], by=request_user(request))
    except Problem as problem:
        form.add_error("teams", problem.message)
        return _person_page(request, pk, teams_form=form)
    messages.success(request, _("Updated the teams of %(name)s.") % {"name": user.get_username()})
    return redirect("person", pk=pk)


@require_POST
@changes_people
def change_quota(request: HttpRequest, pk: int) -> HttpResponseBase:
    user = _get_manageable(request, pk)
    form = QuotaForm(request.POST, user=user)
    if not form.is_valid():
        return _person_page(request, pk, quota_form=form)
    data = form.cleaned_data
    people.set_quotas(user, quota_bytes=data["storage"], quota_files=data["file_count"], by=request_user(request))
    messages.success(request, _("Updated the limits of %(name)s.") % {"name": user.get_username()})
    return redirect("person", pk=pk)


@require_POST
@changes_people
def change_email(request: HttpRequest, pk: int) -> HttpResponseBase:
    user = _get_manageable(request, pk)
    form = EmailForm(request.POST, user=user)
    if not form.is_valid():
        return _person_page(request, pk, email_form=form)
    people.set_email(user, form.cleaned_data["email"], by=request_user(request))
    messages.success(request, _("Updated the email address of %(name)s.") % {"name": user.get_username()})
    return redirect("person", pk=pk)


# --- sign-in --------------------------------------------------------------------------------------


@require_POST
@changes_people
def sign_out_person(request: HttpRequest, pk: int) -> HttpResponseBase:
    """End all sessions of this person; of oneself, all others."""
    user, by = _get_manageable(request, pk), request_user(request)
    own_key = request.session.session_key if user.pk == by.pk else None
    ended = sign_in_events.end_sessions(user, by=by, but=own_key, reason="requested")
    text = ngettext("Ended %(count)s session of %(name)s.", "Ended %(count)s sessions of %(name)s.", ended)
    messages.success(request, text % {"count": ended, "name": user.get_username()})
    return redirect("person", pk=pk)


@require_POST
@changes_people
def reset_two_factor(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Remove the second factor of someone who has lost it, and end their sessions."""
    user, by = _get_manageable(request, pk), request_user(request)
    if user.pk == by.pk:
        raise Forbidden(_("Change your own two-factor authentication on your account page."))
    sign_in_events.forget_factors(user, by=by)
    messages.success(request, _("Reset two-factor authentication of %(name)s.") % {"name": user.get_username()})
    return redirect("person", pk=pk)


@require_POST
@changes_people
def make_reset_link(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Show a link with which this person chooses a new password. It is shown once."""
    user = _get_manageable(request, pk)
    if not user.is_active:
        raise InvalidTransition(_("Reactivate the account first."))
    reset, token = create_reset(user, by=request_user(request))
    url = request.build_absolute_uri(reset_path(token))
    context = {"person": user, "url": url, "expires_at": reset.expires_at}
    return no_store(render(request, "people/reset_link.html", context))


# --- leaving --------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@changes_people
def deactivate_person(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Say what ends, and deactivate the account."""
    user, by = _get_manageable(request, pk), request_user(request)
    if request.method == "POST":
        people.deactivate(user, by=by)
        messages.success(request, _("Deactivated %(name)s.") % {"name": user.get_username()})
        return redirect("person", pk=pk)
    people.require_deactivatable(user, by=by)
    links = [
        (kind, [(_link_label(link, by), link.expires_at) for link in links[:MAX_LINKS]], len(links))
        for kind, links in people.active_links_of(user)
    ]
    return render(request, "people/deactivate.html", {"person": user, "links": links})


def _link_label(link: PublicLink, by: User) -> str:
    """Return what the link is called. Names of shared files are for those who may see all links."""
    if isinstance(link, ShareLink) and by.has_perm("uploads.view_all_links"):
        return link.name
    return str(link)


@require_POST
@changes_people
def reactivate_person(request: HttpRequest, pk: int) -> HttpResponseBase:
    user = _get_manageable(request, pk)
    people.reactivate(user, by=request_user(request))
    messages.success(request, _("Reactivated %(name)s.") % {"name": user.get_username()})
    return redirect("person", pk=pk)


@require_http_methods(["GET", "HEAD", "POST"])
@changes_people
def hand_over_files(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Give the files of a deactivated person to another person."""
    user = _get_manageable(request, pk)
    if user.is_active:
        raise InvalidTransition(_("Deactivate the account before you hand over its files."))
    form = ReceiverForm(request.POST if request.method == "POST" else None, owner=user)
    if form.is_valid():
        to = form.cleaned_data["username"]
        try:
            hand_over.start(user, to, by=request_user(request))
        except Problem as problem:
            form.add_error("username", problem.message)
        else:
            messages.success(request, _("Handing over the files to %(name)s.") % {"name": to.get_username()})
            return redirect("person", pk=pk)
    context = {
        "person": user,
        "form": form,
        "usage": people.usage_of(user),
        "count": hand_over.files_to_hand_over(user).count(),
        "suggestions": suggestions(without=[user]),
    }
    return render(request, "people/hand_over.html", context)


def suggestions(*, without: list[User]) -> list[str]:
    """Return usernames for the suggestions of a field."""
    rows = User.objects.filter(is_active=True).exclude(pk__in=[user.pk for user in without]).order_by("username")
    return list(rows.values_list("username", flat=True)[:MAX_SUGGESTIONS])


def _get_person(pk: int) -> User:
    return get_object_or_404(User, pk=pk)


def _get_manageable(request: HttpRequest, pk: int) -> User:
    """Return the person. Raises Forbidden for one with more permissions than the user."""
    user = _get_person(pk)
    roles.require_manageable(user, by=request_user(request))
    return user
