"""What a provider says about a person: their ID, their address, and their groups. Nothing in it is trusted as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from allauth.socialaccount import app_settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import validate_email

MAX_GROUPS = 10_000  # Entra ID sends 200 at most, Keycloak all
MAX_ADDRESS_CHARACTERS = 254  # RFC 5321, 4.5.3.1.3, and Django's field
MAX_NAME_CHARACTERS = 150  # of Django's fields
ASCII_LOWERCASE = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True)
class Policy:
    """What the settings let one provider decide (amalga/settings/single_sign_on.py)."""

    vendor: str = ""  # entra, google, or "" where that makes no difference
    domains: tuple[str, ...] = ()
    trust_email: bool = False
    create_accounts: bool = False
    default_role: str = ""
    groups_claim: str = "groups"
    role_map: Mapping[str, str] | None = None
    team_map: Mapping[str, str] | str | None = None

    @classmethod
    def of(cls, app: Any) -> Policy:
        options = dict(app.settings.get("policy", {}))
        return cls(**{**options, "domains": tuple(options.get("domains", ()))})


class GroupsUnavailable(Exception):
    """The provider sent no usable list of groups. `reason`: overage, too_many or malformed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Claims:
    """The claims of a verified ID token, and those of the user info endpoint for the same `sub`."""

    id_token: Mapping[str, Any]
    userinfo: Mapping[str, Any]
    policy: Policy

    @property
    def subject(self) -> str:
        """Return the provider's permanent ID of the person.

        Entra ID's `sub` differs for each app registration; its `oid` is the same in the whole tenant, which is part
        of the issuer. Raises PermissionDenied without a usable one.
        """
        subject = self.id_token.get("oid" if self.policy.vendor == "entra" else "sub")
        usable = isinstance(subject, str) and subject.isprintable() and 0 < len(subject) <= app_settings.UID_MAX_LENGTH
        if not usable:
            raise PermissionDenied
        return str(subject)

    @property
    def address(self) -> str:
        """Return the e-mail address that is the person's own, as the provider wrote it, or "".

        It is if the provider verified it, or if OIDC_TRUST_EMAIL is on and it is in one of OIDC_DOMAINS.
        """
        verified = self._verified_addresses()
        trusted = (address for address in self._trusted_addresses() if self.is_in_domains(address))
        return next((address for address in (*verified, *trusted) if _is_address(address)), "")

    def _verified_addresses(self) -> Iterator[Any]:
        for claims in (self.id_token, self.userinfo):
            if claims.get("email_verified") is True and self._is_authoritative(claims):
                yield claims.get("email")
        # Entra ID: the tenant owns the address's domain. An optional claim.
        if self.policy.vendor == "entra" and self.id_token.get("xms_edov") in (True, "1", "true"):
            yield self.id_token.get("email")

    def _is_authoritative(self, claims: Mapping[str, Any]) -> bool:
        """Return whether the provider still knows whose address it is.

        Google verifies other providers' addresses once, when the account is made: its documentation says to rely on
        those of Gmail and of a Workspace domain (`hd`) alone.
        """
        if self.policy.vendor != "google":
            return True
        email = str(claims.get("email", ""))
        return bool(self.id_token.get("hd")) or email.translate(ASCII_LOWERCASE).endswith("@gmail.com")

    def _trusted_addresses(self) -> Iterator[Any]:
        """Yield addresses that the organization's own directory has, even if it does not say that they are verified.

        Guests of an Entra tenant have addresses that their home tenant chose.
        """
        if not self.policy.trust_email or self.policy.vendor == "google" or self._is_guest():
            return
        yield self.id_token.get("email")
        yield self.userinfo.get("email")
        if self.policy.vendor == "entra":
            yield self.id_token.get("preferred_username")

    def _is_guest(self) -> bool:
        home = self.id_token.get("idp", self.id_token["iss"])
        return self.policy.vendor == "entra" and (home != self.id_token["iss"] or self.id_token.get("acct") in (1, "1"))

    def is_in_domains(self, address: Any) -> bool:
        domain = str(address).rpartition("@")[2].translate(ASCII_LOWERCASE)
        return domain in self.policy.domains

    def text(self, name: str) -> str:
        """Return a claim as one line of printable characters, or ""."""
        value = self.id_token.get(name) or self.userinfo.get(name)
        return "".join(filter(str.isprintable, value)).strip()[:MAX_NAME_CHARACTERS] if isinstance(value, str) else ""

    def groups(self) -> set[str]:
        """Return the person's groups or roles at the provider.

        None at all if the claim is missing: Entra ID and Okta leave it out for a person without groups. Raises
        GroupsUnavailable if the provider has groups that it did not send, or sent what is no list of groups.
        """
        sources = (self.id_token, self.userinfo)
        values = [value for claims in sources if (value := _claim(claims, self.policy.groups_claim)) is not None]
        if not values:
            if any(self._is_overage(claims) for claims in sources):
                raise GroupsUnavailable("overage")
            return set()
        groups = [values[0]] if isinstance(values[0], str) else values[0]
        if not isinstance(groups, list):
            raise GroupsUnavailable("malformed")
        if len(groups) > MAX_GROUPS:
            raise GroupsUnavailable("too_many")
        return {group for group in groups if isinstance(group, str)}

    def _is_overage(self, claims: Mapping[str, Any]) -> bool:
        """Return whether Entra ID left out the groups because there are more than fit into a token."""
        names = claims.get("_claim_names")
        return claims.get("hasgroups") is True or (isinstance(names, dict) and self.policy.groups_claim in names)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim with this name, or the one at this path, such as `realm_access.roles`; None without one."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _is_address(address: Any) -> bool:
    if not isinstance(address, str) or not address.isprintable() or len(address) > MAX_ADDRESS_CHARACTERS:
        return False
    try:
        validate_email(address)
    except ValidationError:
        return False
    return True


def is_same_address(first: str, second: str) -> bool:
    """Return whether two e-mail addresses are equal but for the case of ASCII letters.

    Postgres' UPPER and Python's lower() also equate letters that are not the same: U+0131 and i, U+017F and s, U+212A
    and k. A look-alike domain can be registered and its address verified (as in CVE-2019-19844).
    """
    return first.translate(ASCII_LOWERCASE) == second.translate(ASCII_LOWERCASE)
