"""Readiness checks: whether a load balancer should send requests to this process."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

from amalga.cache import TTLCache
from amalga.db import Connection
from uploads import s3
from uploads.errors import StorageUnavailable

# Load balancers probe every few seconds and time out after five. Anyone may probe, so results are cached.
CONNECT_SECONDS = 2
CACHE_SECONDS = 1.0
STORAGE_SECONDS = 10.0  # maximum age of the storage's result
FIRST_WAIT_SECONDS = 1.0


class Check(StrEnum):
    OK = "ok"
    READ_ONLY = "read_only"  # a database in recovery: a failover is under way
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Readiness:
    database: Check
    storage: Check

    @property
    def is_ready(self) -> bool:
        return self.database != Check.UNAVAILABLE

    @property
    def status(self) -> str:
        if not self.is_ready:
            return "unavailable"
        return "ready" if self.database == self.storage == Check.OK else "degraded"


def readiness() -> Readiness:
    """Return the state of the database and the storage.

    The database is checked with a new connection, since an open one does not show that the next can be opened. An
    unavailable storage is reported, but the process stays ready: pages and searches work, and all instances share it.
    """
    return Readiness(_database.get(), _storage.state())


def check_database() -> Check:
    """Open a connection, run one query, and close it. Takes about four seconds at most."""
    try:
        options: dict[str, Any] = connection.get_connection_params() | {
            "connect_timeout": CONNECT_SECONDS,
            "autocommit": True,
        }
        connection_class = connection.settings_dict["OPTIONS"].get("pool", {}).get("connection_class", Connection)
        with connection_class.connect(**options) as new_connection:
            row = new_connection.execute("SELECT pg_is_in_recovery()").fetchone()
    except (psycopg.Error, DatabaseError, ImproperlyConfigured, OSError):
        return Check.UNAVAILABLE
    return Check.READ_ONLY if row and row[0] else Check.OK


def check_storage() -> Check:
    try:
        s3.ping()
    except StorageUnavailable:
        return Check.UNAVAILABLE
    return Check.OK


class _StorageCheck:
    """The state of the storage, checked in a thread, since its timeout is longer than that of a load balancer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result, self._checked_at = Check.UNAVAILABLE, float("-inf")
        self._thread: threading.Thread | None = None

    def state(self) -> Check:
        with self._lock:
            is_stale = time.monotonic() - self._checked_at > STORAGE_SECONDS
            if is_stale and not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._check, daemon=True)
                self._thread.start()
            thread = self._thread
        if is_stale and thread:
            thread.join(FIRST_WAIT_SECONDS)
        return self._result if time.monotonic() - self._checked_at < 2 * STORAGE_SECONDS else Check.UNAVAILABLE

    def _check(self) -> None:
        try:
            self._result = check_storage()
        finally:
            self._checked_at = time.monotonic()


_database, _storage = TTLCache(lambda: check_database(), seconds=CACHE_SECONDS), _StorageCheck()


def clear_cache() -> None:
    """Clear the cached results."""
    global _storage
    _database.clear()
    _storage = _StorageCheck()
