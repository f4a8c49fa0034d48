"""Passkeys (WebAuthn): added on the account page, then used to sign in, or as the second factor.

A passkey belongs to one host name (its RP ID), and browsers have them only for https and localhost.
"""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import views as webauthn
from allauth.mfa.webauthn.internal import auth
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from uploads.accounts import factors, throttling
from uploads.errors import Forbidden
from uploads.services import sign_in_events
from uploads.views.responses import html_errors, request_user

MAX_PASSKEYS = 20  # per user
STARTED = "passkey_started"  # in the session: this browser has asked for a challenge


def passkeys_of(user: User) -> list[dict[str, Any]]:
    """Return the user's passkeys, the oldest first."""
    authenticators = Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).order_by("pk")
    return [
        {"pk": row.pk, "name": row.wrap().name, "created_at": row.created_at, "last_used_at": row.last_used_at}
        for row in authenticators
    ]


class AddPasskeyView(webauthn.AddWebAuthnView):  # type: ignore[misc]
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not factors.passkeys_are_available(request):
            raise Http404
        if len(passkeys_of(request_user(request))) >= MAX_PASSKEYS:
            raise Forbidden(_("You have %(count)s passkeys. Remove one first.") % {"count": MAX_PASSKEYS})
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        # kept on the device if it can, so that it also signs in without a user name
        selection = context["js_data"]["creation_options"]["publicKey"]["authenticatorSelection"]
        selection |= {"residentKey": "preferred", "requireResidentKey": False}
        return context


class RenamePasskeyView(webauthn.EditWebAuthnView):  # type: ignore[misc]
    template_name = "mfa/webauthn/rename.html"

    def get_success_url(self) -> str:
        return reverse("mfa_index")

    def form_valid(self, form: Form) -> HttpResponseBase:
        response: HttpResponseBase = super().form_valid(form)
        user = request_user(self.request)
        sign_in_events.two_factor_changed(user, by=user, change="renamed", kind=Authenticator.Type.WEBAUTHN)
        messages.success(self.request, _("Passkey renamed."))
        return response


class RemovePasskeyView(webauthn.RemoveWebAuthnView):  # type: ignore[misc]
    template_name = "mfa/webauthn/remove.html"

    def get_success_url(self) -> str:
        return reverse("mfa_index")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        is_last = not Authenticator.objects.filter(user=request_user(self.request)).exclude(
            pk=self.object.pk
        ).exclude(type=Authenticator.Type.RECOVERY_CODES).exists()  # fmt: skip
        return {**super().get_context_data(**kwargs), "name": self.object.wrap().name, "is_last": is_last}


class SignInView(webauthn.LoginWebAuthnView):  # type: ignore[misc]
    """Sign in with a passkey alone: its device has verified the person, by a fingerprint or a PIN."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.was_started = request.session.pop(STARTED, False)
        response: HttpResponseBase = super().post(request, *args, **kwargs)
        return response

    def form_valid(self, form: Form) -> HttpResponseBase:
        response: HttpResponseBase = super().form_valid(form)
        throttling.passkey_throttle().succeeded()
        return response

    def form_invalid(self, form: Form) -> HttpResponseBase:
        if self.was_started:
            sign_in_events.on_login_failed(credentials={"username": "passkey"})
        response: HttpResponseBase = super().form_invalid(form)
        return response


@login_not_required
@never_cache
@require_POST
@html_errors
def options(request: HttpRequest) -> HttpResponseBase:
    """Return the challenge for signing in, as JSON. It begins a session, so this is throttled."""
    if not factors.passkeys_are_available(request):
        raise Http404
    throttling.passkey_throttle().begin()
    request.session[STARTED] = True
    return JsonResponse(auth.begin_authentication(None))


class ConfirmView(webauthn.ReauthenticateWebAuthnView):  # type: ignore[misc]
    template_name = "mfa/webauthn/confirm.html"

    def form_invalid(self, form: Form) -> HttpResponseBase:
        for message in form.errors.get("credential", []):
            messages.error(self.request, str(message))
        return HttpResponseRedirect(self.request.get_full_path())


add = html_errors(AddPasskeyView.as_view())
rename = html_errors(RenamePasskeyView.as_view())
remove = html_errors(RemovePasskeyView.as_view())
sign_in = html_errors(login_not_required(never_cache(SignInView.as_view())))
confirm = html_errors(ConfirmView.as_view())
