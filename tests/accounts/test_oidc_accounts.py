"""Which account an identity belongs to: by the provider's ID, by address, or a new one, for each vendor's claims."""

from __future__ import annotations

import time
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount, SocialLogin
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from tests.accounts.conftest import ADDRESS, PASSWORD, configure, is_signed_in
from tests.conftest import signed_in
from tests.support import oidc_provider, oidc_vendors
from tests.support.oidc_provider import Identity, app, begin, sign_in
from uploads.accounts.roles import Role, role_of
from uploads.models import Action, Event

pytestmark = pytest.mark.django_db

TRUST = {"domains": ["example.org"], "trust_email": True}
CREATE = {"domains": ["example.org"], "create_accounts": True, "default_role": "viewer"}


@pytest.fixture
def alice(alice: User) -> User:
    alice.email = ADDRESS
    alice.save()
    return alice


def signed_in_by_sso(provider: Identity, settings: Settings, **policy: Any) -> User | None:
    """Sign in with this policy and return the signed-in user, or None."""
    configure(settings, app(provider, **policy))
    client = Client()
    status = sign_in(client).status_code
    user_id = client.session.get("_auth_user_id")
    assert status == (302 if user_id else 403)
    return User.objects.get(pk=user_id) if user_id else None


# --- vendors ------------------------------------------------------------------------------------


def test_entra_address_is_not_linked_by_default(alice: User, provider: Identity, settings: Settings) -> None:
    oidc_vendors.entra(provider, ADDRESS)
    assert signed_in_by_sso(provider, settings, vendor="entra") is None


def test_entra_address_is_linked_if_it_is_trusted(alice: User, provider: Identity, settings: Settings) -> None:
    oidc_vendors.entra(provider, ADDRESS)
    assert signed_in_by_sso(provider, settings, vendor="entra", **TRUST) == alice


def test_entra_user_name_is_used_without_an_email_claim(alice: User, provider: Identity, settings: Settings) -> None:
    oidc_vendors.entra(provider, ADDRESS)
    del provider.person["email"]
    assert signed_in_by_sso(provider, settings, vendor="entra", **TRUST) == alice


@pytest.mark.parametrize("owned", [True, "1"])
def test_entra_address_in_an_owned_domain_is_verified(
    owned: Any, alice: User, provider: Identity, settings: Settings
) -> None:
    oidc_vendors.entra(provider, ADDRESS, email=ADDRESS, xms_edov=owned)
    assert signed_in_by_sso(provider, settings, vendor="entra") == alice


@pytest.mark.parametrize("owned", [False, "0", None])
def test_entra_address_in_a_domain_that_is_not_owned_is_refused(
    owned: Any, alice: User, provider: Identity, settings: Settings
) -> None:
    oidc_vendors.entra(provider, ADDRESS, email=ADDRESS, xms_edov=owned)
    assert signed_in_by_sso(provider, settings, vendor="entra") is None


@pytest.mark.parametrize(
    "guest", [{"acct": 1}, {"idp": f"https://sts.windows.net/{oidc_vendors.OTHER_TENANT}/"}, {"idp": "live.com"}]
)
def test_entra_guest_is_not_linked_by_a_trusted_address(
    guest: dict[str, Any], alice: User, provider: Identity, settings: Settings
) -> None:
    oidc_vendors.entra(provider, ADDRESS, **guest)
    assert signed_in_by_sso(provider, settings, vendor="entra", **TRUST) is None


def test_entra_person_is_known_by_object_id(alice: User, provider: Identity, settings: Settings) -> None:
    """`sub` changes with the app registration."""
    oidc_vendors.entra(provider, ADDRESS)
    signed_in_by_sso(provider, settings, vendor="entra", **TRUST)
    assert SocialAccount.objects.get().uid == oidc_vendors.OBJECT_ID
    oidc_vendors.entra(provider, "married@example.org")
    provider.person["sub"] = "another app registration"
    assert signed_in_by_sso(provider, settings, vendor="entra", **TRUST) == alice


