"""Passkeys: adding, signing in, second factor, removal; and all attempts that must not sign in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.test import Client
from fido2.webauthn import AuthenticatorData
from pytest_django import Settings

from tests.accounts.conftest import PASSWORD, is_signed_in
from tests.support.authenticator import code, read_key, set_up
from tests.support.passkeys import Device
from uploads.accounts import throttling
from uploads.models import Action, Event, Limit
from uploads.services import sign_in_events

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def browser(user: User | None = None, host: str = "localhost") -> Client:
    """Return a client for this host, freshly signed in with a password if `user` is given."""
    client = Client(SERVER_NAME=host)
    if user:
        client.post("/accounts/login/", {"username": user.get_username(), "password": PASSWORD})
        assert is_signed_in(client)
    return client


def add(client: Client, device: Device, name: str = "Laptop") -> Any:
    options = client.get("/accounts/passkeys/add/").context["js_data"]["creation_options"]
    return post(client, "/accounts/passkeys/add/", device.create(options), name=name)


def post(client: Client, path: str, credential: Any, **more: str) -> Any:
    return client.post(path, {"credential": json.dumps(credential), **more})


def challenge(client: Client) -> dict[str, Any]:
    options: dict[str, Any] = client.post("/accounts/passkeys/options/").json()
    return options


def sign_in(client: Client, device: Device, **more: str) -> Any:
    return post(client, "/accounts/passkeys/sign-in/", device.get(challenge(client)), **more)


def enter_password(client: Client) -> Any:
    return client.post("/accounts/login/", {"username": "alice", "password": PASSWORD})


def use_as_second_factor(client: Client, device: Device) -> Any:
    options = client.get("/accounts/code/").context["js_data"]["request_options"]
    return post(client, "/accounts/code/", device.get(options))


@pytest.fixture
def device(alice: User) -> Device:
    """Alice's passkey."""
    device = Device()
    assert add(browser(alice), device).headers["Location"] == "/accounts/recovery-codes/"
    return device


# --- adding -------------------------------------------------------------------------------------


def test_passkey_is_listed_by_its_name(alice: User) -> None:
    client = browser(alice)
    add(client, Device(), name="My laptop")
    page = client.get("/accounts/security/").content.decode()
    assert "My laptop" in page
    assert Event.objects.get(action=Action.TWO_FACTOR, detail__kind="webauthn").detail["change"] == "added"
    assert Authenticator.objects.filter(user=alice, type=Authenticator.Type.RECOVERY_CODES).exists()


def test_passkey_without_a_name_gets_a_default_name(alice: User) -> None:
    add(browser(alice), Device(), name=" ")
    assert str(Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN)) == "Passkey"


def test_name_that_is_too_long_is_refused_below_its_field(alice: User) -> None:
    response = add(browser(alice), Device(), name="x" * 61)
    assert response.status_code == 200
    assert response.context["form"].errors["name"]
    assert not Authenticator.objects.exists()


def test_adding_asks_for_the_password_and_ends_other_sessions(alice: User) -> None:
    client, other = browser(alice), browser(alice)
    session = client.session
    session["account_authentication_methods"] = []
    session.save()
    assert client.get("/accounts/passkeys/add/").headers["Location"].startswith("/accounts/confirm/")
    client.post("/accounts/confirm/", {"password": PASSWORD})
    add(client, Device())
    assert is_signed_in(client)
    assert not is_signed_in(other)


def test_only_needed_fields_of_the_credential_are_stored(alice: User) -> None:
    client, device = browser(alice), Device()
    options = client.get("/accounts/passkeys/add/").context["js_data"]["creation_options"]
    credential = device.create(options) | {"more": "x\x00" * 100}
    credential["response"]["transports"] = ["internal"]
    post(client, "/accounts/passkeys/add/", credential, name="Laptop")
    stored = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).data["credential"]
    assert set(stored) == {"id", "rawId", "type", "response", "clientExtensionResults"}
    assert set(stored["response"]) == {"clientDataJSON", "attestationObject"}


