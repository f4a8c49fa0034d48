"""Throttling of password and code attempts, without letting anyone lock people out of their known devices.

Failed attempts are counted per address, per account, and per pair of both. A browser that signed in to the account
before has a device cookie and a counter of its own: attempts by strangers on the account or from the same office do
not slow it down (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). Existing and unknown names are
counted alike, so that a wait does not reveal which ones exist.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address

from uploads.errors import TooManyAttempts
from uploads.models import Attempt, Limit
from uploads.models.audit import current_client_ip
from uploads.services import sign_in_events

# One address trying one account: typing errors or guesses.
PAIR_LIMIT = Limit(free=5, first_seconds=30, longest_seconds=3600, leak_seconds=3600)
# All attempts from one address, which a whole office may share.
ADDRESS_LIMIT = Limit(free=30, first_seconds=30, longest_seconds=3600, leak_seconds=600)
# All attempts on one account, from anywhere. Short, because its owner also waits on a device that is not yet known.
ACCOUNT_LIMIT = Limit(free=10, first_seconds=30, longest_seconds=300, leak_seconds=3600)
# Single sign-ons started from one address and not completed; a whole office may share it.
SSO_LIMIT = Limit(free=60, first_seconds=10, longest_seconds=300, leak_seconds=20)
SHARED_LIMIT = (ADDRESS_LIMIT, SSO_LIMIT)
IPV6_PREFIX = 64  # the size of one customer's network; RFC 6177


@dataclass(frozen=True)
class Throttle:
    """One attempt on an account. It is counted before it is checked, so that concurrent attempts are all counted."""

    name: str
    limits: Mapping[str, Limit]

    def begin(self) -> None:
        """Count the attempt. Raises TooManyAttempts if one of the counters is over its limit."""
        self._require_no_wait(Attempt.objects.wait(self.limits))
        waits = {key: Attempt.objects.increment(key, limit) for key, limit in self.limits.items()}
        if None in waits.values():
            self._require_no_wait(max(1, Attempt.objects.wait(self.limits)))
        Attempt.objects.clear_old()

    def failed(self) -> None:
        """Record the throttling if the next attempt has to wait."""
        if seconds := Attempt.objects.wait(self.limits):
            sign_in_events.on_throttled(self.name, seconds=seconds)

    def succeeded(self) -> None:
        """Reset the account's counters. A shared counter only loses this attempt: the others may be by other people."""
        Attempt.objects.forget(key for key, limit in self.limits.items() if limit not in SHARED_LIMIT)
        for key, limit in self.limits.items():
            if limit in SHARED_LIMIT:
                Attempt.objects.forgive(key)

    def cancel(self) -> None:
        """Uncount the attempt: an error ended it before its outcome was known."""
        for key in self.limits:
            Attempt.objects.forgive(key)

    def _require_no_wait(self, seconds: int) -> None:
        if seconds:
            raise TooManyAttempts(seconds)


def password_throttle(name: str, *, browser: str | None) -> Throttle:
    """Return the throttle for passwords of the account; `browser` is the id of a known device."""
    account = digest(name)
    if browser:
        return Throttle(name, {f"browser:{account}:{browser}": PAIR_LIMIT})
    network = _network()
    return Throttle(
        name,
        {
            f"pair:{account}:{network}": PAIR_LIMIT,
            f"address:{network}": ADDRESS_LIMIT,
            f"account:{account}": ACCOUNT_LIMIT,
        },
    )


def code_throttle(name: str, *, browser: str | None) -> Throttle:
    """Return the throttle for codes of the second factor: of a million codes, three are valid at a time."""
    account = digest(name)
    if browser:
        return Throttle(name, {f"code:{account}:{browser}": PAIR_LIMIT})
    return Throttle(name, {f"code:{account}:{_network()}": PAIR_LIMIT, f"code:{account}": ACCOUNT_LIMIT})


def reauthentication_throttle(name: str) -> Throttle:
    """Return the throttle for passwords that a signed-in person is asked for again."""
    return Throttle(name, {f"again:{digest(name)}": PAIR_LIMIT})


def sso_throttle() -> Throttle:
    """Return the throttle for started single sign-ons, each of which costs a session and a request to the provider."""
    return Throttle("single sign-on", {f"sso:{_network()}": SSO_LIMIT})


def digest(name: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFKC", name).casefold().encode("utf-8", "replace")).hexdigest()[:32]


def _network() -> str:
    """Return the client's IPv4 address, or for IPv6 the network that one customer has."""
    text = current_client_ip()
    if not text:
        return "nowhere"
    address = ip_address(text)
    return str(IPv6Network((address, IPV6_PREFIX), strict=False)) if address.version == 6 else text
