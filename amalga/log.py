"""How a line of the log looks: JSON where programs read it, plain where people do. Neither holds what opens a door, and
nothing that somebody sent begins a line of its own."""

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

FORMATS = ("json", "plain")
EVENT = re.compile(r"[a-z]++_[a-z_]++(?=[ :]|$)")
# What a balancer calls a request: nothing that anybody could use to write into a log, or to fill it.
NAME = re.compile(r"[A-Za-z0-9._:=-]{8,64}", re.ASCII)
# Fields of X-Amzn-Trace-Id. A load balancer of AWS keeps the Root that a client sends, and writes a Self of its own
# before it; where the client sent none, Root is the balancer's.
SELF = re.compile(r"\bSelf=(1-[0-9a-f]{8}-[0-9a-f]{24})\b")
ROOT = re.compile(r"\bRoot=(1-[0-9a-f]{8}-[0-9a-f]{24})\b")

# Set anew by each request and never reset: what streams an answer is told of as well.
request_id: ContextVar[str] = ContextVar("request_id", default="")

REDACTED = "…"
# In characters. Strangers' text gets into log lines (an Origin, a Host), so that its length is theirs to choose.
MAX_MESSAGE = 2_000
MAX_TRACEBACK = 20_000
# Nothing of ours writes these; libraries put addresses, headers and settings into what they raise.
# `re` keeps the whole process waiting, so this takes time in proportion to the text, whatever it holds: a run of
# characters is looked at once, from its beginning (the lookbehinds), and is not given back (the possessive `++`, `*+`).
SECRETS = re.compile(
    r"""
      (?P<address> (?<![\w+.-]) [\w+.-]++ :// ) [^/\s@'"]++ (?=@)                          # user:password@host
    | (?P<query> \? ) [^\s'"<>?]* [=%] [^\s'"<>]*+                                         # signatures stand in queries
    | (?P<signed> X-Amz-(?:Signature|Credential|Security-Token) ['"]? \s*+ [=:] \s*+ ) [^\s&,]++
    | (?P<scheme> \b (?:Bearer|Basic|AWS4-HMAC-SHA256) \s++ ) [^\s'"] [^'"\n]*+
    | (?P<header> (?:authorization|cookie) ['"]? \s*+ [=:] \s* ) [^\n]{4,}+
    | (?P<named> (?<![\w-])
        (?: [\w-]*+ (?<=api) [^\w\n-] key [\w-]*+                                          # "api key", "api.key"
          | (?= [\w-]*? (?:passw(?:or)?d|secret|token|session|csrf|api[\w-]?key|dsn) ) [\w-]*+ )
        ['"]? \s*+ [=:] \s*+ ['"]? ) [^\s'",;)}\]]{4,}+
    | (?P<row> \b (?-i: DETAIL: | LINE[ ]\d{1,9}: | CONTEXT:[ ]{1,9}COPY ) ) [^\n]++       # what Postgres tells of rows
    """,
    re.VERBOSE | re.IGNORECASE,
)


# Without one of these there is nothing to withhold, which is soon seen.
HINT = re.compile(
    r"[?]|://|amz-|passw|secret|token|session|csrf|bearer|basic|aws4|authoriz|cookie|api.?key|dsn"
    r"|detail:|line \d+:|context:",
    re.IGNORECASE,
)
FIELD_BREAK = re.compile(r"[\s=\"']")
WORD_END = re.compile(r"[\s'\"]")


def redact(text: str) -> str:
    """Return `text` without passwords, tokens, cookies, signatures and queries, cut to about MAX_MESSAGE."""
    return _withhold(_cut(text, MAX_MESSAGE))


