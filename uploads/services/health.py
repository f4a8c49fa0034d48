"""Whether this process can do its work now: what a balancer asks before it sends people here."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

from amalga.db import Connection
from uploads import s3
from uploads.errors import StorageUnavailable

# A balancer asks every few seconds and gives up after five; strangers may ask as well, at no greater cost.
CONNECT_SECONDS = 2
CACHE_SECONDS = 1.0
STORE_SECONDS = 10.0  # how old what is known of the store may be
FIRST_WAIT_SECONDS = 1.0


class Check(StrEnum):
    OK = "ok"
    READ_ONLY = "read only"  # a database in recovery: a failover is under way
    AWAY = "away"


@dataclass(frozen=True)
class Readiness:
    database: Check
    store: Check

    @property
    def is_ready(self) -> bool:
        return self.database != Check.AWAY

    @property
    def status(self) -> str:
        if not self.is_ready:
            return "unavailable"
        return "ready" if self.database == self.store == Check.OK else "degraded"


def readiness() -> Readiness:
    """Over a database connection of its own, for one that is open already says nothing of the next. A store in trouble
    is told and no reason to send people away: pages and searches work, and no other instance has a better one."""
    return Readiness(_database.state(), _store.state())


def check_database() -> Check:
    """Open a connection, ask something simple, close it. Takes about four seconds at most."""
    try:
        options: dict[str, Any] = connection.get_connection_params() | {
            "connect_timeout": CONNECT_SECONDS,
            "autocommit": True,
        }
        kind = connection.settings_dict["OPTIONS"].get("pool", {}).get("connection_class", Connection)
        with kind.connect(**options) as fresh:
            row = fresh.execute("SELECT pg_is_in_recovery()").fetchone()
    except (psycopg.Error, DatabaseError, ImproperlyConfigured, OSError):
        return Check.AWAY
    return Check.READ_ONLY if row and row[0] else Check.OK


def check_storage() -> Check:
    try:
        s3.ping()
    except StorageUnavailable:
        return Check.AWAY
    return Check.OK


class _DatabaseCheck:
    """One question for all who ask within a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known, self._asked_at = Check.AWAY, float("-inf")

    def state(self) -> Check:
        with self._lock:
            if time.monotonic() - self._asked_at > CACHE_SECONDS:
                self._known = check_database()
                self._asked_at = time.monotonic()
            return self._known


class _StorageCheck:
    """Asked by a thread, since a store that hangs is waited for longer than a balancer waits for us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known, self._asked_at = Check.AWAY, float("-inf")
        self._asking: threading.Thread | None = None

    def state(self) -> Check:
        with self._lock:
            is_old = time.monotonic() - self._asked_at > STORE_SECONDS
            if is_old and not (self._asking and self._asking.is_alive()):
                self._asking = threading.Thread(target=self._ask, daemon=True)
                self._asking.start()
            asking = self._asking
        if is_old and asking:
            asking.join(FIRST_WAIT_SECONDS)
        return self._known if time.monotonic() - self._asked_at < 2 * STORE_SECONDS else Check.AWAY

    def _ask(self) -> None:
        try:
            self._known = check_storage()
        finally:
            self._asked_at = time.monotonic()


def forget() -> None:
    """As if nobody had asked yet."""
    global _database, _store
    _database, _store = _DatabaseCheck(), _StorageCheck()


_database, _store = _DatabaseCheck(), _StorageCheck()
