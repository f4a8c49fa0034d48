"""Invitations: administrators create, list and revoke them; people without an account accept them."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.accounts import invitations, oidc
from uploads.accounts.people_forms import AccountForm, UsernameForm
from uploads.accounts.roles import Role
from uploads.accounts.views import sign_in_new
from uploads.models import Invitation, LinkState, display_name
from uploads.views.links import ended, find_link, public_view, render_form
from uploads.views.people import invited_page, manages_people, require_factor_to_invite
from uploads.views.responses import request_user

PAGE_SIZE = 50


@require_safe
@manages_people
def invitation_list(request: HttpRequest) -> HttpResponseBase:
    rows = Invitation.objects.select_related("created_by", "accepted_by").prefetch_related("teams").order_by("-pk")
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "people/invitations.html", {"page": page, "rows": [_row(invitation) for invitation in page]})


def _row(invitation: Invitation) -> dict[str, object]:
    state = invitation.state
    return {
        "invitation": invitation,
        "role": Role(invitation.role).label,
        "is_accepted": state == LinkState.USED_UP,
        "is_open": state == LinkState.ACTIVE and invitation.created_by.is_active,
        "can_revoke": state == LinkState.ACTIVE,
        "can_renew": state != LinkState.USED_UP,
    }


@require_POST
@manages_people
def revoke_invitation(request: HttpRequest, pk: int) -> HttpResponseBase:
    invitation = get_object_or_404(Invitation, pk=pk)
    if invitations.revoke(invitation, by=request_user(request)):
        messages.success(request, _("Revoked the invitation."))
    else:
        messages.warning(request, _("This invitation was already accepted or revoked."))
    return redirect("invitations")


@require_POST
@manages_people
def renew_invitation(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Replace a link that was lost or has expired, and show the new one once."""
    invitation = get_object_or_404(Invitation, pk=pk)
    if response := require_factor_to_invite(request, Role(invitation.role), invitation.teams.all()):
        return response
    created = invitations.renew(invitation, by=request_user(request))
    if created is None:
        messages.warning(request, _("This invitation was already accepted or revoked."))
        return redirect("invitations")
    return invited_page(request, [created])


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("password1", "password2")
@public_view
def accept_invitation(request: HttpRequest, token: str) -> HttpResponseBase:
    """Create the account of someone who was invited, and sign them in."""
    invitation = find_link(Invitation, token, request)
    if not invitations.is_backed(invitation):
        raise ended(invitation)
    if request.user.is_authenticated:
        return _page(request, "invitations/signed_in.html")
    if invitations.account_with(invitation.email):
        return _page(request, "invitations/has_account.html")
    form_class = UsernameForm if settings.SSO_ONLY else AccountForm
    form = form_class(request.POST if request.method == "POST" else None, email=invitation.email)
    if request.method == "POST" and form.is_valid():
        user = form.save(commit=False)
        try:
            is_accepted = invitations.accept(invitation, user)
        except IntegrityError:
            form.add_error("username", _("A user with that username already exists."))
        else:
            if not is_accepted:
                raise ended(invitation)
            if settings.SSO_ONLY:
                oidc.expect_identity(request, user)
                messages.success(request, _("Your account is ready. Sign in with single sign-on."))
                return redirect("login")
            return sign_in_new(request, user)
    inviter = display_name(invitation.created_by)
    return _page(request, "invitations/accept.html", form=form, invitation=invitation, inviter=inviter)


def _page(request: HttpRequest, template: str, **context: object) -> HttpResponseBase:
    return render_form(request, template, context)
