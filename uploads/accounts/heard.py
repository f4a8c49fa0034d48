"""What Django and django-allauth tell: into the activity log, and the ends of other sessions."""

from __future__ import annotations

from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import clear_authentication_records, record_authentication
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.http import HttpRequest

from uploads.services import presence

WAYS = {"password": "password", "mfa": "second factor", "socialaccount": "single sign-on"}


def came(*, request: HttpRequest, user: User, **_: Any) -> None:
    records = get_authentication_records(request, user)
    presence.came(user, how=[WAYS.get(record["method"], record["method"]) for record in records])


def added(*, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    """Whoever has just shown a code has shown it for this session; all others end."""
    presence.factor_changed(user, by=user, act="added", kind=authenticator.type)
    if authenticator.type == Authenticator.Type.TOTP:
        record_authentication(request, user, "mfa", id=authenticator.pk, type=authenticator.type)
        presence.end_sessions(user, by=user, but=request.session.session_key, why="second factor")


def removed(*, request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    presence.factor_changed(user, by=user, act="removed", kind=authenticator.type)
    if authenticator.type == Authenticator.Type.TOTP:
        clear_authentication_records(request)
        presence.end_sessions(user, by=user, but=request.session.session_key, why="second factor")


def renewed(*, user: User, authenticator: Authenticator, **_: Any) -> None:
    presence.factor_changed(user, by=user, act="renewed", kind=authenticator.type)


def password_changed(*, request: HttpRequest, user: User, **_: Any) -> None:
    presence.password_changed(user, by=user)
    presence.end_sessions(user, by=user, but=request.session.session_key, why="password")
