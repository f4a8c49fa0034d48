"""Receivers of the signals that Django and allauth send about accounts."""

from __future__ import annotations

from typing import Any

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY, get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialLogin
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.translation import get_language

from uploads.accounts import factors, sessions, time_zones
from uploads.models import Preference
from uploads.services import sign_in_events

METHODS = {"password": "password", "mfa": "two_factor", "socialaccount": "single_sign_on"}


def on_login(*, request: HttpRequest, user: User, **_: Any) -> None:
    """Record the sign-in, add the session to the person's list, start its limits, and remember the language."""
    records = get_authentication_records(request, user)
    sign_in_events.on_login(user, how=[METHODS.get(record["method"], record["method"]) for record in records])
    request.user = user  # which Django leaves out on requests without its middleware
    UserSession.objects.create_from_request(request)
    sessions.start(request.session)
    time_zones.load(request.session, user)
    Preference.objects.set_language(user, get_language() or settings.LANGUAGE_CODE)
    request.session.clear_expired()


def on_identity_linked(*, sociallogin: SocialLogin, **_: Any) -> None:
    sign_in_events.two_factor_changed(sociallogin.user, by=sociallogin.user, change="added", kind="single_sign_on")


def on_authenticator_added(*, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Record that this session is confirmed by the code or passkey just used, and end the person's other sessions."""
    sign_in_events.two_factor_changed(user, by=user, change="added", kind=authenticator.type)
    if authenticator.type in factors.SECOND_FACTORS:
        record_authentication(request, user, "mfa", id=authenticator.pk, type=authenticator.type)
        sign_in_events.end_sessions(user, by=user, but=request.session.session_key, reason="two_factor")


def on_authenticator_removed(*, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    sign_in_events.two_factor_changed(user, by=user, change="removed", kind=authenticator.type)
    if authenticator.type in factors.SECOND_FACTORS:
        request.session.pop(AUTHENTICATION_METHODS_SESSION_KEY, None)
        sign_in_events.end_sessions(user, by=user, but=request.session.session_key, reason="two_factor")


def on_recovery_codes_renewed(*, user: User, authenticator: Authenticator, **_: Any) -> None:
    sign_in_events.two_factor_changed(user, by=user, change="renewed", kind=authenticator.type)


def password_changed(*, request: HttpRequest, user: User, **_: Any) -> None:
    sign_in_events.password_changed(user, by=user)
    sign_in_events.end_sessions(user, by=user, but=request.session.session_key, reason="password")
