"""Record sign-ins, failed sign-ins, sign-outs, and changes of accounts in the audit log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from uploads.models import Action, Event

logger = logging.getLogger(__name__)

MAX_NAME_CHARACTERS = 150  # as Django's own user names


def on_login(user: User, *, how: Sequence[str] = ()) -> None:
    """Record a sign-in. `how`: the authentication methods, if they are known."""
    detail: dict[str, Any] = {"how": list(how)} if how else {}
    Event.objects.record(Action.LOGIN, by=user, **detail)
    logger.info("user_signed_in user=%s", user.pk)


def on_logout(*, user: User | None, **_: Any) -> None:
    """Record a sign-out. Django also sends the signal for anonymous sessions, which are not recorded."""
    if user is not None:
        Event.objects.record(Action.LOGOUT, by=user)
        logger.info("user_signed_out user=%s", user.pk)


def on_login_failed(*, credentials: Mapping[str, Any], **_: Any) -> None:
    """Record a failed sign-in, with the name but never the password."""
    Event.objects.record(Action.LOGIN_FAILED, name=attempted_name(credentials.get("username")))
    logger.info("sign_in_failed")


def on_code_failed(*, user: User, **_: Any) -> None:
    """Record a wrong second-factor code after a correct password."""
    Event.objects.record(Action.LOGIN_FAILED, name=user.get_username(), step="code")
    logger.warning("two_factor_failed user=%s", user.pk)


def on_throttled(name: str, *, seconds: int) -> None:
    """Record that sign-in attempts are throttled. The refused attempts are not recorded: they would fill the log."""
    Event.objects.record(Action.LOGIN_FAILED, name=attempted_name(name), wait_seconds=seconds)
    logger.warning("sign_in_throttled seconds=%s", seconds)


def password_changed(person: User, *, by: User | None) -> None:
    """Record a password change. Django itself ends the person's other sessions, whose hash no longer matches."""
    Event.objects.record(Action.PASSWORD, by=by, name=person.get_username())
    logger.info("password_changed user=%s by=%s", person.pk, by.pk if by else None)


def two_factor_changed(person: User, *, by: User | None, change: str, kind: str) -> None:
    """Record that a second factor was added or removed."""
    Event.objects.record(Action.TWO_FACTOR, by=by, name=person.get_username(), change=change, kind=kind)
    logger.info("two_factor_changed user=%s change=%s kind=%s by=%s", person.pk, change, kind, by.pk if by else None)


def end_sessions(person: User, *, by: User | None, but: str | None = None, reason: str = "") -> int:
    """End all sessions of this person, except the one with the key `but`, and return how many. Safe to repeat."""
    known = UserSession.objects.filter(user=person).exclude(session_key=but or "")
    ended, _by_model = Session.objects.filter(session_key__in=known.values("session_key")).delete()
    known.delete()
    if ended or by != person:
        Event.objects.record(Action.SESSION, by=by, name=person.get_username(), count=ended, reason=reason)
        logger.info("sessions_ended user=%s count=%s by=%s", person.pk, ended, by.pk if by else None)
    return ended


def session_expired(person_id: str) -> None:
    """Record that a session reached the maximum age."""
    person = User.objects.filter(pk=person_id).first()
    if person is not None:
        Event.objects.record(Action.SESSION, by=person, name=person.get_username(), count=1, reason="age")
        logger.info("session_expired user=%s", person.pk)


def activated(person: User, *, by: User | None) -> None:
    """Record that an account was activated or deactivated. Deactivating ends all sessions with their next request."""
    Event.objects.record(
        Action.ACCOUNT, by=by, name=person.get_username(), change="enabled" if person.is_active else "disabled"
    )
    logger.info("account_%s user=%s", "enabled" if person.is_active else "disabled", person.pk)
    if not person.is_active:
        end_sessions(person, by=by, reason="disabled")


def forget_factors(person: User, *, by: User | None) -> int:
    """Remove this person's second factor and recovery codes, end their sessions, and return how many were removed."""
    kinds = list(Authenticator.objects.filter(user=person).values_list("type", flat=True))
    Authenticator.objects.filter(user=person).delete()
    for kind in kinds:
        two_factor_changed(person, by=by, change="removed", kind=kind)
    end_sessions(person, by=by, reason="two_factor")
    return len(kinds)


def attempted_name(text: object) -> str:
    """Return the attempted user name in one line of printable characters."""
    return "".join(char for char in str(text or "") if char.isprintable())[:MAX_NAME_CHARACTERS]
