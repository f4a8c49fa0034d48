"""Settings of single sign-on: one or several providers, and their policies."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from amalga.settings import single_sign_on
from tests.amalga import test_settings
from uploads.accounts.claims import Policy
from uploads.accounts.roles import Role

SSO = {"OIDC_ISSUER": "https://id.example.org", "OIDC_CLIENT_ID": "amalga", "OIDC_CLIENT_SECRET": "s3cret"}
TENANT = "833ced3d-cb2e-41de-92f1-29e2af035ddc"
TWO = {
    "OIDC_PROVIDERS": "entra, google",
    "OIDC_ENTRA_ISSUER": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "OIDC_ENTRA_CLIENT_ID": "e-1",
    "OIDC_ENTRA_CLIENT_SECRET": "s3cret",
    "OIDC_GOOGLE_ISSUER": "https://accounts.google.com",
    "OIDC_GOOGLE_CLIENT_ID": "g-1",
    "OIDC_GOOGLE_CLIENT_SECRET": "s3cret",
}


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[dict[str, Any]]:
    for name in [name for name in os.environ if name.startswith(("OIDC_", "SSO_"))]:
        monkeypatch.delenv(name)
    apps: list[dict[str, Any]] = test_settings.read(monkeypatch, **variables)["SOCIALACCOUNT_PROVIDERS"][
        "openid_connect"
    ]["APPS"]
    return apps


def test_oidc_variables_configure_one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    (app,) = read(monkeypatch, **SSO, OIDC_NAME="Example")
    assert (app["name"], app["client_id"], app["settings"]["server_url"]) == ("Example", "amalga", SSO["OIDC_ISSUER"])


@pytest.mark.parametrize("missing", SSO)
def test_incomplete_oidc_variables_are_refused(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{missing} is not set") as error:
        read(monkeypatch, **{name: value for name, value in SSO.items() if name != missing})
    assert "s3cret" not in str(error.value)


def test_oidc_name_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="OIDC_ISSUER is not set, but OIDC_NAME is"):
        read(monkeypatch, OIDC_NAME="Example")


@pytest.mark.parametrize("issuer", ["id.example.org", "ftp://id.example.org", "https://", "http://id.example.org"])
def test_issuer_must_be_an_https_url(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="OIDC_ISSUER"):
        read(monkeypatch, **{**SSO, "OIDC_ISSUER": issuer})


def test_trailing_slash_of_the_issuer_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authentik's issuer ends with a slash."""
    (app,) = read(monkeypatch, **{**SSO, "OIDC_ISSUER": "https://id.example.org/application/o/amalga/"})
    assert app["settings"]["server_url"] == "https://id.example.org/application/o/amalga"


def test_default_policy_grants_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (app,) = read(monkeypatch, **SSO)
    assert app["settings"]["scope"] == ["openid", "profile", "email"]
    assert app["settings"]["policy"] == {
        "vendor": "", "domains": [], "trust_email": False, "create_accounts": False, "default_role": "viewer",
        "groups_claim": "groups", "role_map": {}, "team_map": {},
    }  # fmt: skip
    assert Policy(**app["settings"]["policy"])


def test_several_providers_have_their_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    entra, google = read(monkeypatch, **TWO, OIDC_ENTRA_NAME="Entra ID")
    assert [app["name"] for app in (entra, google)] == ["Entra ID", "Google"]
    assert [app["client_id"] for app in (entra, google)] == ["e-1", "g-1"]
    assert [app["settings"]["slug"] for app in (entra, google)] == ["entra", "google"]
    assert [app["settings"]["policy"]["vendor"] for app in (entra, google)] == ["entra", "google"]


def test_provider_id_stays_when_a_provider_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    google, single = TWO["OIDC_GOOGLE_ISSUER"], {**SSO, "OIDC_ISSUER": TWO["OIDC_GOOGLE_ISSUER"]}
    assert google
    (before,) = read(monkeypatch, **single)
    after = read(monkeypatch, **{**dict.fromkeys(SSO, ""), **TWO})[1]
    assert before["provider_id"] == after["provider_id"]


def test_options_are_shared_unless_a_provider_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    entra, google = read(
        monkeypatch, **TWO, OIDC_DOMAINS="Example.org, @example.com", OIDC_ENTRA_CREATE_ACCOUNTS="on",
        OIDC_DEFAULT_ROLE="uploader", OIDC_GOOGLE_DEFAULT_ROLE="none", OIDC_ENTRA_SCOPES="openid groups",
    )  # fmt: skip
    first, second = entra["settings"]["policy"], google["settings"]["policy"]
    assert first["domains"] == second["domains"] == ["example.org", "example.com"]
    assert (first["create_accounts"], second["create_accounts"]) == (True, False)
    assert (first["default_role"], second["default_role"]) == ("uploader", "")
    assert (entra["settings"]["scope"], google["settings"]["scope"][0]) == (["openid", "groups"], "openid")


@pytest.mark.parametrize("missing", [name for name in TWO if name != "OIDC_PROVIDERS"])
def test_incomplete_provider_is_refused_by_its_own_variable(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{missing} is not set"):
        read(monkeypatch, **{name: value for name, value in TWO.items() if name != missing})


def test_two_providers_with_one_issuer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="OIDC_PROVIDERS"):
        read(monkeypatch, **{**TWO, "OIDC_ENTRA_ISSUER": "https://accounts.google.com/"})


def test_option_of_a_provider_is_refused_by_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImproperlyConfigured, match="OIDC_GOOGLE_ROLE_MAP must be"):
        read(monkeypatch, **TWO, OIDC_GOOGLE_ROLE_MAP="a=owner")


def test_role_and_team_maps_are_parsed_as_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    role_map = "CN=Admins,OU=Groups = administrator; CN=Staff,OU=Groups=uploader;"
    (app,) = read(monkeypatch, **SSO, OIDC_ROLE_MAP=role_map, OIDC_TEAM_MAP="/team/brand=Brand, press=Press office")
    assert app["settings"]["policy"]["role_map"] == {
        "CN=Admins,OU=Groups": "administrator", "CN=Staff,OU=Groups": "uploader",
    }  # fmt: skip
    assert app["settings"]["policy"]["team_map"] == {"/team/brand": "Brand", "press": "Press office"}


def test_all_teams_are_mapped_by_a_star(monkeypatch: pytest.MonkeyPatch) -> None:
    (app,) = read(monkeypatch, **SSO, OIDC_TEAM_MAP="*")
    assert app["settings"]["policy"]["team_map"] == "*"


def test_roles_in_the_settings_equal_the_roles_of_the_site() -> None:
    assert list(single_sign_on.ROLES) == Role.values
