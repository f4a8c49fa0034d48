"""One mail over SMTP, so that it is known at each moment whether the server can have accepted it."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.smtp import EmailBackend
from django.core.mail.message import sanitize_address

# A server can scan the whole mail before it answers to the end of it.
END_OF_DATA_SECONDS = 30.0
ENHANCED_STATUS = re.compile(rb"\s*([245]\.\d{1,3}\.\d{1,3})\b")  # RFC 3463
LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)  # RFC 5321, 4.5.2
ACCEPTED = 250
START_DATA = 354


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


def check_connection(*, timeout: float) -> None:
    """Connect to the mail server and sign in. Raises MailServerUnavailable."""
    _close(_open(timeout=timeout))


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
