"""Single sign-on: the OpenID Connect providers, and what each of them may decide here.

One provider has the variables OIDC_ISSUER, OIDC_CLIENT_ID, …. Several are named in OIDC_PROVIDERS, and each has
variables of its own, such as OIDC_ENTRA_ISSUER; what all of them share can be set once, such as OIDC_DOMAINS.
"""

import re
from hashlib import sha256
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.settings.base import HTTPS
from amalga.settings.env import boolean, string, string_list, url, validated

__all__ = [
    "SOCIALACCOUNT_ADAPTER", "SOCIALACCOUNT_EMAIL_VERIFICATION", "SOCIALACCOUNT_PROVIDERS",
    "SOCIALACCOUNT_REQUESTS_TIMEOUT", "SOCIALACCOUNT_STORE_TOKENS", "SSO_ONLY",
]  # fmt: skip

# Each provider's own; OIDC_PROVIDERS excludes them without a provider's name.
IDENTITY = ("ISSUER", "CLIENT_ID", "CLIENT_SECRET", "NAME")
# Set for one provider, or for all.
SHARED = (
    "SCOPES", "DOMAINS", "TRUST_EMAIL", "CREATE_ACCOUNTS", "DEFAULT_ROLE", "GROUPS_CLAIM", "ROLE_MAP", "TEAM_MAP",
)  # fmt: skip
ROLES = ("viewer", "uploader", "manager", "administrator")  # uploads.accounts.roles.Role
RESERVED_NAMES = {"back", "connect"}  # paths under /accounts/sso/
SCOPES = "openid profile email"
ALL_TEAMS = "*"
GOOGLE = "https://accounts.google.com"
# Entra ID's clouds: worldwide, US government, China
ENTRA_HOSTS = {"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn"}
TENANT_PATH = re.compile(r"/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/v2\.0")
NAME = re.compile(r"[a-z][a-z0-9]{0,19}")


def variable(provider: str, option: str) -> str:
    """Return the name of the variable that holds this option of the provider: its own, or the shared one."""
    own = f"OIDC_{provider.upper()}_{option}"
    if not provider or (option in SHARED and not string(own)):
        return f"OIDC_{option}"
    return own


def providers() -> list[dict[str, Any]]:
    names = string_list("OIDC_PROVIDERS")
    single_variables = [f"OIDC_{option}" for option in (*IDENTITY, *SHARED) if string(f"OIDC_{option}")]
    if not names:
        return [provider("")] if single_variables else []
    for name in names:
        if not NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise ImproperlyConfigured(
                "OIDC_PROVIDERS must be names of up to 20 lowercase letters and digits, other than back and connect, "
                f"not “{name[:50]}”."
            )
    if single := [name for name in single_variables if name.removeprefix("OIDC_") in IDENTITY]:
        raise ImproperlyConfigured(
            f"{single[0]} and OIDC_PROVIDERS are both set: with OIDC_PROVIDERS, set "
            f"{variable(names[0], single[0].removeprefix('OIDC_'))} instead."
        )
    apps = [provider(name) for name in dict.fromkeys(names)]
    if len({app["provider_id"] for app in apps}) < len(apps):
        raise ImproperlyConfigured("OIDC_PROVIDERS names two providers with the same issuer.")
    return apps


def provider(name: str) -> dict[str, Any]:
    """Return django-allauth's settings of one provider."""
    values = {option: string(variable(name, option)) for option in (*IDENTITY, *SHARED)}
    for option in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"):
        if not values[option]:
            other = next((variable(name, other) for other, value in values.items() if value), "OIDC_PROVIDERS")
            raise ImproperlyConfigured(f"{variable(name, option)} is not set, but {other} is.")
    server, vendor = issuer(variable(name, "ISSUER"), values["ISSUER"])
    return {
        # specific to the issuer: the same user ID at another issuer is another person
        "provider_id": f"sso-{sha256(server.encode()).hexdigest()[:12]}",
        "name": values["NAME"] or name.capitalize() or "single sign-on",
        "client_id": values["CLIENT_ID"],
        "secret": values["CLIENT_SECRET"],
        "settings": {
            "server_url": server,
            "oauth_pkce_enabled": True,
            "scope": scopes(variable(name, "SCOPES")),
            "slug": name,
            "policy": {"vendor": vendor, **policy(name)},
        },
    }


