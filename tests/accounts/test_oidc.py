"""Single sign-on, against a provider that speaks OpenID Connect over HTTP, and against forged tokens."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.accounts.conftest import ADDRESS, PASSWORD, is_signed_in
from tests.conftest import signed_in
from tests.support import oidc_provider
from tests.support.authenticator import code, set_up
from tests.support.oidc_provider import CLIENT, Identity, begin, sign_in
from uploads.accounts import throttling
from uploads.models import Action, Event, Limit, TokenBucket

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice(alice: User) -> User:
    alice.email = ADDRESS.upper()
    alice.save()
    return alice


def is_refused(client: Client) -> bool:
    response = sign_in(client)
    return bool(response.status_code == 403 and not is_signed_in(client))


def test_login_page_links_to_the_provider(provider: Identity) -> None:
    assert b'href="/accounts/sso/?next=/upload/">Sign in with Example' in Client().get(
        "/accounts/login/?next=/upload/"
    ).content  # fmt: skip


def test_first_sign_in_links_the_account_with_the_verified_address(alice: User, provider: Identity) -> None:
    client = Client()
    response = sign_in(client, next="/upload/")
    assert (response.status_code, response.headers["Location"]) == (302, "/upload/")
    assert is_signed_in(client)
    assert Event.objects.get(action=Action.LOGIN, actor="alice").detail == {"how": ["single_sign_on"]}
    assert Event.objects.get(action=Action.TWO_FACTOR).detail == {"change": "added", "kind": "single_sign_on"}


def test_later_sign_ins_match_the_subject_instead_of_the_address(alice: User, bob: User, provider: Identity) -> None:
    """An address may change hands at the provider; an id does not."""
    sign_in(Client())
    bob.email = ADDRESS
    bob.save()
    provider.person["email"] = "married@example.org"
    client = Client()
    sign_in(client)
    assert client.session["_auth_user_id"] == str(alice.pk)
    provider.person = {"sub": "1002", "email": ADDRESS, "email_verified": True}
    assert is_refused(Client())  # two accounts have that address now


def test_second_identity_with_address_of_linked_account_is_refused(alice: User, provider: Identity) -> None:
    sign_in(Client())
    provider.person = {"sub": "1008", "email": ADDRESS, "email_verified": True}
    assert is_refused(Client())
    assert SocialAccount.objects.get().uid == "1001"


def test_account_linked_to_another_provider_can_be_linked(alice: User, provider: Identity) -> None:
    SocialAccount.objects.create(user=alice, provider="sso-before", uid="1001")
    client = Client()
    sign_in(client)
    assert is_signed_in(client)


def test_case_of_ascii_letters_does_not_matter(alice: User, provider: Identity) -> None:
    provider.person["email"] = "aLiCe@EXAMPLE.org"
    client = Client()
    sign_in(client)
    assert is_signed_in(client)


@pytest.mark.parametrize(
    ("stored", "claimed"),
    [
        ("admin.kiss@github-example.org", "adm\u0131n.kiss@github-example.org"),
        ("admin.kiss@github-example.org", "admin.kiss@g\u0131thub-example.org"),
        ("admin.kiss@github-example.org", "admin.ki\u017f\u017f@github-example.org"),
        ("admin.kiss@github-example.org", "admin.\u212aiss@github-example.org"),
        ("admin.kiss@github-example.org", "ADMIN.KISS@G\u0130THUB-example.org"),
        ("admin.kiss@github-example.org", "\uff41dmin.kiss@github-example.org"),
        ("strasse@example.org", "stra\u00dfe@example.org"),
        ("jos\u00e9@example.org", "JOS\u00c9@example.org"),
        ("jos\u00e9@example.org", "jose\u0301@example.org"),
    ],
)
def test_look_alike_address_is_refused(stored: str, claimed: str, alice: User, provider: Identity) -> None:
    User.objects.update(email=stored)
    provider.person["email"] = claimed
    assert is_refused(Client())
    assert not SocialAccount.objects.exists()


def test_look_alike_does_not_hide_the_matching_account(alice: User, bob: User, provider: Identity) -> None:
    User.objects.filter(pk=alice.pk).update(email="kiss@example.org")
    User.objects.filter(pk=bob.pk).update(email="\u212aiss@example.org")
    provider.person["email"] = "kiss@example.org"
    client = Client()
    sign_in(client)
    assert client.session["_auth_user_id"] == str(alice.pk)


def test_no_token_of_the_provider_is_stored(alice: User, provider: Identity) -> None:
    sign_in(Client())
    assert not SocialToken.objects.exists()
    assert "token" not in str(SocialAccount.objects.get().extra_data.get("access_token", ""))


def test_password_is_unchanged(alice: User, provider: Identity) -> None:
    sign_in(Client())
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


@pytest.mark.parametrize("verified", [False, None, "true", "false", 1])
def test_unverified_address_is_refused(verified: Any, alice: User, provider: Identity) -> None:
    provider.person["email_verified"] = verified
    assert is_refused(Client())
    assert not SocialAccount.objects.exists()


def test_no_account_is_created(provider: Identity) -> None:
    assert is_refused(Client())
    assert not User.objects.exists()


@pytest.mark.parametrize("connected", [False, True])
def test_inactive_account_is_refused(connected: bool, alice: User, provider: Identity) -> None:
    if connected:
        sign_in(Client())
    User.objects.update(is_active=False)
    assert is_refused(Client())


def test_second_factor_is_required_after_single_sign_on(alice: User, provider: Identity) -> None:
    own = signed_in(alice)
    own.post("/accounts/confirm/", {"password": PASSWORD})
    key = set_up(own)
    client = Client()
    assert sign_in(client).headers["Location"] == "/accounts/code/"
    assert not is_signed_in(client)
    client.post("/accounts/code/", {"code": code(key)})
    assert is_signed_in(client)


# --- forged and failing responses ---------------------------------------------------------------


def forge_key(provider: Identity) -> None:
    provider.published_key = rsa.generate_private_key(65537, 2048)


def forge_issuer(provider: Identity) -> None:
    provider.claims["iss"] = "https://evil.example"


def forge_audience(provider: Identity) -> None:
    provider.claims["aud"] = "another site"


def forge_expiry(provider: Identity) -> None:
    provider.claims["exp"] = 1


def forge_nonce(provider: Identity) -> None:
    provider.claims["nonce"] = "of another sign-in"


def forge_subject(provider: Identity) -> None:
    provider.claims["sub"] = "1002"


def omit_id_token(provider: Identity) -> None:
    provider.no_id_token = True


def forge_authorized_party(provider: Identity) -> None:
    provider.claims["azp"] = "another client"


def share_audience(provider: Identity) -> None:
    provider.claims["aud"] = [CLIENT, "another client"]  # without azp


FORGERIES = [
    forge_key, forge_issuer, forge_audience, forge_expiry, forge_nonce, forge_subject, omit_id_token,
    forge_authorized_party, share_audience,
]  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES)
def test_forged_id_token_is_refused(forge: Any, alice: User, provider: Identity) -> None:
    forge(provider)
    assert is_refused(Client())
    assert Event.objects.filter(action=Action.LOGIN_FAILED).count() == 1


@pytest.mark.parametrize(
    "userinfo", [[], None, "1001", {}, {"sub": "1001", "email": [ADDRESS], "email_verified": True}]
)
def test_malformed_userinfo_is_refused(userinfo: Any, alice: User, provider: Identity) -> None:
    callback = urlsplit(oidc_provider.agree(begin(client := Client())))
    provider.userinfo = [userinfo]
    assert client.get(f"{callback.path}?{callback.query}").status_code == 403
    assert not is_signed_in(client)


def test_unsigned_id_token_is_refused(alice: User, provider: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = jwt.encode
    monkeypatch.setattr(
        jwt, "encode", lambda claims, _key, **more: signed(claims, "", algorithm="none", headers=more["headers"])
    )
    assert is_refused(Client())


def test_provider_with_another_issuer_is_refused(alice: User, provider: Identity) -> None:
    provider.callback_issuer = "https://evil.example"
    assert Client().get("/accounts/sso/").status_code == 403


def test_unavailable_provider_is_503_with_retry_after(alice: User, provider: Identity) -> None:
    provider.away.add("/.well-known/openid-configuration")
    response: Any = Client().get("/accounts/sso/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("path", ["/token", "/userinfo", "/keys"])
def test_failing_endpoint_prevents_sign_in(path: str, alice: User, provider: Identity) -> None:
    provider.away.add(path)
    client = Client()
    assert sign_in(client).status_code in {403, 503}
    assert not is_signed_in(client)


def test_callback_of_another_browser_is_refused(alice: User, provider: Identity) -> None:
    """An attacker could sign a victim in to an account of their own otherwise (login CSRF)."""
    callback = urlsplit(oidc_provider.agree(begin(Client())))
    victim = Client()
    assert victim.get(f"{callback.path}?{callback.query}").status_code == 403
    assert not is_signed_in(victim)


def test_callback_works_once(alice: User, provider: Identity) -> None:
    client = Client()
    callback = urlsplit(oidc_provider.agree(begin(client)))
    client.get(f"{callback.path}?{callback.query}")
    client.post("/accounts/logout/")
    assert client.get(f"{callback.path}?{callback.query}").status_code == 403


@pytest.mark.parametrize("query", ["", "?error=access_denied", "?code=x", "?code=x&state=x", "?state=x"])
def test_callback_without_a_started_sign_in_is_refused(query: str, provider: Identity) -> None:
    assert Client().get(f"/accounts/sso/back/{query}").status_code == 403


@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_sign_in_never_redirects_to_another_site(next_url: str, alice: User, provider: Identity) -> None:
    assert sign_in(Client(), next=next_url).headers["Location"] == "/"


def test_scope_and_parameters_cannot_be_changed_by_the_request(provider: Identity) -> None:
    query = parse_qs(urlsplit(begin(Client(), scope="admin", auth_params="prompt=none", process="connect")).query)
    assert set(query["scope"][0].split()) == {"openid", "profile", "email"}
    assert "prompt" not in query
    assert query["redirect_uri"] == ["http://testserver/accounts/sso/back/"]


def test_signed_in_user_cannot_be_linked_to_another_identity(alice: User, bob: User, provider: Identity) -> None:
    client = signed_in(bob)
    assert client.get("/accounts/sso/", {"process": "connect"}).headers["Location"] == "/"
    assert not SocialAccount.objects.exists()


def test_callbacks_without_a_started_sign_in_are_not_recorded(provider: Identity) -> None:
    for query in ("", "?error=x", "?state=x&code=y"):
        assert Client().get(f"/accounts/sso/back/{query}").status_code == 403
    client = Client()
    begin(client)
    assert [client.get("/accounts/sso/back/?error=x").status_code for _ in range(3)] == [403] * 3
    assert Event.objects.filter(action=Action.LOGIN_FAILED).count() == 1  # from the sign-in that this test started


def test_started_sign_ins_of_one_address_are_limited(provider: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = Limit(capacity=3, refill_seconds=20, shared=True)
    monkeypatch.setattr(throttling, "SSO_LIMIT", limit)
    assert [Client().get("/accounts/sso/").status_code for _ in range(5)] == [302] * 3 + [429] * 2
    assert len(provider.queries) == 3
    assert Client().get("/accounts/sso/", REMOTE_ADDR="203.0.113.9").status_code == 302


def test_completed_sign_ins_do_not_count(alice: User, provider: Identity) -> None:
    for _ in range(3):
        sign_in(Client())
    (bucket,) = TokenBucket.objects.filter(key__startswith="sso:")
    assert bucket.full_at <= timezone.now()
