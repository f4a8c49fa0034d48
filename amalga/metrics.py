"""Prometheus metrics: what every process counts, and their exposition for all processes."""

from __future__ import annotations

import functools
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SAMPLE_SECONDS = 1.0
STATM = Path("/proc/self/statm")

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, without use
# Our own metrics only, without those of Python's garbage collector and the platform.
registry = CollectorRegistry(auto_describe=True)

REQUESTS = Counter(
    "amalga_http_requests", "HTTP requests.", ["route", "method", "status"], registry=registry
)  # fmt: skip
DURATION = Histogram(
    "amalga_http_request_duration_seconds", "Seconds until the first byte of the response.", ["route"],
    buckets=REQUEST_BUCKETS, registry=registry,
)  # fmt: skip
IN_PROGRESS = Gauge(
    "amalga_http_requests_in_progress", "HTTP requests in progress.", multiprocess_mode="livesum", registry=registry
)
S3_CALL_DURATION = Histogram(
    "amalga_s3_request_duration_seconds", "Seconds of a call to storage, with its retries.", ["operation"],
    buckets=CALL_BUCKETS, registry=registry,
)  # fmt: skip
S3_ERRORS = Counter("amalga_s3_errors", "Failed calls to storage.", ["operation", "kind"], registry=registry)
THROTTLED = Counter("amalga_s3_throttled", "Responses 503 and 429 of storage, before retries.", registry=registry)
POOL = Gauge(
    "amalga_database_connections", "Connections of the database pools of all processes.", ["database", "state"],
    multiprocess_mode="livesum", registry=registry,
)  # fmt: skip
MEMORY = Gauge(
    "amalga_resident_memory_bytes", "Resident memory of all processes.", multiprocess_mode="livesum", registry=registry
)  # fmt: skip

NO_CALLS = {"Sign", "GetCredentials"}  # mostly local, without a request
THROTTLES = {"SlowDown", "503", "429", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "TooManyRequests"}
REFUSALS = {"AccessDenied", "401", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
            "ExpiredCredentials", "RequestTimeTooSkewed", "AllAccessDisabled", "none"}  # fmt: skip


@contextmanager
def request_timed() -> Iterator[list[tuple[str, str, int]]]:
    """Time a request. The caller adds (route, method, status) to the yielded list, which is counted at the end."""
    responses: list[tuple[str, str, int]] = []
    started_at = time.perf_counter()
    IN_PROGRESS.inc()
    try:
        yield responses
    finally:
        IN_PROGRESS.dec()
        for route, method, status in responses:
            count_request(route, method, status, started_at)
        _sample()


def count_request(route: str, method: str, status: int, started_at: float) -> None:
    """Count a request that began at `started_at`, by `time.perf_counter`."""
    requests, seconds = _route_metrics(route, method if method in METHODS else "other", status)
    requests.inc()
    seconds.observe(time.perf_counter() - started_at)


@functools.cache  # some hundred combinations of route, method and status
def _route_metrics(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(route, method, status), DURATION.labels(route)


@contextmanager
def call_timed(operation: str) -> Iterator[None]:
    """Time a call to storage."""
    if operation in NO_CALLS:
        yield
        return
    started_at = time.perf_counter()
    try:
        yield
    finally:
        S3_CALL_DURATION.labels(operation).observe(time.perf_counter() - started_at)


def count_error(operation: str, code: str) -> None:
    S3_ERRORS.labels(operation, error_class(code)).inc()


def error_class(code: str) -> str:
    """Return the class of a store's error code, for dashboards and alerts."""
    if code in THROTTLES:
        return "throttled"
    if code in REFUSALS:
        return "denied"
    if code[:1].isdigit() or code.startswith("Internal"):
        return "server_error"
    return "no_response" if _is_exception_name(code) else "other"


def _is_exception_name(code: str) -> bool:
    """Return whether this is the name of an exception of botocore or urllib3, without a response."""
    return code.endswith(("Error", "Timeout", "Exception")) or "Timeout" in code


_sampled_at = 0.0
_sampling = threading.Lock()


def _sample() -> None:
    """Set the gauges of this process, at most once per SAMPLE_SECONDS, since this runs after each request."""
    global _sampled_at
    now = time.monotonic()
    if now - _sampled_at < SAMPLE_SECONDS or not _sampling.acquire(blocking=False):
        return
    try:
        _sampled_at = now
        _sample_pools()
        if STATM.exists():
            MEMORY.set(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    finally:
        _sampling.release()


def _sample_pools() -> None:
    from django.db.backends.postgresql.base import DatabaseWrapper

    pools: dict[str, ConnectionPool[Any]] = DatabaseWrapper._connection_pools  # type: ignore[attr-defined]
    for alias, pool in list(pools.items()):
        stats = pool.get_stats()
        POOL.labels(alias, "max").set(stats.get("pool_max", 0))
        POOL.labels(alias, "open").set(stats.get("pool_size", 0))
        POOL.labels(alias, "idle").set(stats.get("pool_available", 0))
        POOL.labels(alias, "waiting").set(stats.get("requests_waiting", 0))


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "amalga_"
RETRY_SECONDS = 0.05


@dataclass(frozen=True)
class Sample:
    """One current value."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)
    help: str = ""


class SampleCollector(Collector):
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for sample in self._samples:
            family = families.setdefault(
                sample.name,
                GaugeMetricFamily(PREFIX + sample.name, sample.help or sample.name, labels=[*sample.labels]),
            )
            family.add_metric([*sample.labels.values()], sample.value)
        yield from families.values()


def exposition(samples: Iterable[Sample], *, folder: str = "") -> bytes:
    """Return all metrics. `folder`: the shared folder of several processes, "" for one process."""
    current = CollectorRegistry()
    current.register(SampleCollector(samples))
    if not folder:
        return generate_latest(registry) + generate_latest(current)
    return _all_processes(folder) + generate_latest(current)


def _all_processes(folder: str, *, tries: int = 3) -> bytes:
    """Return the sums of all processes. Retries, since the file of a new process is empty for a moment."""
    combined = CollectorRegistry()
    MultiProcessCollector(combined, folder)  # type: ignore[no-untyped-call]
    try:
        return generate_latest(combined)
    except (struct.error, RuntimeError):
        if tries <= 1:
            raise
        time.sleep(RETRY_SECONDS)
        return _all_processes(folder, tries=tries - 1)
