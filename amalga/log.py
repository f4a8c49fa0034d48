"""Log formats: JSON for programs, plain text for people. Both redact secrets, and text from clients cannot start a new
line."""

from __future__ import annotations

import itertools
import json
import logging
import re
import secrets
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from amalga import __version__

FORMATS = ("json", "plain")
EVENT = re.compile(r"[a-z]++_[a-z_]++(?=[ :]|$)")
# A balancer's request ID: a client cannot use it to inject text into a log, or to fill it.
NAME = re.compile(r"[A-Za-z0-9._:=-]{8,64}", re.ASCII)
# Fields of X-Amzn-Trace-Id. A load balancer of AWS keeps the Root that a client sends, and writes a Self of its own
# before it; where the client sent none, Root is the balancer's.
SELF = re.compile(r"\bSelf=(1-[0-9a-f]{8}-[0-9a-f]{24})\b")
ROOT = re.compile(r"\bRoot=(1-[0-9a-f]{8}-[0-9a-f]{24})\b")

# Set by each request and never reset, so that code that streams the response has it as well.
request_id: ContextVar[str] = ContextVar("request_id", default="")

REDACTED = "…"
# Paths of public links (uploads/models/links.py): what follows is a token, which works like a password.
LINK_PATHS = ("/s/", "/r/", "/invitations/", "/accounts/reset/")
# In characters. Log lines can contain text from clients (an Origin, a Host), of any length.
MAX_MESSAGE_CHARACTERS = 2_000
MAX_TRACEBACK = 20_000
# Our code never logs these; libraries put URLs, headers and settings into their exceptions.
# `re` blocks the whole process, so this takes linear time for any text: a run of characters is scanned once, from
# its beginning (the lookbehinds), and without backtracking (the possessive `++`, `*+`).
SECRETS = re.compile(
    r"""
      (?P<address> (?<![\w+.-]) [\w+.-]++ :// ) [^/\s@'"]++ (?=@)                          # user:password@host
    | (?P<link> /(?:s|r|invitations|accounts/reset)/ ) [^/\s?'"<>]{8,}+                     # as LINK_PATHS
    | (?P<query> \? ) [^\s'"<>?]* [=%] [^\s'"<>]*+                                         # signatures are in queries
    | (?P<signed> X-Amz-(?:Signature|Credential|Security-Token) ['"]? \s*+ [=:] \s*+ ) [^\s&,]++
    | (?P<scheme> \b (?:Bearer|Basic|AWS4-HMAC-SHA256) \s++ ) [^\s'"] [^'"\n]*+
    | (?P<header> (?:authorization|cookie) ['"]? \s*+ [=:] \s* ) [^\n]{4,}+
    | (?P<named> (?<![\w-])
        (?: [\w-]*+ (?<=api) [^\w\n-] key [\w-]*+                                          # "api key", "api.key"
          | (?= [\w-]*? (?:passw(?:or)?d|secret|token|session|csrf|api[\w-]?key|dsn) ) [\w-]*+ )
        ['"]? \s*+ [=:] \s*+ ['"]? ) [^\s'",;)}\]]{4,}+
    | (?P<row> \b (?-i: DETAIL: | LINE[ ]\d{1,9}: | CONTEXT:[ ]{1,9}COPY ) ) [^\n]++       # row values of Postgres
    """,
    re.VERBOSE | re.IGNORECASE,
)


# Text without any of these has nothing to redact: a quick check.
HINT = re.compile(
    r"/(?:s|r|invitations|accounts/reset)/|[?]|://|amz-|passw|secret|token|session|csrf|bearer|basic|aws4|authoriz|cookie"
    r"|api.?key|dsn|detail:|line \d+:|context:",
    re.IGNORECASE,
)
FIELD_BREAK = re.compile(r"[\s=\"']")
WORD_END = re.compile(r"[\s'\"]")


def redact(text: str) -> str:
    """Return `text` without passwords, tokens, cookies, signatures and queries, cut to about MAX_MESSAGE_CHARACTERS."""
    return _redact_secrets(_cut(text, MAX_MESSAGE_CHARACTERS))