def issuer(name: str, text: str) -> tuple[str, str]:
    """Return the issuer without its last slash, and whose it is, if that makes a difference."""
    parts = url(name, text)
    if parts.scheme != "https" and HTTPS:
        raise ImproperlyConfigured(f"{name} must be an https:// URL.")
    server = text.rstrip("/")
    if server == GOOGLE:
        return server, "google"
    if parts.hostname not in ENTRA_HOSTS:
        return server, ""
    if not TENANT_PATH.fullmatch(parts.path.rstrip("/")):
        raise ImproperlyConfigured(
            f"{name} must be https://{parts.hostname}/TENANT-ID/v2.0 for Entra ID, with your own tenant's ID in lower "
            "case."
        )
    return server, "entra"


def scopes(name: str) -> list[str]:
    words = (string(name) or SCOPES).replace(",", " ").split()
    for word in words:
        validated(name, word, r"[\x21\x23-\x5b\x5d-\x7e]+", expected="scopes, separated by spaces")
    if "openid" not in words:
        raise ImproperlyConfigured(f"{name} must contain the scope openid.")
    return words


def policy(name: str) -> dict[str, Any]:
    """Return what the provider may decide: whose address it vouches for, who gets an account, and roles."""
    domains = [domain.lower().removeprefix("@") for domain in string_list(variable(name, "DOMAINS"))]
    for domain in domains:
        validated(
            variable(name, "DOMAINS"), domain, r"[a-z0-9-]+(\.[a-z0-9-]+)+", expected="domains such as example.org"
        )
    switches = {option: boolean(variable(name, option), default=False) for option in ("TRUST_EMAIL", "CREATE_ACCOUNTS")}
    for option, is_on in switches.items():
        if is_on and not domains:
            raise ImproperlyConfigured(
                f"{variable(name, option)} is on, but {variable(name, 'DOMAINS')} is not set: name your organization's "
                "domains."
            )
    return {
        "domains": domains,
        "trust_email": switches["TRUST_EMAIL"],
        "create_accounts": switches["CREATE_ACCOUNTS"],
        "default_role": default_role(variable(name, "DEFAULT_ROLE")),
        "groups_claim": string(variable(name, "GROUPS_CLAIM")) or "groups",
        "role_map": role_map(variable(name, "ROLE_MAP")),
        "team_map": team_map(variable(name, "TEAM_MAP")),
    }


def default_role(name: str) -> str:
    role = string(name) or "viewer"
    expected = "viewer, uploader, manager or none"
    return validated(name, role, "viewer|uploader|manager|none", expected=expected).replace("none", "")


def role_map(name: str) -> dict[str, str]:
    roles = pairs(name, string(name))
    for role in roles.values():
        validated(name, role, "|".join(ROLES), expected=f"pairs group=role with the roles {', '.join(ROLES)}")
    return roles


def team_map(name: str) -> dict[str, str] | str:
    if string(name) == ALL_TEAMS:
        return ALL_TEAMS
    teams = pairs(name, string(name))
    for team in teams.values():
        if team in {f"{role}s" for role in ROLES}:
            raise ImproperlyConfigured(
                f"{name} must name teams, not the role “{team}”: use {name.replace('TEAM', 'ROLE')}."
            )
    return teams


def pairs(name: str, text: str) -> dict[str, str]:
    """Return `group=value` pairs. Separated by commas, or by semicolons if the names of groups have commas."""
    items = [item.strip() for item in text.split(";" if ";" in text else ",") if item.strip()]
    split = [item.rpartition("=") for item in items]
    if not all(group.strip() and value.strip() for group, _, value in split):
        raise ImproperlyConfigured(f"{name} must be pairs such as group=value, separated by commas.")
    return {group.strip(): value.strip() for group, _, value in split}


SOCIALACCOUNT_ADAPTER = "uploads.accounts.oidc.SocialAccountAdapter"
SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": providers()}}
SOCIALACCOUNT_EMAIL_VERIFICATION = "none"
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 2

SSO_ONLY = boolean("SSO_ONLY", default=False)
if SSO_ONLY and not SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]:
    raise ImproperlyConfigured("SSO_ONLY is on, but no provider is configured: set OIDC_ISSUER or OIDC_PROVIDERS.")