@pytest.mark.parametrize("change", [{"origin": "https://evil.example"}, {"rp_id": "evil.example"}])
def test_passkey_of_another_site_is_not_added(change: dict[str, str], alice: User) -> None:
    assert add(browser(alice), Device(**change)).status_code == 200  # type: ignore[arg-type]
    assert not Authenticator.objects.exists()


def test_creation_cannot_be_replayed(alice: User) -> None:
    client, device = browser(alice), Device()
    options = client.get("/accounts/passkeys/add/").context["js_data"]["creation_options"]
    credential = device.create(options)
    post(client, "/accounts/passkeys/add/", credential)
    post(client, "/accounts/passkeys/add/", credential)
    assert Authenticator.objects.filter(type=Authenticator.Type.WEBAUTHN).count() == 1


def test_twenty_first_passkey_is_refused(alice: User) -> None:
    client = browser(alice)
    add(client, Device())
    first = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN)
    for _ in range(19):
        Authenticator.objects.create(user=alice, type=first.type, data=first.data)
    assert client.get("/accounts/passkeys/add/").status_code == 403


@pytest.mark.parametrize("host", ["testserver", "127.0.0.1", "[::1]"])
def test_passkeys_are_not_offered_at_unsupported_hosts(host: str, alice: User, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert b"data-passkey" not in browser(host=host).get("/accounts/login/").content
    client = browser(alice, host=host)
    assert b"/accounts/passkeys/add/" not in client.get("/accounts/security/").content
    assert client.get("/accounts/passkeys/add/").status_code == 404
    assert browser(host=host).post("/accounts/passkeys/options/").status_code == 404


def test_passkeys_are_offered_over_https(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    client = browser(host="files.example.org")
    assert b"data-passkey" in client.get("/accounts/login/", secure=True).content
    options: Any = client.post("/accounts/passkeys/options/", secure=True)
    assert options.json()["publicKey"]["rpId"] == "files.example.org"
    assert client.post("/accounts/passkeys/options/", secure=True, headers={"host": "127.0.0.1"}).status_code == 404


# --- signing in ---------------------------------------------------------------------------------


def test_passkey_signs_in_alone(alice: User, device: Device) -> None:
    client = browser()
    assert sign_in(client, device, next="/tags/").headers["Location"] == "/tags/"
    assert client.session["_auth_user_id"] == str(alice.pk)
    assert Event.objects.filter(action=Action.LOGIN).latest("pk").detail == {"how": ["two_factor"]}


@pytest.mark.parametrize("next_url", ["https://evil.example/", "//evil.example"])
def test_sign_in_never_redirects_to_another_site(next_url: str, device: Device) -> None:
    assert sign_in(browser(), device, next=next_url).headers["Location"] == "/"


def test_passkey_counts_as_two_factors_in_the_admin(alice: User, device: Device, settings: Settings) -> None:
    settings.STAFF_SECOND_FACTOR = True
    User.objects.update(is_staff=True, is_superuser=True)
    client = browser()
    sign_in(client, device)
    assert client.get("/admin/").status_code == 200


def refused(client: Client, credential: Any) -> bool:
    response = post(client, "/accounts/passkeys/sign-in/", credential)
    return bool(response.status_code == 302 and "/login/" in response.headers["Location"] and not is_signed_in(client))


def test_passkey_without_user_verification_is_refused(device: Device) -> None:
    """The device alone is one factor."""
    device.flags = AuthenticatorData.FLAG.UP
    client = browser()
    assert refused(client, device.get(challenge(client)))


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost.evil.example"},
        {"rp_id": "evil.example"},
        {"flags": AuthenticatorData.FLAG.UV},
        {"key": Device().key},
        {"credential_id": b"x" * 32},
        {"user_handle": ""},
        {"user_handle": "OTk5OTk5OTk5OTk5OTk5OTk5OTk"},
    ],
    ids=lambda change: "-".join(change),
)
def test_wrong_passkey_response_is_refused(change: dict[str, Any], device: Device) -> None:
    for name, value in change.items():
        setattr(device, name, value)
    client = browser()
    assert refused(client, device.get(challenge(client)))
    assert Event.objects.filter(action=Action.LOGIN_FAILED, name="passkey").count() == 1