def test_entra_token_without_object_id_is_refused(alice: User, provider: Identity, settings: Settings) -> None:
    oidc_vendors.entra(provider, ADDRESS)
    del provider.claims["oid"]
    assert signed_in_by_sso(provider, settings, vendor="entra", **TRUST) is None


def test_trusted_address_outside_the_domains_is_refused(alice: User, provider: Identity, settings: Settings) -> None:
    User.objects.update(email="alice@partner.example")
    oidc_vendors.entra(provider, "alice@partner.example")
    assert signed_in_by_sso(provider, settings, vendor="entra", **TRUST) is None


@pytest.mark.parametrize(
    "domain", ["example.org.evil.example", "evil-example.org", "sub.example.org", "EXAMPLE.\u043erg"]
)
def test_look_alike_domain_is_not_trusted(domain: str, alice: User, provider: Identity, settings: Settings) -> None:
    User.objects.update(email=f"alice@{domain}")
    oidc_vendors.authentik(provider, f"alice@{domain}", groups=[])
    assert signed_in_by_sso(provider, settings, **TRUST) is None


def test_google_workspace_address_is_linked(alice: User, provider: Identity, settings: Settings) -> None:
    oidc_vendors.google(provider, ADDRESS, workspace="example.org")
    assert signed_in_by_sso(provider, settings, vendor="google") == alice


def test_gmail_address_is_linked(alice: User, provider: Identity, settings: Settings) -> None:
    User.objects.update(email="alice.doe@gmail.com")
    oidc_vendors.google(provider, "Alice.Doe@GMAIL.com")
    assert signed_in_by_sso(provider, settings, vendor="google") == alice


@pytest.mark.parametrize("policy", [{}, TRUST])
def test_google_account_with_a_foreign_address_is_refused(
    policy: dict[str, Any], alice: User, provider: Identity, settings: Settings
) -> None:
    """Google verified the address when the account was created, but not its owner today."""
    oidc_vendors.google(provider, ADDRESS)
    assert signed_in_by_sso(provider, settings, vendor="google", **policy) is None


def test_okta_address_is_linked(alice: User, provider: Identity, settings: Settings) -> None:
    oidc_vendors.okta(provider, ADDRESS)
    assert signed_in_by_sso(provider, settings) == alice


@pytest.mark.parametrize("verified", [True, False])
def test_keycloak_address_is_linked_if_it_is_verified(
    verified: bool, alice: User, provider: Identity, settings: Settings
) -> None:
    oidc_vendors.keycloak(provider, ADDRESS, groups=[], roles=[], verified=verified)
    assert signed_in_by_sso(provider, settings) == (alice if verified else None)


@pytest.mark.parametrize("policy", [{}, TRUST])
def test_authentik_address_is_linked_if_it_is_trusted(
    policy: dict[str, Any], alice: User, provider: Identity, settings: Settings
) -> None:
    oidc_vendors.authentik(provider, ADDRESS, groups=[])
    assert signed_in_by_sso(provider, settings, **policy) == (alice if policy else None)


