"""Faults of ours are reported to Sentry, or whatever speaks like it, where SENTRY_DSN names one: where in the code, in
which request, and nothing of anybody's."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import BadDsn, Dsn

from amalga.log import REDACTED, redact, request_id

KEPT_OF_REQUEST = ("method", "url")
# A database that is away breaks every request the same way; once is enough to know.
SAME_OUTAGE_SECONDS = 60.0
FLUSH_SECONDS = 2
# Of an event: levels, entries of one list or object, and characters in all (each value counts as one more).
MAX_DEPTH = 12
MAX_ITEMS = 100
MAX_SIZE = 500_000


def init_sentry(dsn: str) -> None:
    """Begin to report; raises ValueError for an address that is none. Requests are never waited for."""
    try:
        Dsn(dsn)
    except BadDsn:
        raise ValueError("it takes an address like https://KEY@sentry.example.org/1") from None
    sentry_sdk.init(
        dsn,
        before_send=before_send,
        before_breadcrumb=before_breadcrumb,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,
        # no performance, no sessions, no headers of theirs on what we ask of the store
        traces_sample_rate=None,
        trace_propagation_targets=[],
        auto_session_tracking=False,
        send_client_reports=False,
        enable_metrics=False,
        shutdown_timeout=FLUSH_SECONDS,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            LoggingIntegration(),
            ExcepthookIntegration(),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda _pending, _timeout: None),
            DjangoIntegration(middleware_spans=False, signals_spans=False, cache_spans=False),
        ],
    )


def before_send(event: Event, hint: Hint) -> Event | None:
    """Without headers, cookies, queries, forms and names; None for what is no fault of ours."""
    fault = (hint.get("exc_info") or (None, None, None))[1]
    if fault is not None and _is_repeated(fault):
        return None
    kept: dict[str, Any] = {**event}
    request = kept.pop("request", None) or {}
    if request:
        kept["request"] = {name: request[name] for name in KEPT_OF_REQUEST if name in request}
    for name in ("user", "extra", "modules"):
        kept.pop(name, None)
    if name := request_id.get():
        kept["tags"] = {**(kept.get("tags") or {}), "request_id": name}
    told: Event = _Scrubber().scrub(kept)
    return told


def before_breadcrumb(crumb: dict[str, Any], _hint: Hint) -> dict[str, Any] | None:
    """Of what went before, our own log lines; neither queries nor what was asked of others."""
    if crumb.get("category") in {"query", "httplib", "subprocess", "redis"}:
        return None
    return {name: value for name, value in crumb.items() if name != "data"}


class _Scrubber:
    """Redacts each text of one event. What is too long, deep or large for a report is cut: to redact takes time."""

    def __init__(self) -> None:
        self.left = MAX_SIZE

    def scrub(self, value: Any, depth: int = 0) -> Any:
        if self.left <= 0 or (depth >= MAX_DEPTH and isinstance(value, dict | list | tuple)):
            return REDACTED
        self.left -= 1
        if isinstance(value, str):
            told = redact(value)
            self.left -= len(told)
            return told
        if isinstance(value, dict):
            items = itertools.islice(value.items(), MAX_ITEMS)
            return {self.scrub(name, depth + 1): self.scrub(one, depth + 1) for name, one in items}
        if isinstance(value, list | tuple):
            # the last ones: the innermost frames, the newest log lines
            return [self.scrub(one, depth + 1) for one in value[-MAX_ITEMS:]]
        return value


_outages: dict[type, float] = {}
_lock = threading.Lock()


def _is_repeated(fault: BaseException) -> bool:
    """What people are told in words, and an outage of the database that was reported a moment ago."""
    from django.db import InterfaceError, OperationalError

    from uploads.errors import Problem

    if isinstance(fault, Problem):
        return True
    if not isinstance(fault, OperationalError | InterfaceError):
        return False
    with _lock:
        now, last = time.monotonic(), _outages.get(type(fault), float("-inf"))
        if now - last < SAME_OUTAGE_SECONDS:
            return True
        _outages[type(fault)] = now
    return False