def redact_traceback(text: str) -> str:
    """Redact many lines: each is cut, and the middle ones are left out if there are too many."""
    lines = [_cut(line, MAX_MESSAGE_CHARACTERS) for line in text.split("\n")]
    first = _count_fitting(lines, MAX_TRACEBACK // 2)
    last = _count_fitting(lines[: first - 1 if first else None : -1], MAX_TRACEBACK // 2)
    if left_out := len(lines) - first - last:
        lines[first : first + left_out] = [f"{REDACTED} [{left_out} lines left out]"]
    return _redact_secrets("\n".join(lines))


def _redact_secrets(text: str) -> str:
    if not HINT.search(text):
        return text
    return SECRETS.sub(lambda match: next(filter(None, match.groups())) + REDACTED, text)


def _cut(text: str, limit: int) -> str:
    """Return the beginning of a text, cut before a whole word: half a secret would not be recognized."""
    if len(text) <= limit:
        return text
    end = max((match.end() for match in WORD_END.finditer(text, 0, limit)), default=0)
    return f"{text[:end]}{REDACTED} [cut, {len(text)} characters]"


def _count_fitting(lines: list[str], limit: int) -> int:
    """Return how many of the first lines fit into `limit` characters."""
    sizes = itertools.accumulate(len(line) + 1 for line in lines)
    return sum(1 for _ in itertools.takewhile(lambda size: size <= limit, sizes))


def new_request_id() -> str:
    return secrets.token_hex(8)


def trusted_request_id(trace: str, text: str) -> str:
    """Return the balancer's request ID from X-Amzn-Trace-Id or X-Request-Id; "" if neither is valid."""
    trace = trace[:256]
    if match := SELF.search(trace) or ROOT.search(trace):
        return match[1]
    return text if NAME.fullmatch(text) else ""


def single_line(text: str) -> str:
    """Escape characters that could begin another line, move the cursor or change the writing direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def field_value(text: str) -> str:
    """Return untrusted text as the value of `name=value`, quoted if it could be read as more fields."""
    is_plain = text.isprintable() and text and not FIELD_BREAK.search(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """Formats a record as one line, with its traceback indented below."""

    def format(self, record: logging.LogRecord) -> str:
        # another handler may have cached its own traceback in the record: keep it
        cached, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = cached

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        name = request_id.get()
        message = single_line(redact(record.message))
        return f"{record.asctime} {record.levelname} {record.name} {message}{' request=' + name if name else ''}"

    def usesTime(self) -> bool:  # noqa: N802
        return True

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802
        lines = redact_traceback(super().formatException(ei)).splitlines()
        return "\n".join(f"  | {single_line(line)}" for line in lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return "\n".join(f"  | {single_line(line)}" for line in redact_traceback(stack_info).splitlines())


def print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception (`sys.excepthook`), redacted and without control characters."""
    sys.stderr.write(f"{PlainFormatter().formatException((kind, error, trace))}\n")


class JSONFormatter(JsonFormatter):
    """Formats a record as a JSON object. Of its extra attributes only `fields` is included: Django attaches the request
    to records."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        at = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["version"] = __version__
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = redact(record.message)
        if event := EVENT.match(record.message):
            log_data["event"] = event[0]
        if name := request_id.get():
            log_data["request_id"] = name
        for source, target in (("exc_info", "exception"), ("stack_info", "stack")):
            if source in message_dict:
                log_data[target] = redact_traceback(str(message_dict[source]))
        log_data.update(getattr(record, "fields", {}))


class SuspiciousRequestFilter(logging.Filter):
    """Log requests that Django refuses as suspicious as warnings without traceback.

    Any client can send a form with too many fields or an unknown host: these are no errors of the program.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("django.security."):
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
            record.exc_info = record.exc_text = None
        return True


def log_format(text: str, *, debug: bool) -> str:
    """Return `json` or `plain` for a LOG_FORMAT. Raises ValueError for another value."""
    name = text.strip().lower() or ("plain" if debug else "json")
    if name not in FORMATS:
        raise ValueError(f"LOG_FORMAT must be json or plain, not “{text[:50]}”.")
    return name


def configuration(name: str) -> dict[str, Any]:
    """Return the dictConfig of a format, also for gunicorn, which logs before Django is loaded."""
    formatters = {"json": {"()": "amalga.log.JSONFormatter"}, "plain": {"()": "amalga.log.PlainFormatter"}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatters[name]},
        "filters": {"suspicious": {"()": "amalga.log.SuspiciousRequestFilter"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["suspicious"]}},
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            # Django's own console handler logs only with DEBUG; the root handler always does.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"level": "ERROR"},
            # botocore writes headers and URLs, signatures among them, below this level
            "botocore": {"level": "WARNING"},
            "urllib3": {"level": "ERROR"},
            "gunicorn.error": {"handlers": [], "propagate": True},
        },
    }