# --- administrators -----------------------------------------------------------------------------


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_superuser": True}])
def test_administrator_is_not_linked_by_address(
    rights: dict[str, bool], alice: User, provider: Identity, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    User.objects.update(**rights)
    assert signed_in_by_sso(provider, settings) is None
    assert not SocialAccount.objects.exists()
    assert "single_sign_on_refused reason=administrator" in caplog.text


def connect(client: Client) -> Any:
    return client.post("/accounts/sso/connect/")


def test_administrator_connects_their_account_themselves(alice: User, provider: Identity, settings: Settings) -> None:
    User.objects.update(is_staff=True, is_superuser=True)
    provider.person = {"sub": "1001"}  # no address at all
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    assert b'href="/accounts/sso/"' in connect(client).content
    assert sign_in(client).headers["Location"] == "/accounts/security/"
    assert is_signed_in(client)
    assert signed_in_by_sso(provider, settings) == alice
    assert Event.objects.get(action=Action.TWO_FACTOR).detail == {"change": "added", "kind": "single_sign_on"}


def test_connecting_asks_for_the_password(alice: User, provider: Identity) -> None:
    client = signed_in(alice)
    assert connect(client).headers["Location"].startswith("/accounts/confirm/")
    assert client.get("/accounts/sso/").headers["Location"] == "/"
    sign_in(Client())
    assert SocialAccount.objects.count() == 1


def test_connecting_expires_after_ten_minutes(alice: User, provider: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    connect(client)
    later = time.time() + 601
    monkeypatch.setattr("uploads.accounts.oidc.time.time", lambda: later)
    assert client.get("/accounts/sso/").headers["Location"] == "/"


def test_identity_of_another_account_cannot_be_connected(alice: User, bob: User, provider: Identity) -> None:
    sign_in(Client())
    client = signed_in(bob)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    connect(client)
    sign_in(client)
    assert SocialAccount.objects.get().user == alice
    assert client.session["_auth_user_id"] == str(bob.pk)


def test_second_identity_of_a_provider_cannot_be_connected(alice: User, provider: Identity) -> None:
    sign_in(Client())
    provider.person["sub"] = "1002"
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    connect(client)
    assert sign_in(client).status_code == 403
    assert SocialAccount.objects.get().uid == "1001"


# --- disconnecting ------------------------------------------------------------------------------------


def disconnect(client: Client, identity: SocialAccount) -> Any:
    return client.post(f"/accounts/sso/connections/{identity.pk}/remove/")


def connected(user: User) -> tuple[Client, SocialAccount]:
    """Return a client that has just confirmed the password, and the connected identity."""
    sign_in(Client())
    client = signed_in(user)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    return client, SocialAccount.objects.get(user=user)


def test_disconnected_identity_is_removed_and_recorded_and_its_sessions_end(alice: User, provider: Identity) -> None:
    client, identity = connected(alice)
    other = Client()
    sign_in(other)
    assert "Disconnect from" in client.get("/accounts/security/").content.decode()
    response = client.post(f"/accounts/sso/connections/{identity.pk}/remove/", follow=True)
    assert "Disconnected from" in response.content.decode()
    assert not SocialAccount.objects.exists()
    assert is_signed_in(client)
    assert not is_signed_in(other)
    detail = Event.objects.filter(action=Action.TWO_FACTOR).latest("pk").detail
    assert detail == {"change": "removed", "kind": "single_sign_on"}


def test_only_way_to_sign_in_cannot_be_disconnected(alice: User, provider: Identity) -> None:
    client, identity = connected(alice)
    alice.set_unusable_password()
    alice.save()
    client.force_login(alice)
    assert "This is your only way to sign in." in client.get("/accounts/security/").content.decode()
    response = disconnect(client, identity)
    assert response.status_code == 409
    assert "only way to sign in" in response.content.decode()
    assert SocialAccount.objects.exists()


def test_password_does_not_count_with_sso_only(alice: User, provider: Identity, settings: Settings) -> None:
    client, identity = connected(alice)
    settings.SSO_ONLY = True
    assert disconnect(client, identity).status_code == 409


def test_identity_of_another_person_cannot_be_disconnected(alice: User, bob: User, provider: Identity) -> None:
    _client, identity = connected(alice)
    client = signed_in(bob)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    assert disconnect(client, identity).status_code == 404
    assert SocialAccount.objects.exists()


def test_disconnecting_asks_for_the_password(alice: User, provider: Identity) -> None:
    sign_in(Client())
    response = disconnect(signed_in(alice), SocialAccount.objects.get())
    assert response.headers["Location"].startswith("/accounts/confirm/")
    assert SocialAccount.objects.exists()


def test_connecting_without_a_provider_is_404(alice: User) -> None:
    client = signed_in(alice)
    client.post("/accounts/confirm/", {"password": PASSWORD})
    assert connect(client).status_code == 404


# --- new accounts -------------------------------------------------------------------------------


def test_account_is_created_with_the_default_role(roles: None, provider: Identity, settings: Settings) -> None:
    oidc_vendors.okta(provider, ADDRESS)
    user = signed_in_by_sso(provider, settings, **CREATE)
    assert user is not None
    assert (user.get_username(), user.email, user.get_full_name()) == ("alice", ADDRESS, "Alice Doe")
    assert role_of(user) == Role.VIEWER
    assert not user.has_usable_password()
    assert not user.is_staff
    assert signed_in_by_sso(provider, settings, **CREATE) == user
    assert Event.objects.get(action=Action.ACCOUNT).detail == {"change": "created", "how": "single_sign_on"}


def test_account_is_created_without_a_role(roles: None, provider: Identity, settings: Settings) -> None:
    user = signed_in_by_sso(provider, settings, **{**CREATE, "default_role": ""})
    assert user is not None
    assert role_of(user) is None


def test_concurrent_first_sign_ins_create_one_account(
    roles: None, provider: Identity, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sign-in looks up the identity before the first one has linked it."""
    first = signed_in_by_sso(provider, settings, **CREATE)
    monkeypatch.setattr(SocialLogin, "_lookup_by_socialaccount", lambda _login: False)
    assert signed_in_by_sso(provider, settings, **CREATE) == first
    assert SocialAccount.objects.count() == 1


@pytest.mark.parametrize("address", ["alice@evil.example", "alice@example.org.evil.example", "alice@sub.example.org"])
def test_no_account_is_created_outside_the_domains(
    address: str, roles: None, provider: Identity, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    provider.person["email"] = address
    assert signed_in_by_sso(provider, settings, **CREATE) is None
    assert "single_sign_on_refused reason=domain" in caplog.text
    assert not User.objects.exists()


def test_no_account_is_created_for_an_unverified_address(roles: None, provider: Identity, settings: Settings) -> None:
    """Otherwise the account would block the owner of the address and get their mail."""
    provider.person["email_verified"] = False
    assert signed_in_by_sso(provider, settings, **CREATE) is None
    assert not User.objects.exists()


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": True}])
def test_no_second_account_is_created_for_an_address(
    change: dict[str, bool], alice: User, provider: Identity, settings: Settings
) -> None:
    User.objects.update(**change)
    assert signed_in_by_sso(provider, settings, **CREATE) is None
    assert User.objects.count() == 1


def test_account_of_someone_who_left_is_not_created_again(alice: User, provider: Identity, settings: Settings) -> None:
    signed_in_by_sso(provider, settings, **CREATE)
    User.objects.update(is_active=False)
    assert signed_in_by_sso(provider, settings, **CREATE) is None
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("preferred", "username"),
    [
        ("Alice", "alice"),
        ("ALICE@example.org", "alice"),
        ("\u0430lice", "lice"),  # Cyrillic
        ("../../etc", "etc"),
        ("a" * 400, "a" * 140),
        ("\u2603", "user"),
        ("", "asmith"),
        (["admin"], "asmith"),
        ({"a": 1}, "asmith"),
        ("<script>\x00", "script"),
    ],
)
def test_user_name_is_plain_ascii(
    preferred: Any, username: str, roles: None, provider: Identity, settings: Settings
) -> None:
    provider.person |= {"email": "asmith@example.org", "preferred_username": preferred}
    user = signed_in_by_sso(provider, settings, **CREATE)
    assert user is not None
    assert user.get_username() == username


def test_user_name_that_exists_gets_a_number(
    roles: None, provider: Identity, settings: Settings, django_user_model: type[User]
) -> None:
    for name in ("ALICE", "alice-2"):
        django_user_model.objects.create(username=name)
    user = signed_in_by_sso(provider, settings, **CREATE)
    assert user is not None
    assert user.get_username() == "alice-3"


@pytest.mark.parametrize("name", ["x" * 1000, "a\x00b\u202ec", ["x"], {"first": "x"}, 5, None])
def test_hostile_names_are_cleaned(name: Any, roles: None, provider: Identity, settings: Settings) -> None:
    provider.person |= {"given_name": name, "family_name": name, "name": name}
    user = signed_in_by_sso(provider, settings, **CREATE)
    assert user is not None
    assert user.first_name == user.last_name
    assert len(user.first_name) <= 150
    assert user.first_name.isprintable()


@pytest.mark.parametrize("sub", ["", "x" * 192, "a\x00b", 1001, None, ["1001"], {"a": 1}])
def test_unusable_subject_is_refused(sub: Any, alice: User, provider: Identity, settings: Settings) -> None:
    provider.person["sub"] = sub
    assert signed_in_by_sso(provider, settings) is None


@pytest.mark.parametrize(
    "email", ["alice", "@example.org", "a" * 250 + "@example.org", "a\x00@example.org", " ", 5, {}]
)
def test_unusable_address_is_refused(email: Any, roles: None, provider: Identity, settings: Settings) -> None:
    provider.person["email"] = email
    assert signed_in_by_sso(provider, settings, **CREATE, trust_email=True) is None
    assert not User.objects.exists()


def test_huge_userinfo_is_refused(alice: User, provider: Identity, settings: Settings) -> None:
    provider.person["padding"] = "x" * 1024 * 1024
    assert signed_in_by_sso(provider, settings) is None


# --- several providers --------------------------------------------------------------------------


@pytest.fixture
def google(provider: Identity, settings: Settings) -> Any:
    """A second provider; the first one is named entra."""
    with oidc_provider.providing() as google:
        configure(settings, app(provider, "entra", "Entra ID"), app(google, "google", "Google"))
        google.person = {"sub": "g-1", "email": ADDRESS, "email_verified": True}
        yield google


def test_sign_in_page_has_a_button_for_each_provider(google: Identity) -> None:
    page = Client().get("/accounts/login/?next=/tags/").content.decode()
    assert 'href="/accounts/sso/entra/?next=/tags/">Sign in with Entra ID' in page
    assert 'href="/accounts/sso/google/?next=/tags/">Sign in with Google' in page
    assert Client().get("/accounts/sso/").status_code == 404
    assert Client().get("/accounts/sso/okta/").status_code == 404


def test_account_is_linked_to_an_identity_of_each_provider(alice: User, google: Identity) -> None:
    for slug in ("entra", "google"):
        client = Client()
        sign_in(client, f"/accounts/sso/{slug}/")
        assert client.session["_auth_user_id"] == str(alice.pk)
    assert {identity.provider for identity in SocialAccount.objects.all()} == {"sso-entra", "sso-google"}


def test_code_of_one_provider_is_refused_at_the_callback_of_another(alice: User, google: Identity) -> None:
    client = Client()
    callback = oidc_provider.agree(begin(client, "/accounts/sso/entra/")).partition("?")[2]
    assert client.get(f"/accounts/sso/google/back/?{callback}").status_code == 403
    assert not is_signed_in(client)
    assert "/token" not in google.queries


@pytest.mark.parametrize("callback_issuer", ["https://evil.example", ""])
def test_callback_that_names_another_issuer_is_refused(callback_issuer: str, alice: User, provider: Identity) -> None:
    """RFC 9207."""
    provider.extra_response = {"iss": callback_issuer or provider.issuer}
    client = Client()
    assert sign_in(client).status_code == (403 if callback_issuer else 302)
    assert is_signed_in(client) is not bool(callback_issuer)
