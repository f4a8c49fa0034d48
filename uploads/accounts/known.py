"""Which browsers somebody signed in with before: a signed cookie, worth nothing but patience."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from uploads.services.attempts import digest

SALT = "amalga.known"
MOST_ACCOUNTS = 5  # of one browser


def browser_of(request: HttpRequest, name: str) -> str | None:
    """The id of this browser, when the account of this name was signed in with it before."""
    return _known(request).get(digest(name))


def remember(request: HttpRequest, answer: HttpResponseBase, name: str) -> None:
    known = _known(request)
    known[digest(name)] = known.pop(digest(name), "") or secrets.token_hex(16)
    newest = dict(list(known.items())[-MOST_ACCOUNTS:])
    answer.set_cookie(
        settings.KNOWN_COOKIE_NAME,
        signing.dumps(newest, salt=SALT),
        max_age=settings.KNOWN_COOKIE_DAYS * 24 * 3600,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )


def _known(request: HttpRequest) -> dict[str, str]:
    text = request.COOKIES.get(settings.KNOWN_COOKIE_NAME, "")
    try:
        return dict(signing.loads(text, salt=SALT, max_age=settings.KNOWN_COOKIE_DAYS * 24 * 3600))
    except (signing.BadSignature, TypeError, ValueError):
        return {}
