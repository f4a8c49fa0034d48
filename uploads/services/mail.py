"""Mail: `enqueue` in a transaction, and the worker sends it. Nothing happens where no mail server is configured.

A mail is sent again only if the server has certainly not accepted it. Before its last line is sent, the row says so; if
the answer to that is lost, the mail counts as `unknown` and is not sent again (RFC 5321, 4.5.3.2.6 and 6.1).
"""

from __future__ import annotations

import json
import logging
import re
import smtplib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address
from django.core.validators import validate_email
from django.db.models import F
from django.db.models.functions import Now
from django.template import Context
from django.template.loader import get_template
from django.utils import timezone, translation
from django_tasks import task

from uploads.encryption import decrypt, encrypt
from uploads.models import MailState, OutgoingMail
from uploads.models.links import absolute_url
from uploads.services.task_queue import MAX_ATTEMPTS, is_active, postpone, requeue_lost, retry_later, waiting_ids

logger = logging.getLogger(__name__)
KEY_PURPOSE = b"amalga outgoing mail"
# No task takes this long: its worker was killed.
MAIL_LOST_AFTER_SECONDS = 900
# A link in a mail can be older than its validity; a restored database must not send what was sent long ago.
MAX_AGE = timedelta(days=2)
RETENTION = timedelta(days=7)
REQUEUE_BATCH_SIZE = 500
MAX_SUBJECT_CHARACTERS = 200
# A server can scan the whole mail before it answers to the end of it.
END_OF_DATA_SECONDS = 30.0
ENHANCED_STATUS = re.compile(rb"\s*([245]\.\d{1,3}\.\d{1,3})\b")  # RFC 3463
LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)  # RFC 5321, 4.5.2
ACCEPTED = 250
START_DATA = 354


class AlreadyTaken(Exception):
    """Another worker sends this mail."""


class MailServerUnavailable(Exception):
    """The server is unavailable, or accepts no mail at the moment. `reason` contains no text of the server."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MailDeferred(MailServerUnavailable):
    """The server refused this mail for now (4xx)."""


class MailRefused(Exception):
    """The server refused this mail for good (5xx). `reason` contains no text of the server."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OutcomeUnknown(Exception):
    """The mail was sent completely, and the server did not answer. It may have accepted the mail."""


def is_configured() -> bool:
    return bool(settings.EMAIL_IS_CONFIGURED)


def enqueue(template: str, *, to: str, language: str, context: Mapping[str, Any]) -> None:
    """Send a mail by the worker, if the caller's transaction is committed. Without a mail server this does nothing.

    `template` is the name of two files in templates/mail/: NAME.txt, whose first line is the subject, and NAME.html.
    `context` must be JSON; links in it are absolute (`absolute_url`). An invalid address is logged, and gets nothing.
    """
    if not is_configured():
        return
    try:
        validate_email(to)
    except ValidationError:
        logger.warning("mail_address_invalid template=%s", template)
        return
    payload = json.dumps({"to": to, "context": dict(context)})
    mail = OutgoingMail.objects.create(
        template=template, language=language, payload=encrypt(payload, purpose=KEY_PURPOSE)
    )
    send_mails.enqueue([str(mail.pk)])


def send_now(template: str, *, to: str, language: str, context: Mapping[str, Any]) -> None:
    """Send a mail at once, not by the worker. For operators' commands only.

    Raises MailServerUnavailable, MailRefused or OutcomeUnknown.
    """
    message = render(template, to=to, language=language, context=context, name=f"test-{uuid4()}")
    transmit(message, before_end=lambda: None)


def check_connection(*, timeout: float) -> None:
    """Connect to the mail server and sign in. Raises MailServerUnavailable."""
    _close(_open(timeout=timeout))


@task()
def send_mails(ids: list[str]) -> int:
    """Send these mails, and retry later if the server is unavailable. Returns how many were accepted."""
    return sum(_send(mail) for mail in OutgoingMail.objects.filter(pk__in=ids, state=MailState.WAITING))


