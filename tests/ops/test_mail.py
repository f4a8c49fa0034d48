"""Mail: the worker sends each message once, to a real mail server with all kinds of failures."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from amalga.local.processes import free_port
from tests.support.certificate_authority import CertificateAuthority
from tests.support.mail import run_worker, use_mail_server
from tests.support.smtp_server import CLOSE, HANG, SmtpServer
from uploads.models import MailState, OutgoingMail
from uploads.services import mail, task_queue
from uploads.services.mail import render

pytestmark = pytest.mark.django_db

ADDRESS = "bob@example.org"
PASSWORD = "hunter2-of-the-mail-server"
AWAY = ["450 4.2.1 bob@example.org is full", "421 4.3.2 bob@example.org: closing"]


@pytest.fixture
def server(mail_server: SmtpServer) -> SmtpServer:
    return mail_server


def enqueue() -> OutgoingMail:
    mail.enqueue("test", to=ADDRESS, language="en", context={})
    return OutgoingMail.objects.latest("created_at")


def retry_at_once() -> None:
    """End the pause before the next retry."""
    task_queue.results_of(mail.send_mails).filter(status="READY").update(run_after=timezone.now())


def state(row: OutgoingMail) -> MailState:
    row.refresh_from_db()
    return MailState(row.state)


# --- what is sent -------------------------------------------------------------------------------


def test_the_worker_sends_a_mail_as_text_and_html(server: SmtpServer) -> None:
    row = enqueue()
    assert server.mails == []
    run_worker()
    (sent,) = server.mails
    assert (sent.sender, sent.recipient) == ("files@example.org", ADDRESS)
    assert sent.message["Subject"] == "Test message from Amalga"
    assert sent.message["From"] == "Files <files@example.org>"
    assert sent.message["Auto-Submitted"] == "auto-generated"
    assert sent.message["Message-ID"] == f"<{row.pk}.amalga@example.org>"
    assert sent.text().strip().endswith("https://files.example.org/")
    assert '<a href="https://files.example.org/">' in sent.text("html")
    assert state(row) == MailState.SENT


def test_mail_is_sent_with_starttls_and_a_password(
    authority: CertificateAuthority, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with SmtpServer(starttls=authority.server("localhost"), password=PASSWORD).running() as server:
        use_mail_server(server, settings)
        enqueue()
        run_worker()
    assert [(sent.encrypted, sent.user) for sent in server.mails] == [(True, "amalga")]


def test_mail_is_sent_over_implicit_tls(
    authority: CertificateAuthority, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with SmtpServer(tls=authority.server("localhost")).running() as server:
        use_mail_server(server, settings)
        enqueue()
        run_worker()
    assert [sent.encrypted for sent in server.mails] == [True]


def test_an_unknown_certificate_gets_neither_mail_nor_password(
    authority: CertificateAuthority, settings: Settings
) -> None:
    with SmtpServer(starttls=authority.server("localhost"), password=PASSWORD).running() as server:
        use_mail_server(server, settings)
        row = enqueue()
        run_worker()
    assert "AUTH" not in server.verbs
    assert state(row) == MailState.WAITING
    assert row.response == "SSLCertVerificationError"


def test_no_password_is_sent_without_required_starttls(settings: Settings) -> None:
    with SmtpServer(password=PASSWORD).running() as server:
        use_mail_server(server, settings)
        settings.EMAIL_USE_TLS = True
        enqueue()
        run_worker()
    assert "AUTH" not in server.verbs


def test_a_rolled_back_transaction_sends_nothing(server: SmtpServer) -> None:
    with transaction.atomic():
        enqueue()
        transaction.set_rollback(True)
    run_worker()
    assert server.mails == []
    assert not DBTaskResult.objects.exists()


def test_no_mail_is_queued_without_a_mail_server(settings: Settings) -> None:
    settings.EMAIL_IS_CONFIGURED = False
    mail.enqueue("test", to=ADDRESS, language="en", context={})
    assert not OutgoingMail.objects.exists()
    assert not mail.is_configured()


@pytest.mark.parametrize("address", ["", "bob", "bob@example.org\r\nRCPT TO:<eve@example.org>", "a@x.org,b@x.org"])
def test_an_invalid_address_gets_nothing(server: SmtpServer, address: str) -> None:
    mail.enqueue("test", to=address, language="en", context={})
    assert not OutgoingMail.objects.exists()


def test_the_database_holds_neither_address_nor_content(server: SmtpServer) -> None:
    mail.enqueue("test", to=ADDRESS, language="en", context={"url": "https://files.example.org/invitations/secret/"})
    row = OutgoingMail.objects.get()
    assert ADDRESS not in row.payload
    assert "secret" not in row.payload
    (task,) = DBTaskResult.objects.all()
    assert task.args_kwargs == {"args": [[str(row.pk)]], "kwargs": {}}
    run_worker()
    row.refresh_from_db()
    assert row.payload == ""


def test_mail_is_abandoned_after_a_secret_key_change(server: SmtpServer, settings: Settings) -> None:
    row = enqueue()
    settings.SECRET_KEY = "another"
    run_worker()
    assert state(row) == MailState.ABANDONED
    assert server.mails == []


# --- a hostile context ---------------------------------------------------------------------------


@pytest.fixture
def greeting(settings: Settings, tmp_path: Any) -> None:
    """A template with a name in its subject, its text and its HTML."""
    folder = tmp_path / "mail"
    folder.mkdir()
    (folder / "greeting.txt").write_text("Hello {{ name }}\n\nDear {{ name }}\n{{ name }}\nBye\n")
    (folder / "greeting.html").write_text('{% extends "mail/base.html" %}{% block content %}{{ name }}{% endblock %}')
    (options,) = settings.TEMPLATES
    settings.TEMPLATES = [{**options, "DIRS": [tmp_path, *options["DIRS"]]}]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\u2028", "\x0b", "\x85", "\0"])
@pytest.mark.usefixtures("greeting")
def test_no_context_can_add_a_header(server: SmtpServer, line_break: str) -> None:
    name = f"Eve{line_break}Bcc: eve@example.org{line_break}{line_break}x"
    mail.enqueue("greeting", to=ADDRESS, language="en", context={"name": name})
    run_worker()
    (sent,) = server.mails
    assert sent.message["Bcc"] is None
    assert sent.message["To"] == ADDRESS
    assert sent.message["Subject"].startswith("Hello Eve")
    assert "\n" not in sent.message["Subject"]


@pytest.mark.usefixtures("greeting")
def test_html_is_escaped_and_text_is_not() -> None:
    message = render("greeting", to=ADDRESS, language="en", context={"name": "<b>Tom & Eve"}, name="x")
    assert message.subject == "Hello <b>Tom & Eve"
    assert "Dear <b>Tom & Eve" in str(message.body)
    html = str(message.alternatives[0][0])
    assert "&lt;b&gt;Tom &amp; Eve" in html
    assert "<b>" not in html


@pytest.mark.usefixtures("greeting")
def test_a_subject_in_another_script_arrives(server: SmtpServer) -> None:
    mail.enqueue("greeting", to=ADDRESS, language="en", context={"name": "Ñandú 北京 🎉"})
    run_worker()
    (sent,) = server.mails
    assert sent.message["Subject"] == "Hello Ñandú 北京 🎉"
    assert "Dear Ñandú 北京 🎉" in sent.text()


@pytest.mark.usefixtures("greeting")
def test_a_line_of_one_dot_does_not_end_the_mail(server: SmtpServer) -> None:
    mail.enqueue("greeting", to=ADDRESS, language="en", context={"name": "."})
    run_worker()
    (sent,) = server.mails
    assert sent.text().split() == ["Dear", ".", ".", "Bye"]


# --- a server that is unavailable or refuses ------------------------------------------------------------


def test_mail_is_retried_after_an_outage_of_the_server(server: SmtpServer, settings: Settings) -> None:
    settings.EMAIL_PORT = free_port()
    row = enqueue()
    run_worker()
    assert (state(row), row.tries, row.response) == (MailState.WAITING, 1, "ConnectionRefusedError")
    settings.EMAIL_PORT = server.port
    run_worker()
    assert server.mails == []  # the pause is not over
    retry_at_once()
    run_worker()
    assert len(server.mails) == 1
    assert state(row) == MailState.SENT


def test_retry_pauses_double(server: SmtpServer) -> None:
    server.rules["RCPT"] = "450 4.2.1 later"
    enqueue()
    pauses = []
    for _ in range(3):
        run_worker()
        later = task_queue.results_of(mail.send_mails).filter(status="READY").get()
        pauses.append(round((later.run_after - timezone.now()).total_seconds(), -1))
        retry_at_once()
    assert pauses == [30, 60, 120]


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END"])
@pytest.mark.parametrize("reply", AWAY)
def test_a_temporary_refusal_is_retried(server: SmtpServer, verb: str, reply: str) -> None:
    server.rules[verb] = [reply] * 2  # of EHLO, and of the HELO after it
    row = enqueue()
    run_worker()
    assert state(row) == MailState.WAITING
    server.rules.clear()
    retry_at_once()
    run_worker()
    assert (state(row), len(server.mails)) == (MailState.SENT, 1)


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "END"])
def test_a_permanent_refusal_is_not_retried(server: SmtpServer, verb: str, caplog: pytest.LogCaptureFixture) -> None:
    server.rules[verb] = f"550 5.1.1 <{ADDRESS}> is nobody here"
    row = enqueue()
    run_worker()
    assert (state(row), row.response, row.payload) == (MailState.REFUSED, "550 5.1.1", "")
    retry_at_once()
    run_worker()
    assert server.mails == []
    assert f"mail_failed mail={row.pk} template=test outcome=refused reason=550 5.1.1" in caplog.text
    assert ADDRESS not in caplog.text


def test_a_wrong_password_is_retried_and_not_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with SmtpServer(password="another").running() as server:
        use_mail_server(server, settings)
        settings.EMAIL_HOST_PASSWORD = PASSWORD
        row = enqueue()
        run_worker()
    assert (state(row), row.response) == (MailState.WAITING, "535 sign-in refused")
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("verb", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("fault", [HANG, CLOSE])
def test_mail_waits_after_the_server_stops_answering(
    server: SmtpServer, settings: Settings, verb: str, fault: str
) -> None:
    settings.EMAIL_TIMEOUT = 0.2
    server.rules[verb] = fault
    row = enqueue()
    run_worker()
    assert (state(row), server.mails) == (MailState.WAITING, [])


@pytest.mark.parametrize("fault", [HANG, CLOSE])
def test_a_mail_that_may_have_been_accepted_is_not_sent_again(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mail, "END_OF_DATA_SECONDS", 0.2)
    server.rules["END"] = fault
    row = enqueue()
    run_worker()
    assert state(row) == MailState.UNKNOWN
    server.rules.clear()
    mail.requeue_lost_mails()
    run_worker()
    assert len(server.mails) == 1
    assert "outcome=unknown" in caplog.text


def test_an_unavailable_server_is_tried_once_for_all_mails(server: SmtpServer) -> None:
    server.rules["CONNECT"] = "421 4.3.2 closing"
    for _ in range(5):
        enqueue()
    run_worker()
    assert sorted(OutgoingMail.objects.values_list("tries", flat=True)) == [0, 0, 0, 0, 1]
    server.rules.clear()
    retry_at_once()
    run_worker()
    assert len(server.mails) == 5


def test_a_refused_recipient_delays_no_other_mail(server: SmtpServer) -> None:
    server.rules["RCPT"] = ["450 4.2.1 later"]
    for _ in range(3):
        enqueue()
    run_worker()
    assert len(server.mails) == 2


def test_a_mail_is_given_up_after_many_tries(server: SmtpServer, caplog: pytest.LogCaptureFixture) -> None:
    server.rules["RCPT"] = "450 4.2.1 later"
    row = enqueue()
    OutgoingMail.objects.update(tries=task_queue.MAX_ATTEMPTS)
    run_worker()
    assert (state(row), row.payload) == (MailState.ABANDONED, "")
    assert "outcome=abandoned reason=450 4.2.1" in caplog.text


def test_an_old_mail_is_not_sent(server: SmtpServer) -> None:
    """After a database restore, the mails in it were sent long ago."""
    row = enqueue()
    OutgoingMail.objects.update(created_at=timezone.now() - mail.MAX_AGE - timedelta(minutes=1))
    run_worker()
    assert (state(row), server.mails) == (MailState.ABANDONED, [])


# --- workers that die ----------------------------------------------------------------------------


class Killed(BaseException):
    """A worker dies here."""


def kill(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def raise_killed(*_: Any) -> None:
        raise Killed

    ids = [str(OutgoingMail.objects.get().pk)]
    with monkeypatch.context() as patch:
        patch.setattr(mail, function, raise_killed)
        with pytest.raises(Killed):
            mail.send_mails.call(ids)


def age(row: OutgoingMail) -> None:
    OutgoingMail.objects.update(changed_at=timezone.now() - timedelta(seconds=mail.MAIL_LOST_AFTER_SECONDS + 1))


def test_a_worker_that_dies_before_the_end_of_the_mail_sent_nothing(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = enqueue()
    kill(monkeypatch, "_mark_sending")
    assert (state(row), server.mails) == (MailState.WAITING, [])
    run_worker()
    assert len(server.mails) == 1


def test_a_worker_that_dies_after_the_end_of_the_mail_does_not_send_it_again(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = enqueue()
    kill(monkeypatch, "_end")
    assert (state(row), len(server.mails)) == (MailState.SENDING, 1)
    run_worker()
    age(row)
    mail.requeue_lost_mails()
    run_worker()
    assert (state(row), len(server.mails)) == (MailState.UNKNOWN, 1)


def test_mail_with_lost_task_is_requeued(server: SmtpServer) -> None:
    enqueue()
    DBTaskResult.objects.all().delete()
    assert mail.requeue_lost_mails() == 1
    assert mail.requeue_lost_mails() == 0  # already queued
    run_worker()
    assert len(server.mails) == 1


def test_a_mail_that_waits_for_its_next_try_is_not_requeued(server: SmtpServer) -> None:
    server.rules["RCPT"] = "450 4.2.1 later"
    enqueue()
    run_worker()
    assert mail.requeue_lost_mails() == 0


def test_only_one_of_two_workers_sends(server: SmtpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    row = enqueue()
    OutgoingMail.objects.update(state=MailState.SENDING)
    with pytest.raises(mail.AlreadyTaken):
        mail._mark_sending(row)
    run_worker()
    assert server.mails == []


def test_old_rows_are_deleted(server: SmtpServer) -> None:
    enqueue()
    run_worker()
    OutgoingMail.objects.update(changed_at=timezone.now() - mail.RETENTION - timedelta(hours=1))
    waiting = enqueue()
    mail.requeue_lost_mails()
    assert [row.pk for row in OutgoingMail.objects.all()] == [waiting.pk]


def test_a_mail_leaves_no_secret_in_the_log(server: SmtpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    enqueue()
    run_worker()
    assert "mail_sent" in caplog.text
    assert ADDRESS not in caplog.text
