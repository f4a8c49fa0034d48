"""ID token claims and userinfo of five identity providers, by their documentation.

- Entra ID: learn.microsoft.com/entra/identity-platform/id-token-claims-reference, optional-claims-reference, userinfo
- Google: developers.google.com/identity/openid-connect/openid-connect#an-id-tokens-payload
- Okta: developer.okta.com/docs/api/openapi/okta-oauth/guides/overview (ID token, claims of the scopes)
- Keycloak: keycloak.org/docs/latest/server_admin (client scopes and protocol mappers)
- authentik: its blueprint of the default scope mappings (blueprints/system/providers-oauth2.yaml)
"""

from __future__ import annotations

from typing import Any

from tests.support.oidc_provider import Identity

TENANT = "833ced3d-cb2e-41de-92f1-29e2af035ddc"
OTHER_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
OBJECT_ID = "cb7eda1b-d09a-40ae-b8bb-37836ebc6abd"
GROUP_ID = "0760b6cf-170e-4a14-91b3-4b78e0739963"


def _say(provider: Identity, sub: str, id_token: dict[str, Any], userinfo: dict[str, Any]) -> None:
    provider.claims = id_token
    provider.person = {"sub": sub, **userinfo}


def entra(provider: Identity, address: str, **claims: Any) -> None:
    """No `email_verified`; `email` and `groups` only if the app registration requests these optional claims."""
    id_token = {
        "ver": "2.0", "tid": TENANT, "oid": OBJECT_ID, "preferred_username": address, "name": "Alice Doe",
        "rh": "0.AX0A", "uti": "kl6Ij0Zp", "nbf": 1, **claims,
    }  # fmt: skip
    _say(provider, "3OBtLXUC2ZrN_ADLNjW9X4o0lcd61py7lgHw3Skh77s", id_token, {
        "name": "Alice Doe", "family_name": "Doe", "given_name": "Alice",
        "picture": "https://graph.microsoft.com/v1.0/me/photo/$value", "email": claims.get("email", address),
    })  # fmt: skip


def entra_overage(provider: Identity, address: str, **claims: Any) -> None:
    """More groups than fit into a token: a link to Microsoft Graph instead."""
    endpoint = f"https://graph.microsoft.com/v1.0/users/{OBJECT_ID}/getMemberObjects"
    entra(provider, address, _claim_names={"groups": "src1"}, _claim_sources={"src1": {"endpoint": endpoint}}, **claims)


def google(provider: Identity, address: str, *, workspace: str | None = None) -> None:
    """`hd` only for accounts of a Workspace; no groups."""
    person = {"email": address, "email_verified": True, "name": "Alice Doe", "given_name": "Alice",
              "family_name": "Doe", "picture": "https://lh3.googleusercontent.com/a/x"}  # fmt: skip
    domain = {"hd": workspace} if workspace else {}
    _say(provider, "110169484474386276334", {**person, **domain, "azp": "amalga", "at_hash": "HK6E"}, person)


def okta(provider: Identity, address: str, *, groups: list[str] | None = None) -> None:
    """`groups` in the ID token alone, with the scope groups and a filter in the application."""
    person = {"name": "Alice Doe", "email": address, "email_verified": True, "preferred_username": address,
              "given_name": "Alice", "family_name": "Doe", "zoneinfo": "America/Los_Angeles", "locale": "en-US",
              "updated_at": 1311280970}  # fmt: skip
    id_token = {"ver": 1, "amr": ["pwd"], "auth_time": 1311280969, "idp": "00ok1u7AsAkrwdZL3z0g3", "email": address}
    _say(provider, "00uid4BxXw6I6TV4m0g3", {**id_token, **({"groups": groups} if groups else {})}, person)


def keycloak(provider: Identity, address: str, *, groups: list[str], roles: list[str], verified: bool = True) -> None:
    """Full paths of groups, and roles in an object, by mappers."""
    person = {"email": address, "email_verified": verified, "name": "Alice Doe", "preferred_username": "alice",
              "given_name": "Alice", "family_name": "Doe", "groups": groups,
              "realm_access": {"roles": roles}}  # fmt: skip
    id_token = {"typ": "ID", "azp": "amalga", "sid": "0e5a", "acr": "1", "at_hash": "x", **person}
    _say(provider, "ce7ca1f2-218e-4e87-bff8-3dc0adfe206c", id_token, person)


def authentik(provider: Identity, address: str, *, groups: list[str]) -> None:
    """Addresses are unverified by default; groups come with the scope profile."""
    person = {"email": address, "email_verified": False, "name": "Alice Doe", "given_name": "Alice Doe",
              "preferred_username": "alice", "nickname": "alice", "groups": groups}  # fmt: skip
    sub = "44e8b8d0f3f2a1d1c8e8d5b8b7c6a5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8"
    _say(provider, sub, {"acr": "goauthentik.io/providers/oauth2/default", "amr": ["pwd"], **person}, person)
