"""What of a request has come: enough to decide whether a thread may take it, and no more is read of it here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

HEAD_END = b"\r\n\r\n"
MOST_HEAD = 64 * 1024
# A body of this size is waited for before a thread takes the request. Larger ones are files in a form and calls about
# thousands of parts.
MOST_BODY = 256 * 1024
TOO_MANY = b"Too many people are asking at once. Please try again in a few seconds."
LONG_ANSWERS = (b"POST /files/zip ",)
MOST_DIGITS = 18  # of a length; more is refused further in, and so is what is no number
# How long the body is, or that this is told otherwise.
TOLD = re.compile(rb"\r\n(content-length|transfer-encoding)[ \t]*:([^\r\n]*)", re.IGNORECASE)
# The body's sender waits for a word from us.
EXPECTING = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


class Lane(Enum):
    """Which threads may take a request."""

    QUICK = "quick"  # it is here as a whole, and the answer fits into the kernel's buffers
    LONG = "long"  # its body is still on its way, or its answer is as long as files are
    ALIVE = "alive"  # a balancer's question whether we live
    READY = "ready"  # and whether we can serve, for which we ask others


PROBES = {
    b"GET /healthz": Lane.ALIVE,
    b"HEAD /healthz": Lane.ALIVE,
    b"GET /readyz": Lane.READY,
    b"HEAD /readyz": Lane.READY,
}


@dataclass(slots=True)
class Arrival:
    lane: Lane
    whole: bool  # nothing more has to be read from the connection


def looked_at(got: bytes | bytearray) -> Arrival | None:
    """None as long as more has to come. Raises TooMuch for a head without an end."""
    end = got.find(HEAD_END)
    if end < 0:
        if len(got) > MOST_HEAD:
            raise TooMuch
        return None
    head = bytes(got[: end + 2])
    body = _body(head)
    if probe := PROBES.get(head[: head.find(b" HTTP/")]):
        return Arrival(probe, whole=body == 0)
    if body is None or body > MOST_BODY:
        return Arrival(Lane.LONG, whole=False)
    if len(got) < end + len(HEAD_END) + body:
        return None
    return Arrival(Lane.LONG if head.startswith(LONG_ANSWERS) else Lane.QUICK, whole=True)


def _body(head: bytes) -> int | None:
    """How many bytes follow this head. None for what nobody may count on, so that nobody waits for them."""
    told = {name.lower(): value.strip(b" \t") for name, value in TOLD.findall(head)}
    length = told.pop(b"content-length", b"0")
    return int(length) if not told and length.isdigit() and len(length) <= MOST_DIGITS else None


def expectation(got: bytes | bytearray) -> slice | None:
    """Where a head says that its sender waits for `GO_ON`, which HTTP/1.0 does not know (RFC 9110, 10.1.1)."""
    end = got.find(HEAD_END)
    if end < 0 or not got[: got.find(b"\r\n")].endswith(b" HTTP/1.1"):
        return None
    found = EXPECTING.search(got, 0, end + 2)
    return slice(*found.span()) if found else None


class TooMuch(Exception):
    """Nobody's browser sends that many headers."""


def turned_away(*, seconds: int, protocol: bool) -> bytes:
    """What somebody hears for whom there is no thread: in one piece, since nobody has time to make a page."""
    kind, body = b"text/plain; charset=utf-8", TOO_MANY
    if protocol:
        kind, body = b"application/json", b'{"error": {"code": "unavailable", "message": "%s"}}' % TOO_MANY
    return _answer(b"503 Service Unavailable", b"Retry-After: %d" % seconds, b"Content-Type: " + kind, body=body)


def refused(status: bytes) -> bytes:
    """What those hear who did not ask as HTTP wants it, or not in time."""
    return _answer(status, b"Content-Type: text/plain", body=b"")


def _answer(status: bytes, *headers: bytes, body: bytes) -> bytes:
    always = [b"Cache-Control: no-store", b"Content-Security-Policy: default-src 'none'",
              b"X-Content-Type-Options: nosniff", b"Connection: close", b"Content-Length: %d" % len(body)]  # fmt: skip
    return b"\r\n".join([b"HTTP/1.1 " + status, *headers, *always, b"", body])
