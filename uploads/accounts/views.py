"""The account pages: django-allauth's views with the project's error pages. Only these are routed."""

from __future__ import annotations

from typing import Any

from allauth.account import views as account_views
from allauth.account.internal.flows.login import record_authentication
from allauth.account.stages import LoginStageController
from allauth.account.utils import get_next_redirect_url, perform_login
from allauth.mfa.base import views as base
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.stages import AuthenticateStage
from allauth.mfa.totp import views as totp
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LogoutView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from uploads.accounts import factors, oidc, passkeys, time_zones
from uploads.accounts.people import usage_of
from uploads.errors import Forbidden, ValidationFailed
from uploads.services import mail, sign_in_events
from uploads.views.responses import html_errors, request_user, with_problem_headers


class ThrottledFormMixin:
    """Show a form again after too many attempts, with the status and the headers of the problem."""

    def form_invalid(self, form: Any) -> HttpResponseBase:
        response: HttpResponseBase = super().form_invalid(form)  # type: ignore[misc]
        problem = getattr(form, "throttled", None)
        if problem is not None and isinstance(response, HttpResponse):
            response.status_code = problem.status_code
            with_problem_headers(response, problem)
        return response


class LoginView(ThrottledFormMixin, account_views.LoginView):  # type: ignore[misc]
    """Ask for name and password; the second factor, if the account has one, follows on the next page.

    With SSO_ONLY the form is at /accounts/login/?password, for emergencies.
    """

    @property
    def has_form(self) -> bool:
        return not settings.SSO_ONLY or "password" in self.request.GET

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not self.has_form:
            raise Forbidden(_("Passwords are turned off. Use single sign-on."))
        response: HttpResponseBase = super().post(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        own = {
            "has_form": self.has_form,
            "can_reset_password": not settings.SSO_ONLY and mail.is_configured(),
            "has_passkeys": self.has_form and factors.passkeys_are_available(self.request),
            "is_emergency": settings.SSO_ONLY,
            "sso_buttons": oidc.buttons(),
        }
        return {**context, **own, "next": self.get_next_url() or ""}


class MFAView(ThrottledFormMixin, base.AuthenticateView):  # type: ignore[misc]
    """Ask for the second factor, a code or a passkey, between the password and the session."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        kinds = set(Authenticator.objects.filter(user=self.stage.login.user).values_list("type", flat=True))
        own = {
            "has_app": Authenticator.Type.TOTP in kinds,
            "has_passkeys": Authenticator.Type.WEBAUTHN in kinds and factors.passkeys_are_available(self.request),
        }
        return {**super().get_context_data(**kwargs), **own}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Restart the sign-in if the second factor was removed in the meantime: allauth would redirect in a loop."""
        stage = LoginStageController.enter(request, AuthenticateStage.key)
        response: HttpResponseBase
        if stage and not factors.has_second_factor(stage.login.user):
            response = stage.abort()
        else:
            response = super().dispatch(request, *args, **kwargs)
        return response


class PasswordChangeView(account_views.PasswordChangeView):  # type: ignore[misc]
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user = request_user(request)
        if not user.has_usable_password() or not factors.may_sign_in_here(user):
            raise Forbidden(_("You sign in with single sign-on, so your account has no password."))
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return response

    def get_default_success_url(self) -> str:
        return reverse("mfa_index")


class SecurityView(base.IndexView):  # type: ignore[misc]
    """The person's own page: storage, password, second factors, single sign-on, time zone, sessions."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = request_user(self.request)
        identities = oidc.connections(user)
        own = {
            "usage": usage_of(user) if user.has_perm("uploads.add_file") else None,
            "has_password": user.has_usable_password() and factors.may_sign_in_here(user),
            "identities": identities,
            "can_connect": not all(connection["identity"] for connection in identities),
            "passkeys": passkeys.passkeys_of(user),
            "can_add_passkeys": factors.passkeys_are_available(self.request),
            "time_zones": sorted(time_zones.names()),
            "chosen_time_zone": self.request.session.get(time_zones.SESSION_KEY, ""),
        }
        return {**super().get_context_data(**kwargs), **own}


class RemoveAppView(totp.DeactivateTOTPView):  # type: ignore[misc]
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        has_passkeys = factors.has_passkey(request_user(self.request))
        return {**super().get_context_data(**kwargs), "has_passkeys": has_passkeys}


def sign_in_new(request: HttpRequest, user: User) -> HttpResponseBase:
    """Sign in a person who has just chosen a password, and redirect to the library."""
    record_authentication(request, user, method="password")
    response: HttpResponseBase = perform_login(request, user, redirect_url=reverse("library"))
    return response


sign_in = html_errors(LoginView.as_view())
sign_out = login_not_required(LogoutView.as_view())
change_password = html_errors(PasswordChangeView.as_view())
reauthenticate = html_errors(account_views.ReauthenticateView.as_view())
code = html_errors(login_not_required(MFAView.as_view()))
reauthenticate_code = html_errors(base.reauthenticate)
security = SecurityView.as_view()
add_factor = totp.activate_totp
remove_factor = RemoveAppView.as_view()
recovery_codes = codes.view_recovery_codes
new_recovery_codes = codes.generate_recovery_codes
download_recovery_codes = codes.download_recovery_codes


@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponseBase:
    """Sign the person out of all other sessions."""
    user = request_user(request)
    sign_in_events.end_sessions(user, by=user, but=request.session.session_key, reason="requested")
    messages.success(request, _("Signed out of all other sessions."))
    return HttpResponseRedirect(reverse("mfa_index"))


@require_POST
@html_errors
def time_zone(request: HttpRequest) -> HttpResponseBase:
    """Save the person's time zone; empty for that of their browser."""
    name = request.POST.get("time_zone", "")
    if name and name not in time_zones.names():
        raise ValidationFailed(_("Choose a time zone from the list."))
    time_zones.choose(request.session, request_user(request), name)
    messages.success(request, _("Time zone saved."))
    return HttpResponseRedirect(reverse("mfa_index"))


def admin_login(request: HttpRequest) -> HttpResponseBase:
    """Redirect to the admin, by way of the sign-in page or the second factor where either is still needed."""
    if not request.user.is_authenticated:
        return sign_in(request)
    if not request.user.is_staff:
        raise PermissionDenied
    next_url = get_next_redirect_url(request) or reverse("admin:index")
    return second_factor_redirect(request, next_url) or HttpResponseRedirect(next_url)


def second_factor_redirect(request: HttpRequest, next_url: str) -> HttpResponseRedirect | None:
    """Return None if this session may administer, or else a redirect to show or to set up a second factor first."""
    if not settings.STAFF_SECOND_FACTOR or factors.is_mfa_verified(request):
        return None
    if factors.has_second_factor(request_user(request)):
        return HttpResponseRedirect(reverse(_confirmation(request), query={"next": next_url}))
    messages.info(request, _("Administrators must use two-factor authentication. Turn it on now; it takes a minute."))
    return HttpResponseRedirect(reverse("mfa_activate_totp"))


def _confirmation(request: HttpRequest) -> str:
    """Return the route where the user shows their second factor: by a passkey if they have no authenticator app."""
    has_app = Authenticator.objects.filter(user=request_user(request), type=Authenticator.Type.TOTP).exists()
    if has_app or not factors.passkeys_are_available(request):
        return "mfa_reauthenticate"
    return "mfa_reauthenticate_webauthn"
