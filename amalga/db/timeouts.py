"""Statement timeouts: longer ones for commands, none for `migrate`, and a deadline for one call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.pq import TransactionStatus

from amalga.db.connection import CHECK_SECONDS

DAY_SECONDS = 24 * 3600.0
CANCELED = "57014"  # Postgres, appendix A: query_canceled
CALL_SECONDS = 15.0  # for all statements of one call


@contextmanager
def without_statement_timeout() -> Iterator[None]:
    """Let statements take up to a day, in any number of transactions."""
    connection.ensure_connection()
    raw: Any = connection.connection
    before, raw.response_timeout = raw.response_timeout, DAY_SECONDS
    try:
        with _without_transaction_timeout() if settings.DATABASE_POOLER else _without_session_timeout(raw):
            yield
    finally:
        raw.response_timeout = before


@contextmanager
def _without_session_timeout(raw: Any) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    try:
        yield
    finally:
        if not raw.closed and not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout")


@contextmanager
def _without_transaction_timeout() -> Iterator[None]:
    """Lift the timeout in every transaction: a pooler would give a changed session to other requests."""

    def first(execute: Any, sql: str, values: Any, many: bool, context: dict[str, Any]) -> Any:
        raw = context["connection"].connection
        if not raw.autocommit and raw.info.transaction_status == TransactionStatus.IDLE:
            raw.cursor().execute("SET LOCAL statement_timeout = 0")  # psycopg begins the transaction
        return execute(sql, values, many, context)

    with connection.execute_wrapper(first):
        yield


@contextmanager
def statement_timeout(seconds: float, *, using: str | None = None) -> Iterator[CursorWrapper]:
    """Yield a cursor in a transaction whose statements can take this long; DAY_SECONDS is for work over all rows.

    The timeout ends with the transaction, so this also works with a pooler, which gives every transaction another
    connection. `is_statement_timeout` recognizes its error.
    """
    database = connections[using or DEFAULT_DB_ALIAS]
    with transaction.atomic(using), database.cursor() as cursor:
        raw: Any = database.connection
        before = raw.response_timeout
        limit = seconds + CHECK_SECONDS  # the server times out first
        raw.response_timeout = limit if seconds > before else min(before, limit)
        try:
            cursor.execute("SET LOCAL statement_timeout = %s", [f"{seconds * 1000:.0f}ms"])
            yield cursor
        finally:
            raw.response_timeout = before


def is_statement_timeout(error: OperationalError) -> bool:
    """Return whether the server canceled a statement that took too long."""
    return getattr(error.__cause__, "sqlstate", None) == CANCELED


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Refuse further statements after this many seconds. With the timeout of a single statement, this limits the cost
    of a call, also after its client has disconnected. Raises OperationalError; the transaction is rolled back."""
    end = time.monotonic() + seconds

    def check(execute: Any, sql: str, values: Any, many: bool, context: dict[str, Any]) -> Any:
        if time.monotonic() > end and not sql.startswith("ROLLBACK"):
            raise OperationalError(f"not executed: the call took more than {seconds:.0f} seconds")
        return execute(sql, values, many, context)

    with connection.execute_wrapper(check):
        yield


def advisory_lock(key: int) -> None:
    """Wait until no other transaction holds this lock, and hold it until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])
