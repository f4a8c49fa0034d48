"""Scans the logs of the tests and of the servers that they start for secrets."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.middleware import csrf

from amalga.log import JSONFormatter, PlainFormatter

# Patterns of secrets, for any installation.
OPENERS = {
    "signature": r"X-Amz-(?:Signature|Credential|Security-Token)\W{1,4}\w|AWS4-HMAC-SHA256 \w",
    "signed address": r"[?&](?:Signature|Policy|Key-Pair-Id)=[\w~-]{8}",
    "session or token of a form": r"(?:session(?:id)?|csrf\w*)[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9]{16}",
    "cookie": r"\b(?:set-)?cookie[\"']?\s*[=:]\s*[\"']?[\w-]+=",
    "password": r"passw(?:or)?d[\"']?\s*[=:]\s*[\"']?[^\s\"'…*.)]{4}",
    "address with a password": r"\b[a-z][\w+.-]*://[^/\s:@'\"]*:[^/\s@'\"…]+@",
    "authorization": r"authorization[\"']?\s*[=:]\s*[\"']?(?:bearer|basic|aws4)|\bBearer [\w.~+/-]{16}",
    "token of a person": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
}
FORBIDDEN = re.compile(
    "|".join(f"(?P<_{number}>{pattern})" for number, pattern in enumerate(OPENERS.values())), re.IGNORECASE
)
LONG_WORD = re.compile(r"[A-Za-z0-9]{32,}")
SHORTEST_SECRET = 8


class LogScanner(logging.Handler):
    """Scans every record as written, before redaction, and as formatted by our formatters."""

    def __init__(self) -> None:
        super().__init__()
        self.ways = {"as written": logging.Formatter(), "plain": PlainFormatter(), "json": JSONFormatter()}
        self.found: list[str] = []
        self.given_out: set[str] = set()  # session keys and CSRF tokens that this process created
        self.secrets = {secret for secret in _of_this_run() if len(secret) >= SHORTEST_SECRET}
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        for way, formatter in self.ways.items():
            self.scan(formatter.format(record), where=f"{record.name} ({way})")

    def scan(self, text: str, *, where: str) -> None:
        for variant in {text, unquote(text)}:
            self.found += [f"{reason} in {where}: {variant[:2000]}" for reason in self._reasons(variant)]

    def scan_file(self, path: Path) -> None:
        for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
            self.scan(line, where=path.name)

    def take(self) -> list[str]:
        leaks, self.found = self.found, []
        return leaks

    def watch(self) -> None:
        """Record every session key and CSRF token that is created from now on."""
        new_key, new_token = SessionBase._get_new_session_key, csrf._get_new_csrf_string  # type: ignore[attr-defined]

        def key_of(session: SessionBase) -> str:
            key: str = new_key(session)
            self.given_out.add(key)
            return key

        def token() -> str:
            value: str = new_token()
            self.given_out.add(value)
            return value

        SessionBase._get_new_session_key = key_of  # type: ignore[attr-defined]
        csrf._get_new_csrf_string = token

    def _reasons(self, text: str) -> set[str]:
        reasons = set()
        if match := FORBIDDEN.search(text):
            reasons.add([*OPENERS][int(str(match.lastgroup)[1:])])
        if any(secret in text for secret in self.secrets):
            reasons.add("secret of this run")
        if not self.given_out.isdisjoint(LONG_WORD.findall(text)):
            reasons.add("session or token that was given out")
        return reasons


def _of_this_run() -> set[str]:
    database = settings.DATABASES["default"]
    url = urlsplit(os.environ.get("DATABASE_URL", ""))
    secrets = [settings.SECRET_KEY, database.get("PASSWORD"), os.environ.get("AWS_SECRET_ACCESS_KEY"), url.password]
    return {*map(str, filter(None, secrets)), "correct horse battery staple"}


scanner: LogScanner | None = None


def begin() -> LogScanner:
    """Return the scanner of this process, attached to the root logger."""
    global scanner
    if scanner is None:
        scanner = LogScanner()
        scanner.watch()
    logging.getLogger().addHandler(scanner)  # again, after a reconfiguration; twice has no effect
    return scanner
