"""Faults of ours are reported to Sentry, or whatever speaks like it, where SENTRY_DSN names one: where in the code, in
which request, and nothing of anybody's."""

from __future__ import annotations

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

from amalga.logs import redact, request_id

KEPT_OF_REQUEST = ("method", "url")
# A database that is away breaks every request the same way; once is enough to know.
SAME_OUTAGE_SECONDS = 60.0
FLUSH_SECONDS = 2


def report_to(dsn: str) -> None:
    """Begin to report; raises ValueError for an address that is none. Requests are never waited for."""
    try:
        Dsn(dsn)
    except BadDsn:
        raise ValueError("it takes an address like https://KEY@sentry.example.org/1") from None
    sentry_sdk.init(
        dsn,
        before_send=scrubbed,
        before_breadcrumb=_crumb,
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


def scrubbed(event: Event, hint: Hint) -> Event | None:
    """Without headers, cookies, queries, forms and names; None for what is no fault of ours."""
    fault = (hint.get("exc_info") or (None, None, None))[1]
    if fault is not None and _is_known(fault):
        return None
    kept: dict[str, Any] = {**event}
    request = kept.pop("request", None) or {}
    if request:
        kept["request"] = {name: request[name] for name in KEPT_OF_REQUEST if name in request}
    for name in ("user", "extra", "modules"):
        kept.pop(name, None)
    if name := request_id.get():
        kept["tags"] = {**(kept.get("tags") or {}), "request_id": name}
    told: Event = _redacted(kept)
    return told


def _crumb(crumb: dict[str, Any], _hint: Hint) -> dict[str, Any] | None:
    """Of what went before, our own log lines; neither queries nor what was asked of others."""
    if crumb.get("category") in {"query", "httplib", "subprocess", "redis"}:
        return None
    return {name: value for name, value in crumb.items() if name != "data"}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: _redacted(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(one) for one in value]
    return value


_outages: dict[type, float] = {}
_lock = threading.Lock()


def _is_known(fault: BaseException) -> bool:
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
