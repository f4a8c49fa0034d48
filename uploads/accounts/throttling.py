"""Throttling of password and code attempts, without letting anyone lock people out of their known devices.

Failed attempts are counted per address, per account, and per pair of both. A browser that signed in to the account
before has a device cookie and a token bucket of its own: attempts by strangers on the account or from the same office
do not slow it down (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). Existing and unknown names are
counted alike, so that a wait does not reveal which ones exist.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponseBase

from uploads.models import Limit, TokenBucket
from uploads.models.audit import current_client_ip
from uploads.models.throttle import client_network
from uploads.services import sign_in_events

# One address trying one account, or one known device: typing errors or guesses.
PAIR_LIMIT = Limit(capacity=5, refill_seconds=300)
# All attempts on one account, from anywhere. Short, because its owner also waits on a device that is not yet known.
ACCOUNT_LIMIT = Limit(capacity=10, refill_seconds=240)
# All attempts from one address, which a whole office may share.
ADDRESS_LIMIT = Limit(capacity=30, refill_seconds=120, shared=True)
# Single sign-ons started from one address and not completed; a whole office may share it.
SSO_LIMIT = Limit(capacity=60, refill_seconds=20, shared=True)
# Sign-ins with a passkey started from one address and not completed.
PASSKEY_LIMIT = Limit(capacity=60, refill_seconds=20, shared=True)

# Mails with a link for a new password: to one address, and requested from one network.
RESET_LIMIT = Limit(capacity=3, refill_seconds=900)
RESET_NETWORK_LIMIT = Limit(capacity=10, refill_seconds=120, shared=True)

SALT = "amalga.known"
MAX_ACCOUNTS = 5  # per device


@dataclass
class Throttle:
    """One attempt on an account. It is counted before it is checked, so that concurrent attempts are all counted.

    Use it as a context manager around the check: a ValidationError is a failed attempt, any other error none.
    """

    name: str
    limits: Mapping[str, Limit]
    next_seconds: int = 0  # until the next attempt

    def begin(self) -> None:
        """Count the attempt. Raises TooManyAttempts if one of the limits is reached."""
        self.next_seconds = TokenBucket.objects.take(self.limits)
        TokenBucket.objects.delete_full()

    def succeeded(self) -> None:
        """Reset the account's limits. A shared one only gets this attempt back: the others may be by other people."""
        TokenBucket.objects.refill(key for key, limit in self.limits.items() if not limit.shared)
        TokenBucket.objects.give_back({key: limit for key, limit in self.limits.items() if limit.shared})

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            self.succeeded()
        elif not isinstance(error, ValidationError):  # the cache is unavailable, for example
            TokenBucket.objects.give_back(self.limits)
        elif self.next_seconds:
            sign_in_events.on_throttled(self.name, seconds=self.next_seconds)


def password_throttle(name: str, *, device: str | None) -> Throttle:
    """Return the throttle for passwords of the account; `device` is the id of a known device."""
    account = digest(name)
    if device:
        return Throttle(name, {f"device:{account}:{device}": PAIR_LIMIT})
    network = _network()
    return Throttle(
        name,
        {
            f"pair:{account}:{network}": PAIR_LIMIT,
            f"address:{network}": ADDRESS_LIMIT,
            f"account:{account}": ACCOUNT_LIMIT,
        },
    )


def code_throttle(name: str, *, device: str | None) -> Throttle:
    """Return the throttle for codes of the second factor: of a million codes, three are valid at a time."""
    account = digest(name)
    if device:
        return Throttle(name, {f"code:{account}:{device}": PAIR_LIMIT})
    return Throttle(name, {f"code:{account}:{_network()}": PAIR_LIMIT, f"code:{account}": ACCOUNT_LIMIT})


def reauthentication_throttle(name: str) -> Throttle:
    """Return the throttle for passwords that a signed-in person is asked for again."""
    return Throttle(name, {f"again:{digest(name)}": PAIR_LIMIT})


def sso_throttle() -> Throttle:
    """Return the throttle for started single sign-ons, each of which costs a session and a request to the provider."""
    return Throttle("single sign-on", {f"sso:{_network()}": SSO_LIMIT})


def passkey_throttle() -> Throttle:
    """Return the throttle for started sign-ins with a passkey, each of which costs a session."""
    return Throttle("passkey", {f"passkey:{_network()}": PASSKEY_LIMIT})


def reset_throttle(email: str) -> Throttle:
    """Return the throttle for mails with a link for a new password; known and unknown addresses are counted alike."""
    return Throttle(
        "password reset", {f"reset:{digest(email)}": RESET_LIMIT, f"reset:{_network()}": RESET_NETWORK_LIMIT}
    )


def device_id(request: HttpRequest, name: str) -> str | None:
    """Return this browser's id if the account called `name` has signed in with it before, or None."""
    return _device_accounts(request).get(digest(name))


def set_device_cookie(request: HttpRequest, response: HttpResponseBase, name: str) -> None:
    """Remember in a signed cookie that the account called `name` has signed in with this browser.

    The cookie gives no access.
    """
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


def digest(name: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFKC", name).casefold().encode("utf-8", "replace")).hexdigest()[:32]


def _network() -> str:
    return client_network(current_client_ip())
