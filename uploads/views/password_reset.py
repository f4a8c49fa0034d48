"""Choose a new password by a link: from a mail, or from an administrator."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from uploads.accounts import password_reset, throttling
from uploads.accounts.people_forms import NewPasswordForm, ResetRequestForm
from uploads.errors import LinkEnded
from uploads.models import PasswordReset
from uploads.services import mail
from uploads.views.links import find_link, public_view, render_form
from uploads.views.responses import html_errors


@require_http_methods(["GET", "HEAD", "POST"])
@login_not_required
@html_errors
def request_reset(request: HttpRequest) -> HttpResponseBase:
    """Ask for an address, and say the same whether or not it has an account."""
    if settings.SSO_ONLY or not mail.is_configured():
        raise Http404
    form = ResetRequestForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return render(request, "account/request_reset.html", {"form": form})
    email = form.cleaned_data["email"]
    throttling.reset_throttle(email).begin()
    password_reset.request_reset(email, get_language() or "en")
    return render(request, "account/reset_requested.html", {"email": email, "hours": password_reset.HOURS})


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("new_password1", "new_password2")
@public_view
def reset_password(request: HttpRequest, token: str) -> HttpResponseBase:
    reset = _find(token, request)
    form = NewPasswordForm(reset.user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        if not password_reset.set_password(reset, form.cleaned_data["new_password1"]):
            raise _ended()
        if request.user.pk == reset.user_id:  # its session has just ended
            request.session.flush()
        messages.success(request, _("Your password has been changed. Sign in with the new one."))
        return redirect("login")
    context = {"form": form, "username": reset.user.get_username()}
    return render_form(request, "account/reset_password.html", context)


def _find(token: str, request: HttpRequest) -> PasswordReset:
    """Return the link. Raises LinkEnded also if the person who made it may no longer manage the account."""
    try:
        reset = find_link(PasswordReset, token, request)
    except LinkEnded:
        raise _ended() from None
    if not password_reset.is_backed(reset):
        raise _ended()
    return reset


def _ended() -> LinkEnded:
    text = _("This link has expired or was already used. Request a new one, or ask an administrator.")
    return LinkEnded(text)
