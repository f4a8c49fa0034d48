"""Which browsers somebody signed in with before: a signed cookie, worth nothing but patience."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from uploads.accounts.throttling import digest

SALT = "amalga.known"
MAX_ACCOUNTS = 5  # of one browser


def device_id(request: HttpRequest, name: str) -> str | None:
    """The id of this browser, when the account of this name was signed in with it before."""
    return _device_accounts(request).get(digest(name))


def set_device_cookie(request: HttpRequest, answer: HttpResponseBase, name: str) -> None:
    known = _device_accounts(request)
    known[digest(name)] = known.pop(digest(name), "") or secrets.token_hex(16)
    newest = dict(list(known.items())[-MAX_ACCOUNTS:])
    answer.set_cookie(
        settings.DEVICE_COOKIE_NAME,
        signing.dumps(newest, salt=SALT),
        max_age=settings.DEVICE_COOKIE_DAYS * 24 * 3600,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )


def _device_accounts(request: HttpRequest) -> dict[str, str]:
    text = request.COOKIES.get(settings.DEVICE_COOKIE_NAME, "")
    try:
        return dict(signing.loads(text, salt=SALT, max_age=settings.DEVICE_COOKIE_DAYS * 24 * 3600))
    except (signing.BadSignature, TypeError, ValueError):
        return {}