def requeue_lost_mails() -> int:
    """Requeue mails whose task was lost, give up those of killed workers, and delete old rows.

    Returns how many were requeued. Safe to repeat; cheap when there is nothing to do.
    """
    requeue_lost(send_mails, lost_after_seconds=MAIL_LOST_AFTER_SECONDS)
    now = timezone.now()
    lost = OutgoingMail.objects.filter(
        state=MailState.SENDING, changed_at__lt=now - timedelta(seconds=MAIL_LOST_AFTER_SECONDS)
    )
    for mail in lost[:REQUEUE_BATCH_SIZE]:
        _end(mail, MailState.UNKNOWN, "")
    ended = OutgoingMail.objects.exclude(state__in=(MailState.WAITING, MailState.SENDING))
    ended.filter(changed_at__lt=now - RETENTION).delete()
    if is_active(send_mails):
        return 0  # mails without a delay may still be in the queue
    waiting = OutgoingMail.objects.filter(state=MailState.WAITING).exclude(pk__in=waiting_ids(send_mails))
    ids = list(waiting.order_by("changed_at").values_list("pk", flat=True)[:REQUEUE_BATCH_SIZE])
    for pk in ids:
        send_mails.enqueue([str(pk)])
    return len(ids)


def _send(mail: OutgoingMail) -> bool:
    """Send one mail, and return whether the server accepted it."""
    if mail.created_at < timezone.now() - MAX_AGE or not is_configured():
        _end(mail, MailState.ABANDONED, mail.response)
        return False
    try:
        message = _decrypted_message(mail)
    except Exception as error:  # it would fail again, and must not stop other mails
        logger.error("mail_invalid mail=%s template=%s error=%s", mail.pk, mail.template, type(error).__name__)
        _end(mail, MailState.ABANDONED, "")
        return False
    try:
        transmit(message, before_end=lambda: _mark_sending(mail))
    except MailRefused as refusal:
        _end(mail, MailState.REFUSED, refusal.reason)
    except MailServerUnavailable as problem:
        _retry(mail, problem)
    except OutcomeUnknown:
        _end(mail, MailState.UNKNOWN, "")
    except AlreadyTaken:
        return False
    else:
        _end(mail, MailState.SENT, "")
        return True
    return False


def _mark_sending(mail: OutgoingMail) -> None:
    """Record that the next line can make the server accept the mail."""
    waiting = OutgoingMail.objects.filter(pk=mail.pk, state=MailState.WAITING)
    if not waiting.update(state=MailState.SENDING, changed_at=Now()):
        raise AlreadyTaken


def _retry(mail: OutgoingMail, problem: MailServerUnavailable) -> None:
    if mail.tries >= MAX_ATTEMPTS:
        _end(mail, MailState.ABANDONED, problem.reason)
        return
    rows = OutgoingMail.objects.filter(pk=mail.pk, state__in=(MailState.WAITING, MailState.SENDING))
    rows.update(state=MailState.WAITING, tries=F("tries") + 1, response=problem.reason[:40], changed_at=Now())
    logger.warning("mail_deferred mail=%s tries=%s reason=%s", mail.pk, mail.tries + 1, problem.reason)
    if not isinstance(problem, MailDeferred):
        postpone(send_mails, mail.tries)  # each of the others would wait for the same server
    retry_later(send_mails, mail.tries).enqueue([str(mail.pk)])


def _end(mail: OutgoingMail, state: MailState, reason: str) -> None:
    """Close a mail, and delete its content."""
    ended = OutgoingMail.objects.filter(pk=mail.pk, state__in=(MailState.WAITING, MailState.SENDING))
    if not ended.update(state=state, response=reason[:40], payload="", changed_at=Now()):
        return
    if state == MailState.SENT:
        logger.info("mail_sent mail=%s template=%s", mail.pk, mail.template)
    else:
        logger.error("mail_failed mail=%s template=%s outcome=%s reason=%s", mail.pk, mail.template, state, reason)


def _decrypted_message(mail: OutgoingMail) -> EmailMultiAlternatives:
    payload = json.loads(decrypt(mail.payload, purpose=KEY_PURPOSE))
    return render(
        mail.template, to=payload["to"], language=mail.language, context=payload["context"], name=str(mail.pk)
    )