def test_passkey_response_cannot_be_replayed(alice: User, device: Device) -> None:
    client = browser()
    credential = device.get(challenge(client))
    post(client, "/accounts/passkeys/sign-in/", credential)
    client.post("/accounts/logout/")
    assert refused(client, credential)
    challenge(client)
    assert refused(client, credential)
    other = browser()
    challenge(other)
    assert refused(other, credential)


def test_passkey_response_of_another_browser_is_refused(device: Device) -> None:
    """An attacker could sign a victim in to an account of their own otherwise."""
    assert refused(browser(), device.get(challenge(browser())))


def test_passkey_responses_without_a_challenge_are_not_recorded(device: Device) -> None:
    assert refused(browser(), device.get(challenge(browser())))
    assert not Event.objects.filter(action=Action.LOGIN_FAILED).exists()


def test_passkey_of_one_person_does_not_open_the_account_of_another(bob: User, device: Device) -> None:
    other = Device()
    add(browser(bob), other)
    device.user_handle = other.user_handle
    client = browser()
    assert refused(client, device.get(challenge(client)))


def test_removed_passkey_is_refused(alice: User, device: Device) -> None:
    client = browser()
    credential = device.get(challenge(client))
    sign_in_events.forget_factors(alice, by=None)
    assert refused(client, credential)


def test_inactive_account_is_refused(device: Device) -> None:
    User.objects.update(is_active=False)
    client = browser()
    assert refused(client, device.get(challenge(client)))


def test_only_superusers_sign_in_with_a_passkey_with_sso_only(device: Device, settings: Settings) -> None:
    settings.SSO_ONLY = True
    client = browser()
    assert b"data-passkey" not in client.get("/accounts/login/").content
    assert refused(client, device.get(challenge(client)))
    User.objects.update(is_superuser=True)
    assert b"data-passkey" in client.get("/accounts/login/?password").content
    sign_in(client, device)
    assert is_signed_in(client)


