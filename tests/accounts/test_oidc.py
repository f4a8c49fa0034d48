"""Single sign-on, against a provider that speaks OpenID Connect over HTTP, and against one that lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from tests.conftest import signed_in
from tests.support import identity
from tests.support.authenticator import code, set_up
from tests.support.identity import CLIENT, SECRET, Identity
from uploads.accounts import throttling
from uploads.models import Action, Event, Limit, TokenBucket

pytestmark = pytest.mark.django_db

ADDRESS = "alice@example.org"


@pytest.fixture
def provider(settings: Settings) -> Iterator[Identity]:
    with identity.providing() as provider:
        told = {"server_url": provider.issuer, "oauth_pkce_enabled": True}
        app = {"provider_id": "sso-1", "name": "Example", "client_id": CLIENT, "secret": SECRET, "settings": told}
        settings.OIDC_ISSUER = provider.issuer
        settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
        provider.person = {"sub": "1001", "email": ADDRESS, "email_verified": True}
        yield provider


@pytest.fixture
def alice(alice: User) -> User:
    alice.email = ADDRESS.upper()
    alice.save()
    return alice


def begin(client: Client, **more: str) -> str:
    answer: Any = client.get("/accounts/sso/", more)
    assert answer.status_code == 302, answer.content.decode()
    return str(answer.headers["Location"])


def sign_in(client: Client, **more: str) -> Any:
    back = urlsplit(identity.agree(begin(client, **more)))
    return client.get(f"{back.path}?{back.query}")


def is_in(client: Client) -> bool:
    return client.get("/tags/").status_code == 200


def refused(client: Client) -> bool:
    answer = sign_in(client)
    return bool(answer.status_code == 403 and not is_in(client))


def test_the_login_page_offers_it_where_there_is_one(provider: Identity) -> None:
    assert b'href="/accounts/sso/?next=/upload/">Sign in with Example' in Client().get(
        "/accounts/login/?next=/upload/"
    ).content  # fmt: skip


def test_it_opens_the_account_that_an_administrator_gave_that_address(alice: User, provider: Identity) -> None:
    client = Client()
    answer = sign_in(client, next="/upload/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/upload/")
    assert is_in(client)
    assert Event.objects.get(action=Action.LOGIN, actor="alice").detail == {"how": ["single_sign_on"]}
    assert Event.objects.get(action=Action.TWO_FACTOR).detail == {"change": "added", "kind": "single_sign_on"}


def test_from_then_on_the_providers_id_counts(alice: User, bob: User, provider: Identity) -> None:
    """An address may change hands at the provider; an id does not."""
    sign_in(Client())
    bob.email = ADDRESS
    bob.save()
    provider.person["email"] = "married@example.org"
    client = Client()
    sign_in(client)
    assert client.session["_auth_user_id"] == str(alice.pk)
    provider.person = {"sub": "1002", "email": ADDRESS, "email_verified": True}
    assert refused(Client())  # two have that address now


def test_second_identity_with_address_of_linked_account_is_refused(alice: User, provider: Identity) -> None:
    sign_in(Client())
    provider.person = {"sub": "somebody-else-8", "email": ADDRESS, "email_verified": True}
    assert refused(Client())
    assert SocialAccount.objects.get().uid == "1001"


def test_account_linked_to_another_provider_can_be_linked(alice: User, provider: Identity) -> None:
    SocialAccount.objects.create(user=alice, provider="sso-before", uid="1001")
    client = Client()
    sign_in(client)
    assert is_in(client)


def test_case_of_ascii_letters_does_not_matter(alice: User, provider: Identity) -> None:
    provider.person["email"] = "aLiCe@EXAMPLE.org"
    client = Client()
    sign_in(client)
    assert is_in(client)


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
def test_address_of_letters_that_look_alike_opens_nothing(
    stored: str, claimed: str, alice: User, provider: Identity
) -> None:
    User.objects.update(email=stored)
    provider.person["email"] = claimed
    assert refused(Client())
    assert not SocialAccount.objects.exists()


def test_look_alike_does_not_hide_the_account_that_is_meant(alice: User, bob: User, provider: Identity) -> None:
    User.objects.filter(pk=alice.pk).update(email="kiss@example.org")
    User.objects.filter(pk=bob.pk).update(email="\u212aiss@example.org")
    provider.person["email"] = "kiss@example.org"
    client = Client()
    sign_in(client)
    assert client.session["_auth_user_id"] == str(alice.pk)


def test_nothing_that_opens_the_provider_is_kept(alice: User, provider: Identity) -> None:
    sign_in(Client())
    assert not SocialToken.objects.exists()
    assert "token" not in str(SocialAccount.objects.get().extra_data.get("access_token", ""))


def test_the_password_stays_as_it_is(alice: User, provider: Identity) -> None:
    sign_in(Client())
    alice.refresh_from_db()
    assert alice.check_password("correct horse battery staple")


@pytest.mark.parametrize("verified", [False, None, "true", "false", 1])
def test_an_address_that_is_not_verified_opens_nothing(verified: Any, alice: User, provider: Identity) -> None:
    provider.person["email_verified"] = verified
    assert refused(Client())
    assert not SocialAccount.objects.exists()


def test_nobody_gets_an_account_by_it(provider: Identity) -> None:
    assert refused(Client())
    assert not User.objects.exists()


@pytest.mark.parametrize("connected", [False, True])
def test_a_closed_account_stays_closed(connected: bool, alice: User, provider: Identity) -> None:
    if connected:
        sign_in(Client())
    User.objects.update(is_active=False)
    assert refused(Client())


def test_the_second_factor_is_asked_for_as_well(alice: User, provider: Identity) -> None:
    mine = signed_in(alice)
    mine.post("/accounts/confirm/", {"password": "correct horse battery staple"})
    key = set_up(mine)
    client = Client()
    assert sign_in(client).headers["Location"] == "/accounts/code/"
    assert not is_in(client)
    client.post("/accounts/code/", {"code": code(key)})
    assert is_in(client)


# --- a provider, or somebody on the way, that lies ----------------------------------------------


def lie_other_key(provider: Identity) -> None:
    provider.published_key = rsa.generate_private_key(65537, 2048)


def lie_issuer(provider: Identity) -> None:
    provider.claims["iss"] = "https://evil.example"


def lie_audience(provider: Identity) -> None:
    provider.claims["aud"] = "another site"


def lie_expired(provider: Identity) -> None:
    provider.claims["exp"] = 1


def lie_nonce(provider: Identity) -> None:
    provider.claims["nonce"] = "of another sign-in"


def lie_other_person(provider: Identity) -> None:
    provider.claims["sub"] = "1002"


def lie_no_token(provider: Identity) -> None:
    provider.no_id_token = True


LIES = [lie_other_key, lie_issuer, lie_audience, lie_expired, lie_nonce, lie_other_person, lie_no_token]


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_is_not_for_us_and_of_now_opens_nothing(lie: Any, alice: User, provider: Identity) -> None:
    lie(provider)
    assert refused(Client())
    assert Event.objects.filter(action=Action.LOGIN_FAILED).count() == 1


@pytest.mark.parametrize(
    "userinfo", [[], None, "1001", {}, {"sub": "1001", "email": [ADDRESS], "email_verified": True}]
)
def test_userinfo_of_an_odd_shape_opens_nothing(userinfo: Any, alice: User, provider: Identity) -> None:
    back = urlsplit(identity.agree(begin(client := Client())))
    provider.userinfo = [userinfo]
    assert client.get(f"{back.path}?{back.query}").status_code == 403
    assert not is_in(client)


def test_a_token_without_a_signature_opens_nothing(
    alice: User, provider: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = jwt.encode
    monkeypatch.setattr(
        jwt, "encode", lambda claims, _key, **more: signed(claims, "", algorithm="none", headers=more["headers"])
    )
    assert refused(Client())


def test_a_provider_that_calls_itself_otherwise_is_not_ours(alice: User, provider: Identity) -> None:
    provider.told_issuer = "https://evil.example"
    assert Client().get("/accounts/sso/").status_code == 403


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration"])
def test_a_provider_that_is_away_is_told_so(path: str, alice: User, provider: Identity) -> None:
    provider.away.add(path)
    answer: Any = Client().get("/accounts/sso/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("path", ["/token", "/userinfo", "/keys"])
def test_one_that_fails_on_the_way_opens_nothing(path: str, alice: User, provider: Identity) -> None:
    provider.away.add(path)
    client = Client()
    assert sign_in(client).status_code in {403, 503}
    assert not is_in(client)


def test_a_way_back_that_this_browser_did_not_begin_leads_nowhere(alice: User, provider: Identity) -> None:
    """Else somebody could sign another in to an account of their own."""
    back = urlsplit(identity.agree(begin(Client())))
    victim = Client()
    assert victim.get(f"{back.path}?{back.query}").status_code == 403
    assert not is_in(victim)


def test_a_way_back_works_once(alice: User, provider: Identity) -> None:
    client = Client()
    back = urlsplit(identity.agree(begin(client)))
    client.get(f"{back.path}?{back.query}")
    client.post("/accounts/logout/")
    assert client.get(f"{back.path}?{back.query}").status_code == 403


@pytest.mark.parametrize("query", ["", "?error=access_denied", "?code=x", "?code=x&state=x", "?state=x"])
def test_a_way_back_that_is_none_leads_nowhere(query: str, provider: Identity) -> None:
    assert Client().get(f"/accounts/sso/back/{query}").status_code == 403


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_it_never_leads_elsewhere(wanted: str, alice: User, provider: Identity) -> None:
    assert sign_in(Client(), next=wanted).headers["Location"] == "/"


def test_it_asks_for_no_more_than_it_needs_and_cannot_be_made_to(provider: Identity) -> None:
    asked = parse_qs(urlsplit(begin(Client(), scope="admin", auth_params="prompt=none", process="connect")).query)
    assert set(asked["scope"][0].split()) == {"openid", "profile", "email"}
    assert "prompt" not in asked
    assert asked["redirect_uri"] == ["http://testserver/accounts/sso/back/"]


def test_who_is_signed_in_cannot_be_connected_to_somebody_else(alice: User, bob: User, provider: Identity) -> None:
    client = signed_in(bob)
    assert client.get("/accounts/sso/", {"process": "connect"}).headers["Location"] == "/"
    assert not SocialAccount.objects.exists()


def test_strangers_write_nothing_into_the_log(provider: Identity) -> None:
    for query in ("", "?error=x", "?state=x&code=y"):
        assert Client().get(f"/accounts/sso/back/{query}").status_code == 403
    client = Client()
    begin(client)
    assert [client.get("/accounts/sso/back/?error=x").status_code for _ in range(3)] == [403] * 3
    assert Event.objects.filter(action=Action.LOGIN_FAILED).count() == 1  # of the one that set out from here


def test_one_address_cannot_set_out_without_end(provider: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Limit(capacity=3, refill_seconds=20, shared=True)
    monkeypatch.setattr(throttling, "SSO_LIMIT", few)
    assert [Client().get("/accounts/sso/").status_code for _ in range(5)] == [302] * 3 + [429] * 2
    assert len(provider.asked) == 3
    assert Client().get("/accounts/sso/", REMOTE_ADDR="203.0.113.9").status_code == 302


def test_who_comes_back_signed_in_counts_for_nothing(alice: User, provider: Identity) -> None:
    for _ in range(3):
        sign_in(Client())
    (bucket,) = TokenBucket.objects.filter(key__startswith="sso:")
    assert bucket.full_at <= timezone.now()
