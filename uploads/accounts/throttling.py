"""How often a password or a code may be tried. Nobody can lock anybody out of a browser that they know.

Wrong tries are counted by the address they come from, by the account they are about, and by both together. Whoever
signed in with a browser before is known by a cookie of that browser, and counted on their own: what strangers do to an
account or from the same office does not slow them down (OWASP, "Slow Down Online Guessing Attacks with Device
Cookies"). Known and unknown names are counted alike, so nobody learns from a wait which ones there are.
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

# Somebody at one address about one account, who types it wrong or guesses.
PAIR_LIMIT = Limit(free=5, first_seconds=30, longest_seconds=3600, leak_seconds=3600)
# All that comes from one address: an office may be behind it.
ADDRESS_LIMIT = Limit(free=30, first_seconds=30, longest_seconds=3600, leak_seconds=600)
# All that is tried on one account, from anywhere: short, for its owner waits as well, at a browser not known yet.
ACCOUNT_LIMIT = Limit(free=10, first_seconds=30, longest_seconds=300, leak_seconds=3600)
# Who sets out for single sign-on and does not come back signed in; an office may be behind it.
SSO_LIMIT = Limit(free=60, first_seconds=10, longest_seconds=300, leak_seconds=20)
SHARED_LIMIT = (ADDRESS_LIMIT, SSO_LIMIT)
IPV6_PREFIX = 64  # what one customer has; RFC 6177


@dataclass(frozen=True)
class Throttle:
    """One try about an account, counted before it is known how it goes: of many at once none gets through uncounted."""

    name: str
    limits: Mapping[str, Limit]

    def begin(self) -> None:
        """Raise TooManyAttempts when one of the counters says to wait."""
        self._refuse(Attempt.objects.wait(self.limits))
        waits = {key: Attempt.objects.increment(key, limit) for key, limit in self.limits.items()}
        if None in waits.values():
            self._refuse(max(1, Attempt.objects.wait(self.limits)))
        Attempt.objects.clear_old()

    def failed(self) -> None:
        """Say so once, when the next try has to wait."""
        if seconds := Attempt.objects.wait(self.limits):
            sign_in_events.on_throttled(self.name, seconds=seconds)

    def succeeded(self) -> None:
        """What was tried on the account before is forgotten; what came from the address is not: it may be of others."""
        Attempt.objects.forget(key for key, limit in self.limits.items() if limit not in SHARED_LIMIT)
        for key, limit in self.limits.items():
            if limit in SHARED_LIMIT:
                Attempt.objects.forgive(key)

    def taken_back(self) -> None:
        """Something broke before it was known how the try goes: as if there had been none."""
        for key in self.limits:
            Attempt.objects.forgive(key)

    def _refuse(self, seconds: int) -> None:
        if seconds:
            raise TooManyAttempts(seconds)


def password_throttle(name: str, *, browser: str | None) -> Throttle:
    """A password for this account; `browser`: the id of one that signed in to it before."""
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
    """A code of the second factor: a million of them, three right ones."""
    account = digest(name)
    if browser:
        return Throttle(name, {f"code:{account}:{browser}": PAIR_LIMIT})
    return Throttle(name, {f"code:{account}:{_network()}": PAIR_LIMIT, f"code:{account}": ACCOUNT_LIMIT})


def reauthentication_throttle(name: str) -> Throttle:
    """Somebody signed in is asked again for their password."""
    return Throttle(name, {f"again:{digest(name)}": PAIR_LIMIT})


def sso_throttle() -> Throttle:
    """Somebody goes to the provider of identities: a session and a question to the provider for each."""
    return Throttle("single sign-on", {f"sso:{_network()}": SSO_LIMIT})


def digest(name: str) -> str:
    return hashlib.sha256(unicodedata.normalize("NFKC", name).casefold().encode("utf-8", "replace")).hexdigest()[:32]


def _network() -> str:
    """The address, or for IPv6 the network in which one customer has all addresses."""
    text = current_client_ip()
    if not text:
        return "nowhere"
    address = ip_address(text)
    return str(IPv6Network((address, IPV6_PREFIX), strict=False)) if address.version == 6 else text
