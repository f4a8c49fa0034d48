"""Who has two-factor authentication, and who may sign in without single sign-on."""

from __future__ import annotations

import ipaddress
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)  # recovery codes only replace one


def has_second_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type__in=SECOND_FACTORS).exists())


def has_passkey(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).exists())


def is_mfa_verified(request: HttpRequest) -> bool:
    """Return whether this session was opened or confirmed with a second factor."""
    user: Any = request.user
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, user))


def may_sign_in_here(user: User) -> bool:
    """Return whether the user may sign in with a password or a passkey.

    With SSO_ONLY that is for emergencies: for superusers with two-factor authentication.
    """
    return not settings.SSO_ONLY or (user.is_superuser and has_second_factor(user))


def is_signed_in_by_sso(request: HttpRequest, user: User) -> bool:
    return any(record.get("method") == "socialaccount" for record in get_authentication_records(request, user))


def passkeys_are_available(request: HttpRequest) -> bool:
    """Return whether browsers have passkeys for this address: a name, by https, or localhost."""
    host = request.get_host().rpartition(":")[0] or request.get_host()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return request.is_secure()
    return False