def test_started_sign_ins_of_one_address_are_limited(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(throttling, "PASSKEY_LIMIT", Limit(capacity=3, refill_seconds=20, shared=True))
    assert [browser().post("/accounts/passkeys/options/").status_code for _ in range(5)] == [200] * 3 + [429] * 2


# --- the second factor --------------------------------------------------------------------------


def test_passkey_is_the_second_factor_after_the_password(alice: User, device: Device) -> None:
    client = browser()
    assert enter_password(client).headers["Location"] == "/accounts/code/"
    assert not is_signed_in(client)
    use_as_second_factor(client, device)
    assert client.session["_auth_user_id"] == str(alice.pk)


def test_security_key_without_a_pin_is_a_second_factor(alice: User) -> None:
    device = Device(flags=AuthenticatorData.FLAG.UP)
    add(browser(alice), device)
    client = browser()
    enter_password(client)
    use_as_second_factor(client, device)
    assert is_signed_in(client)
    other = browser()
    assert refused(other, device.get(challenge(other)))


def test_passkey_of_another_person_is_refused_as_second_factor(bob: User, device: Device) -> None:
    other = Device()
    add(browser(bob), other)
    client = browser()
    enter_password(client)
    assert use_as_second_factor(client, other).status_code == 200
    assert not is_signed_in(client)
    assert Event.objects.filter(action=Action.LOGIN_FAILED, name="alice", detail__step="code").count() == 1


def test_wrong_passkeys_are_throttled_like_codes(device: Device) -> None:
    client = browser()
    enter_password(client)
    wrong = Device(user_handle=device.user_handle)
    assert [use_as_second_factor(client, wrong).status_code for _ in range(5)] == [200] * 5
    assert use_as_second_factor(client, wrong).status_code == 429


def test_throttled_passkey_keeps_both_forms(device: Device) -> None:
    client = browser()
    enter_password(client)
    for _ in range(5):
        use_as_second_factor(client, Device(user_handle=device.user_handle))
    response = use_as_second_factor(client, device)
    page = response.content.decode()
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert page.index('data-passkey="get"') < page.index("Too many attempts. Try again in") < page.index('name="code"')
    assert not is_signed_in(client)


def test_recovery_code_works_instead_of_a_passkey(alice: User, device: Device) -> None:
    codes = Authenticator.objects.get(user=alice, type=Authenticator.Type.RECOVERY_CODES).wrap().get_unused_codes()
    client = browser()
    enter_password(client)
    page = client.get("/accounts/code/").content.decode()
    assert "Enter one of your recovery codes." in page
    client.post("/accounts/code/", {"code": codes[0]})
    assert is_signed_in(client)


def test_passkey_confirms_a_session(alice: User, device: Device) -> None:
    User.objects.update(password="!")  # signs in by single sign-on
    alice.refresh_from_db()
    client = browser()
    client.force_login(alice)
    location = client.get("/accounts/passkeys/add/").headers["Location"]
    assert location.startswith("/accounts/confirm/code/")
    page = client.get("/accounts/passkeys/confirm/?next=/accounts/passkeys/add/")
    credential = device.get(page.context["js_data"]["request_options"])
    response = post(client, "/accounts/passkeys/confirm/?next=/accounts/passkeys/add/", credential)
    assert response.headers["Location"] == "/accounts/passkeys/add/"
    assert client.get("/accounts/passkeys/add/").status_code == 200


def test_wrong_passkey_does_not_confirm_a_session(alice: User, device: Device) -> None:
    client = browser()
    client.force_login(alice)
    options = client.get("/accounts/passkeys/confirm/").context["js_data"]["request_options"]
    path = "/accounts/passkeys/confirm/"
    assert post(client, path, Device().get(options)).headers["Location"] == path
    assert client.get("/accounts/passkeys/add/").status_code == 302


def test_administrator_with_only_a_passkey_confirms_with_it(alice: User, device: Device, settings: Settings) -> None:
    settings.STAFF_SECOND_FACTOR = True
    User.objects.update(is_staff=True)
    client = browser()
    client.force_login(alice)
    response: Any = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1][0].startswith("/accounts/passkeys/confirm/")


# --- removing -----------------------------------------------------------------------------------


def remove(client: Client, user: User, **more: Any) -> Any:
    pk = Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).latest("pk").pk
    return client.post(f"/accounts/passkeys/{pk}/remove/", **more)


def test_removing_the_last_passkey_removes_the_recovery_codes(alice: User) -> None:
    client, device = browser(alice), Device()
    add(client, device)
    session_of_password = client.session["account_authentication_methods"]
    assert session_of_password
    assert remove(client, alice).headers["Location"] == "/accounts/security/"
    assert not Authenticator.objects.exists()
    assert Event.objects.filter(action=Action.TWO_FACTOR, detail__change="removed", detail__kind="webauthn").exists()
    other = browser()
    assert refused(other, device.get(challenge(other)))


def test_recovery_codes_stay_with_another_factor(alice: User) -> None:
    client = browser(alice)
    set_up(client)
    add(client, Device())
    remove(client, alice)
    assert set(Authenticator.objects.values_list("type", flat=True)) == {"totp", "recovery_codes"}


def test_pages_say_that_passkeys_keep_two_factor_authentication_on(alice: User) -> None:
    client = browser(alice)
    add(client, Device())
    assert "with your password and a passkey" in client.get("/accounts/security/").content.decode()
    key = read_key(client.get("/accounts/factor/add/").content)
    client.post("/accounts/factor/add/", {"code": code(key)})
    assert "Your recovery codes keep working." in client.get("/accounts/factor/remove/").content.decode()


