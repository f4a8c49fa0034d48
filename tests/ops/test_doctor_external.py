"""`doctor`: the mail server with a test message, and the identity providers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.support.mail import run_worker, use_mail_server
from tests.support.oidc_provider import SECRET, Identity, app, providing
from tests.support.smtp_server import CLOSE, SmtpServer
from uploads.models import OutgoingMail
from uploads.services import mail
from uploads.services.doctor import Level, send_test_mail
from uploads.services.doctor.external import mail_checks, outgoing_checks, provider_checks

pytestmark = pytest.mark.django_db

ADDRESS = "bob@example.org"
PASSWORD = "hunter2-of-the-mail-server"


def test_doctor_says_that_mail_is_not_configured(settings: Settings) -> None:
    settings.EMAIL_IS_CONFIGURED = False
    (result,) = mail_checks()
    assert (result.level, result.reason) == (Level.OK, "not configured: invitations and resets use links")


def test_doctor_signs_in(settings: Settings) -> None:
    with SmtpServer(password=PASSWORD).running() as server:
        use_mail_server(server, settings)
        (result,) = mail_checks()
        assert result.level is Level.OK
        settings.EMAIL_HOST_PASSWORD = "another"
        (result,) = mail_checks()
    assert result.level is Level.FAIL
    assert "535 sign-in refused" in result.reason
    assert "another" not in str(result)


def test_doctor_counts_mails_that_were_not_sent(mail_server: SmtpServer) -> None:
    assert [result.level for result in outgoing_checks()] == [Level.OK]
    mail_server.rules["RCPT"] = "550 5.1.1 no"
    mail.enqueue("test", to=ADDRESS, language="en", context={})
    run_worker()
    (result,) = outgoing_checks()
    assert (result.level, result.reason) == (Level.WARN, "1 mails of the last day were not sent")


@pytest.mark.parametrize(
    ("rules", "level", "text"),
    [({}, Level.OK, "accepted it"), ({"RCPT": "550 5.1.1 no"}, Level.FAIL, "550 5.1.1"),
     ({"CONNECT": "421 4.3.2 no"}, Level.FAIL, "421"), ({"END": CLOSE}, Level.WARN, "did not say")],
)  # fmt: skip
def test_a_test_message_is_sent_at_once(mail_server: SmtpServer, rules: Any, level: Level, text: str) -> None:
    mail_server.rules = rules
    result = send_test_mail(ADDRESS)
    assert result.level is level
    assert text in result.reason
    assert not OutgoingMail.objects.exists()


def test_a_test_message_needs_a_mail_server(settings: Settings) -> None:
    settings.EMAIL_IS_CONFIGURED = False
    assert send_test_mail(ADDRESS).reason == "mail is not configured"


def test_doctor_sends_a_test_message(mail_server: SmtpServer, bucket: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("doctor", "--send-test-mail", ADDRESS)
    assert f"test mail: localhost:{mail_server.port} accepted it" in capsys.readouterr().out
    assert [sent.recipient for sent in mail_server.mails] == [ADDRESS]


def test_doctor_refuses_an_invalid_address(mail_server: SmtpServer) -> None:
    with pytest.raises(CommandError, match="--send-test-mail must be an e-mail address") as refusal:
        call_command("doctor", "--send-test-mail", "nobody")
    assert refusal.value.returncode == 2


# --- identity providers -------------------------------------------------------------------------------


@pytest.fixture
def provider(settings: Settings) -> Iterator[Identity]:
    with providing() as provider:
        settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app(provider)]}}
        yield provider


def test_provider_that_can_be_used_is_ok_and_no_secret_is_shown(provider: Identity) -> None:
    (result,) = provider_checks()
    assert (result.level, result.advice) == (Level.OK, "")
    assert provider.issuer in result.reason
    assert SECRET not in str(result)


def test_wrong_issuer_fails(provider: Identity) -> None:
    provider.callback_issuer = "https://evil.example"
    (result,) = provider_checks()
    assert result.level is Level.FAIL
    assert "says that its issuer is “https://evil.example”" in result.reason
    assert result.advice == "set OIDC_ISSUER to your provider's issuer"


@pytest.mark.parametrize(("path", "text"), [
    ("/.well-known/openid-configuration", "cannot be read: HTTP 500"), ("/keys", "keys cannot be read: HTTP 500"),
])  # fmt: skip
def test_provider_that_does_not_answer_fails(provider: Identity, path: str, text: str) -> None:
    provider.away.add(path)
    (result,) = provider_checks()
    assert result.level is Level.FAIL
    assert text in result.reason


def test_entra_tenant_that_does_not_exist_is_named(provider: Identity, settings: Settings) -> None:
    entra = app(provider, vendor="entra")
    entra["settings"] |= {"server_url": f"{provider.issuer}/another/v2.0", "slug": "entra"}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app(provider), entra]}}
    good, bad = provider_checks()
    assert (good.level, bad.level) == (Level.OK, Level.FAIL)
    assert bad.advice.startswith("correct the tenant ID in OIDC_ENTRA_ISSUER")


@pytest.mark.parametrize(("document", "text"), [
    ([], "not a JSON object"), ({"jwks_uri": 7}, "names no usable authorization_endpoint"),
])  # fmt: skip
def test_unusable_discovery_document_fails(
    provider: Identity, document: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {"issuer": provider.issuer, **document} if isinstance(document, dict) else document
    monkeypatch.setattr(provider, "discovery", lambda: whole)
    (result,) = provider_checks()
    assert result.level is Level.FAIL
    assert text in result.reason


def test_without_a_provider_nothing_is_checked(settings: Settings) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": []}}
    assert list(provider_checks()) == []