# --- text and HTML ---------------------------------------------------------------------------------


def render(template: str, *, to: str, language: str, context: Mapping[str, Any], name: str) -> EmailMultiAlternatives:
    """Return the mail. The subject is one line of printable characters, whatever the context contains."""
    values = {**context, "site_url": absolute_url("/")}
    with translation.override(language):
        # a plain text is no HTML: nothing is escaped
        text_template: Any = get_template(f"mail/{template}.txt")
        text = text_template.template.render(Context(values, autoescape=False)).strip()
        html = get_template(f"mail/{template}.html").render({**values, "language": language})
    first_line, _, body = text.partition("\n")
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(" >") or "localhost"
    message = EmailMultiAlternatives(
        _single_line(first_line),
        body.strip() + "\n",
        settings.DEFAULT_FROM_EMAIL,
        [to],
        # the same in each try, so that receivers recognize a repeated mail; RFC 3834 stops automatic replies
        headers={"Message-ID": f"<{name}.amalga@{domain}>", "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(html, "text/html")
    return message


def _single_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:MAX_SUBJECT_CHARACTERS]


# --- SMTP ------------------------------------------------------------------------------------------


def transmit(message: EmailMultiAlternatives, *, before_end: Callable[[], None]) -> None:
    """Send a mail. `before_end` is called when all but the last line is sent: until then, nothing is accepted."""
    try:
        sender, recipient = (sanitize_address(address, "utf-8") for address in (message.from_email, message.to[0]))
    except ValueError:
        raise MailRefused("invalid address") from None
    mime: Any = message.message()
    content = LEADING_DOT.sub(b"..", mime.as_bytes(linesep="\r\n"))
    backend = _open(timeout=settings.EMAIL_TIMEOUT)
    try:
        smtp: smtplib.SMTP = backend.connection
        try:
            options = ["BODY=8BITMIME"] if smtp.has_extn("8bitmime") else []
            _require(ACCEPTED, smtp.mail(sender, options))
            _require(ACCEPTED, smtp.rcpt(recipient))
            _require(START_DATA, smtp.docmd("DATA"))
            smtp.send(content if content.endswith(b"\r\n") else content + b"\r\n")
        except OSError as error:
            raise MailServerUnavailable(_reason(error)) from None
        try:
            before_end()
        except BaseException:
            smtp.close()  # without the last line, the server accepts nothing
            raise
        try:
            if smtp.sock is not None:
                smtp.sock.settimeout(END_OF_DATA_SECONDS)
            smtp.send(b".\r\n")
            reply = smtp.getreply()
        except OSError:
            raise OutcomeUnknown from None
        _require(ACCEPTED, reply)
    finally:
        _close(backend)


def _open(*, timeout: float) -> Any:
    """Return Django's SMTP backend, connected and signed in. Raises MailServerUnavailable."""
    backend: Any = EmailBackend(timeout=timeout)
    try:
        backend.open()
        backend.connection.ehlo_or_helo_if_needed()
    except OSError as error:
        _close(backend)
        raise MailServerUnavailable(_reason(error)) from None
    return backend


def _close(backend: Any) -> None:
    with suppress(OSError):  # whether a mail is accepted is known by now
        backend.close()


def _require(expected: int, reply: tuple[int, bytes]) -> None:
    """Raise MailDeferred or MailRefused unless the server's reply is `expected`. 251 and 252 accept a recipient."""
    code, text = reply
    if code == expected or (expected == ACCEPTED and code in {251, 252}):
        return
    status = ENHANCED_STATUS.match(text)
    reason = f"{code} {status[1].decode()}" if status else str(code)
    if 500 <= code <= 599:
        raise MailRefused(reason)
    if code == 421:  # RFC 5321, 3.8: the server closes the connection, for every mail
        raise MailServerUnavailable(reason)
    raise MailDeferred(reason)


def _reason(error: OSError) -> str:
    """Describe a connection error without the server's text."""
    if isinstance(error, smtplib.SMTPResponseException):
        kind = "sign-in refused" if isinstance(error, smtplib.SMTPAuthenticationError) else "refused"
        return f"{error.smtp_code} {kind}"
    return type(error).__name__
