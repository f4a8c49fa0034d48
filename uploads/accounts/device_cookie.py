"""Known devices: a signed cookie with the accounts that have signed in with a browser.

It gives no access; it only makes throttling milder.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase

from uploads.accounts.throttling import digest

SALT = "amalga.known"
MAX_ACCOUNTS = 5  # per browser


def device_id(request: HttpRequest, name: str) -> str | None:
    """Return this browser's id if the account called `name` has signed in with it before, or None."""
    return _device_accounts(request).get(digest(name))


def set_device_cookie(request: HttpRequest, response: HttpResponseBase, name: str) -> None:
    accounts = _device_accounts(request)
    accounts[digest(name)] = accounts.pop(digest(name), "") or secrets.token_hex(16)
    newest = dict(list(accounts.items())[-MAX_ACCOUNTS:])
    response.set_cookie(
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