def rename(client: Client, user: User, name: str) -> Any:
    pk = Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).latest("pk").pk
    return client.post(f"/accounts/passkeys/{pk}/rename/", {"name": name}, follow=True)


def test_renamed_passkey_still_signs_in(alice: User) -> None:
    client, device = browser(alice), Device()
    add(client, device)
    page = rename(client, alice, "Work phone").content.decode()
    assert "Passkey renamed." in page
    assert "<strong>Work phone</strong>" in page
    assert Event.objects.filter(action=Action.TWO_FACTOR, detail__change="renamed", detail__kind="webauthn").exists()
    other = browser()
    sign_in(other, device)
    assert is_signed_in(other)


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\0b"])
def test_invalid_name_is_refused_below_its_field(name: str, alice: User) -> None:
    client = browser(alice)
    add(client, Device())
    response = rename(client, alice, name)
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).wrap().name == "Laptop"


def test_passkey_of_another_person_cannot_be_renamed(bob: User, alice: User, device: Device) -> None:
    assert rename(browser(bob), alice, "Mine").status_code == 404


def test_passkey_of_another_person_cannot_be_removed(bob: User, alice: User, device: Device) -> None:
    assert remove(browser(bob), alice).status_code == 404
    assert Authenticator.objects.filter(user=alice, type=Authenticator.Type.WEBAUTHN).exists()


def test_reset_removes_passkeys_and_ends_sessions(alice: User, device: Device) -> None:
    client = browser()
    sign_in(client, device)
    assert sign_in_events.forget_factors(alice, by=None) == 2
    assert not is_signed_in(client)
    assert not Authenticator.objects.exists()


# --- malformed ----------------------------------------------------------------------------------

DEEP = "[" * 10_000 + "]" * 10_000
MALFORMED = [
    "", "null", "[]", "5", '"x"', "{", "{}", DEEP, '{"response": []}', '{"response": {}}', '{"id": 1, "response": {}}',
    '{"id": "a", "rawId": "a", "type": "public-key", "response": {"clientDataJSON": "e30", "attestationObject": "oA"}}',
    '{"id": "a", "rawId": "AA", "type": "x", "response": {"clientDataJSON": "", "attestationObject": "n5-fn5-fnw"}}',
    '{"id": "a", "rawId": "AA", "response": {"clientDataJSON": "bnVsbA", "authenticatorData": "AA", "signature": "AA",'
    ' "userHandle": "MQ"}}',
    '{"rawId": "AA", "response": {"userHandle": {"a": 1}, "clientDataJSON": [], "signature": null}}',
    "x" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_credential_is_refused(text: str, alice: User, device: Device) -> None:
    client = browser()
    challenge(client)
    response: Any = client.post("/accounts/passkeys/sign-in/", {"credential": text})
    assert response.status_code == 302
    assert not is_signed_in(client)
    enter_password(client)
    client.get("/accounts/code/")
    response = client.post("/accounts/code/", {"credential": text})
    assert response.status_code == 200
    assert response.context["webauthn_form"].errors


@pytest.mark.parametrize("text", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_passkey_is_not_added(text: str, alice: User) -> None:
    client = browser(alice)
    client.get("/accounts/passkeys/add/")
    response: Any = client.post("/accounts/passkeys/add/", {"credential": text, "name": "x"})
    assert response.status_code == 200
    assert response.context["form"].errors
    assert not Authenticator.objects.exists()


@pytest.mark.parametrize("part", ["clientDataJSON", "authenticatorData", "signature", "userHandle"])
@pytest.mark.parametrize("value", ["", "AA", "\u00e9", "!", "A" * 5000, None, 5, [], {}, True])
def test_malformed_part_is_refused(part: str, value: Any, device: Device) -> None:
    client = browser()
    credential = device.get(challenge(client))
    credential["response"][part] = value
    assert refused(client, credential)