def redact_traceback(text: str) -> str:
    """As `redact`, for many lines: each is cut, and those in the middle are left out where there are too many."""
    lines = [_cut(line, MAX_MESSAGE) for line in text.split("\n")]
    first = _fitting(lines, MAX_TRACEBACK // 2)
    last = _fitting(lines[: first - 1 if first else None : -1], MAX_TRACEBACK // 2)
    if left_out := len(lines) - first - last:
        lines[first : first + left_out] = [f"{REDACTED} [{left_out} lines left out]"]
    return _withhold("\n".join(lines))


def _withhold(text: str) -> str:
    if not HINT.search(text):
        return text
    return SECRETS.sub(lambda found: next(filter(None, found.groups())) + REDACTED, text)


def _cut(text: str, limit: int) -> str:
    """The beginning of a text. The word at the cut goes whole: half a secret is not known as one."""
    if len(text) <= limit:
        return text
    end = max((found.end() for found in WORD_END.finditer(text, 0, limit)), default=0)
    return f"{text[:end]}{REDACTED} [cut, {len(text)} characters]"


def _fitting(lines: list[str], limit: int) -> int:
    """How many of these lines, from the first one, fit into so many characters."""
    sizes = itertools.accumulate(len(line) + 1 for line in lines)
    return sum(1 for _ in itertools.takewhile(lambda size: size <= limit, sizes))


def new_request_id() -> str:
    return secrets.token_hex(8)


def trusted_request_id(trace: str, given: str) -> str:
    """What the balancer calls this request, by its X-Amzn-Trace-Id or X-Request-Id; empty if neither makes sense."""
    trace = trace[:256]
    if found := SELF.search(trace) or ROOT.search(trace):
        return found[1]
    return given if NAME.fullmatch(given) else ""


def single_line(text: str) -> str:
    """Without anything that could begin another line, move the cursor or turn the direction of writing."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def field_value(text: str) -> str:
    """Text from outside as the value of `name=value` in a log line: quoted where it could be read as more fields."""
    is_plain = text.isprintable() and text and not FIELD_BREAK.search(text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


Fault = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """A line for each record; what broke follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        # what another handler made of the fault is kept with the record, as that one wrote it
        kept, record.exc_text = record.exc_text, None
        try:
            return super().format(record)
        finally:
            record.exc_text = kept

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        name = request_id.get()
        told = single_line(redact(record.message))
        return f"{record.asctime} {record.levelname} {record.name} {told}{' request=' + name if name else ''}"

    def usesTime(self) -> bool:  # noqa: N802
        return True

    def formatException(self, ei: Fault) -> str:  # noqa: N802
        lines = redact_traceback(super().formatException(ei)).splitlines()
        return "\n".join(f"  | {single_line(line)}" for line in lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return "\n".join(f"  | {single_line(line)}" for line in redact_traceback(stack_info).splitlines())


def print_exception(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`: print what nothing caught as a log line would, redacted and without control characters."""
    sys.stderr.write(f"{PlainFormatter().formatException((kind, fault, trace))}\n")


class JSONFormatter(JsonFormatter):
    """An object for each record. Of what code hangs onto a record only `fields` is told: Django hangs the whole
    request there."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        at = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = redact(record.message)
        if event := EVENT.match(record.message):
            log_data["event"] = event[0]
        if name := request_id.get():
            log_data["request_id"] = name
        for told, kept in (("exc_info", "exception"), ("stack_info", "stack")):
            if told in message_dict:
                log_data[kept] = redact_traceback(str(message_dict[told]))
        log_data.update(getattr(record, "fields", {}))


def log_format(text: str, *, debug: bool) -> str:
    """`json` or `plain`, as LOG_FORMAT says; raises ValueError for another word."""
    chosen = text.strip().lower() or ("plain" if debug else "json")
    if chosen not in FORMATS:
        raise ValueError(f"LOG_FORMAT={text[:50]} is not usable: it takes json or plain.")
    return chosen


def configuration(chosen: str) -> dict[str, Any]:
    """For logging.config.dictConfig; the same for gunicorn, which speaks before Django is there."""
    formatters = {"json": {"()": "amalga.log.JSONFormatter"}, "plain": {"()": "amalga.log.PlainFormatter"}}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatters[chosen]},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            # Django's own console handler speaks only with DEBUG; the root one always does.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.request": {"level": "ERROR"},
            # botocore writes headers and URLs, signatures among them, below this level
            "botocore": {"level": "WARNING"},
            "urllib3": {"level": "ERROR"},
            "gunicorn.error": {"handlers": [], "propagate": True},
        },
    }
