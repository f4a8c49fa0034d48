"""`doctor`: the mail server, and a test message."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.support.mail import run_worker, use_mail_server
from tests.support.smtp_server import CLOSE, SmtpServer
from uploads.models import OutgoingMail
from uploads.services import mail
from uploads.services.doctor import Level, send_test_mail
from uploads.services.doctor.mail import mail_checks, outgoing_checks

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
