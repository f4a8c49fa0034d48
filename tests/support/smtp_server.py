"""A mail server in threads of the tests: RFC 5321 with STARTTLS, AUTH and 8BITMIME, and faults on demand."""

from __future__ import annotations

import base64
import email
import email.policy
import re
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from tests.support.http_servers import serve_in_thread

HANG, CLOSE = "hang", "close"
HANG_SECONDS = 30.0


@dataclass(frozen=True)
class Mail:
    sender: str
    recipient: str
    content: bytes
    encrypted: bool
    user: str

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def text(self, kind: str = "plain") -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content())


@dataclass
class SmtpServer:
    """`rules`: replies by verb (CONNECT, EHLO, …, DATA, END for the end of the data), or HANG or CLOSE.

    The replies of a list are used one by one; then the server replies as usual.
    """

    tls: ssl.SSLContext | None = None
    starttls: ssl.SSLContext | None = None
    password: str = ""
    rules: dict[str, str | list[str]] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    port: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def rule(self, verb: str) -> str | None:
        rule = self.rules.get(verb)
        if isinstance(rule, list):
            return rule.pop(0) if rule else None
        return rule

    @contextmanager
    def running(self) -> Iterator[SmtpServer]:
        with socketserver.ThreadingTCPServer(("127.0.0.1", self.port), _Session) as server:
            server.daemon_threads = True
            server.block_on_close = False
            self.port = server.server_address[1]
            server.smtp = self  # type: ignore[attr-defined]
            with serve_in_thread(server):
                yield self
                self.ended.set()


class _Session(socketserver.BaseRequestHandler):
    def setup(self) -> None:
        self.smtp: SmtpServer = self.server.smtp  # type: ignore[attr-defined]
        self.encrypted = False
        self.file: Any = self.request.makefile("rb")
        self.user = self.sender = self.recipient = ""

    def handle(self) -> None:
        try:
            if self.smtp.tls:
                self._encrypt(self.smtp.tls)
            if self._reply("CONNECT", "220 mail.example.org ESMTP"):
                while line := self.file.readline(2048):
                    if not self._command(line):
                        return
        except OSError:  # the client disconnected or does not trust our certificate
            return

    def finish(self) -> None:
        self.file.close()
        self.request.close()

    def _encrypt(self, context: ssl.SSLContext) -> None:
        self.file.close()
        self.request = context.wrap_socket(self.request, server_side=True)
        self.file = self.request.makefile("rb")
        self.encrypted = True

    def _command(self, line: bytes) -> bool:
        """Reply to one command. Return whether the session continues."""
        assert line.endswith(b"\r\n"), f"a line without CRLF: {line!r}"
        verb, _, argument = line.decode("ascii").strip().partition(" ")
        verb = verb.upper()
        self.smtp.verbs.append(verb)
        method = getattr(self, f"_{verb.lower()}", None)
        if method is None:
            return self._reply(verb, "500 5.5.1 unknown command")
        return bool(method(argument))

    def _reply(self, verb: str, usual: str) -> bool:
        return self._send(self.smtp.rule(verb) or usual)

    def _send(self, text: str) -> bool:
        """Send a reply, hang or close. Return whether the session continues."""
        if text == HANG:
            self.smtp.ended.wait(HANG_SECONDS)
            return False
        if text == CLOSE:
            return False
        self.request.sendall(f"{text}\r\n".encode())
        return not text.startswith("421")

    def _ehlo(self, _name: str) -> bool:
        lines = ["mail.example.org", "8BITMIME"]
        if self.smtp.starttls and not self.encrypted:
            lines.append("STARTTLS")
        elif self.smtp.password:
            lines.append("AUTH PLAIN")
        usual = "\r\n".join(f"250{'-' if line != lines[-1] else ' '}{line}" for line in lines)
        return self._reply("EHLO", usual)

    def _starttls(self, _argument: str) -> bool:
        assert self.smtp.starttls
        if not self._reply("STARTTLS", "220 2.0.0 go ahead"):
            return False
        self._encrypt(self.smtp.starttls)
        return True

    def _auth(self, argument: str) -> bool:
        mechanism, _, encoded = argument.partition(" ")
        assert mechanism == "PLAIN", mechanism
        _, user, password = base64.b64decode(encoded).decode().split("\0")
        if password != self.smtp.password:
            return self._reply("AUTH", f"535 5.7.8 {user} has another password than {password}")
        self.user = user
        return self._reply("AUTH", "235 2.7.0 signed in")

    def _mail(self, argument: str) -> bool:
        address = re.fullmatch(r"FROM:<([^<>\s]+)>( BODY=8BITMIME)?", argument, re.IGNORECASE)
        if not address:
            return self._reply("MAIL", "501 5.5.4 syntax")
        if self.smtp.password and not self.user:
            return self._reply("MAIL", "530 5.7.0 sign in first")
        self.sender = address[1]
        return self._reply("MAIL", "250 2.1.0 ok")

    def _rcpt(self, argument: str) -> bool:
        address = re.fullmatch(r"TO:<([^<>\s]+)>", argument, re.IGNORECASE)
        if not address or not self.sender:
            return self._reply("RCPT", "503 5.5.1 bad sequence")
        self.recipient = address[1]
        return self._reply("RCPT", "250 2.1.5 ok")

    def _data(self, _argument: str) -> bool:
        if not self.recipient:
            return self._send("503 5.5.1 bad sequence")
        refusal = self.smtp.rule("DATA")
        if not self._send(refusal or "354 end with a dot") or refusal:
            return refusal is not None
        lines = []
        while (line := self.file.readline()) != b".\r\n":
            if not line:
                return False  # incomplete data is not accepted
            assert line.endswith(b"\r\n")
            assert len(line) <= 1000  # RFC 5321, 4.5.3.1.6
            lines.append(line[1:] if line.startswith(b".") else line)
        reply = self.smtp.rule("END")
        if reply in (None, HANG, CLOSE):  # the server accepts the mail even if its reply is lost
            self.smtp.mails.append(Mail(self.sender, self.recipient, b"".join(lines), self.encrypted, self.user))
        self.sender = self.recipient = ""
        return self._send(reply or "250 2.0.0 queued")

    def _rset(self, _argument: str) -> bool:
        self.sender = self.recipient = ""
        return self._reply("RSET", "250 2.0.0 ok")

    def _quit(self, _argument: str) -> bool:
        self._reply("QUIT", "221 2.0.0 bye")
        return False
