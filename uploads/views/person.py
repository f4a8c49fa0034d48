"""The page of a person, and what administrators change there."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.accounts import people, roles
from uploads.accounts.factors import may_sign_in_here
from uploads.accounts.password_reset import create_reset, reset_path
from uploads.accounts.people_forms import EmailForm, QuotaForm, ReceiverForm, RoleForm, TeamsForm
from uploads.errors import Forbidden, InvalidTransition, Problem
from uploads.models import PublicLink, ShareLink
from uploads.services import hand_over, sign_in_events
from uploads.views.people import changes_people
from uploads.views.responses import no_store, request_user

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
