"""Error reports to Sentry, or a compatible service, if SENTRY_DSN is set: the place in the code and the request,
without personal data."""

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

REQUEST_FIELDS = ("method", "url")
# An unavailable database breaks every request the same way; one report is enough.
SAME_OUTAGE_SECONDS = 60.0
FLUSH_SECONDS = 2
# Limits of an event: levels, entries of one list or object, and total characters (each value counts as one more).
MAX_DEPTH = 12
MAX_ITEMS = 100
MAX_SIZE = 500_000


def init_sentry(dsn: str, release: str) -> None:
    """Start error reports. Raises ValueError for an invalid DSN. Reports never delay a request."""
    try:
        Dsn(dsn)
    except BadDsn:
        raise ValueError("a URL like https://KEY@sentry.example.org/1") from None
    sentry_sdk.init(
        dsn,
        release=release,
        before_send=before_send,
        before_breadcrumb=before_breadcrumb,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,
        # no performance data, no sessions, no tracing headers on requests to the storage
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
    """Return the event without headers, cookies, queries, forms and names; None for errors not to report."""
    error = (hint.get("exc_info") or (None, None, None))[1]
    if error is not None and _is_repeated(error):
        return None
    report: dict[str, Any] = {**event}
    request = report.pop("request", None) or {}
    if request:
        report["request"] = {name: request[name] for name in REQUEST_FIELDS if name in request}
    for name in ("user", "extra", "modules"):
        report.pop(name, None)
    if name := request_id.get():
        report["tags"] = {**(report.get("tags") or {}), "request_id": name}
    redacted: Event = _Scrubber().scrub(report)
    return redacted


def before_breadcrumb(crumb: dict[str, Any], _hint: Hint) -> dict[str, Any] | None:
    """Keep our own log lines as breadcrumbs, but no queries and no requests to other services."""
    if crumb.get("category") in {"query", "httplib", "subprocess", "redis"}:
        return None
    return {name: value for name, value in crumb.items() if name != "data"}


class _Scrubber:
    """Redacts each text of one event. Values that are too long, deep or large are cut, because redacting takes time."""

    def __init__(self) -> None:
        self.budget = MAX_SIZE

    def scrub(self, value: Any, depth: int = 0) -> Any:
        if self.budget <= 0 or (depth >= MAX_DEPTH and isinstance(value, dict | list | tuple)):
            return REDACTED
        self.budget -= 1
        if isinstance(value, str):
            text = redact(value)
            self.budget -= len(text)
            return text
        if isinstance(value, dict):
            items = itertools.islice(value.items(), MAX_ITEMS)
            return {self.scrub(name, depth + 1): self.scrub(item, depth + 1) for name, item in items}
        if isinstance(value, list | tuple):
            # the last items: the innermost frames, the newest log lines
            return [self.scrub(item, depth + 1) for item in value[-MAX_ITEMS:]]
        return value


_outages: dict[type, float] = {}
_lock = threading.Lock()


def _is_repeated(error: BaseException) -> bool:
    """Return whether not to report: an error with its own message, or a database outage reported a moment ago."""
    from django.db import InterfaceError, OperationalError

    from uploads.errors import Problem

    if isinstance(error, Problem):
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    with _lock:
        now, last = time.monotonic(), _outages.get(type(error), float("-inf"))
        if now - last < SAME_OUTAGE_SECONDS:
            return True
        _outages[type(error)] = now
    return False
