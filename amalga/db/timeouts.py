"""Statement timeouts: for one query, one transaction or one call, or lifted for long work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.pq import TransactionStatus

from amalga.db.connection import CHECK_SECONDS

DAY_SECONDS = 24 * 3600.0
CALL_SECONDS = 15.0  # for all statements of one call


@contextmanager
def without_statement_timeout() -> Iterator[None]:
    """Let statements take up to a day, for work over millions of rows."""
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
def statement_timeout(seconds: float) -> Iterator[CursorWrapper]:
    """Yield a cursor in a transaction whose statements can take this long. The timeout ends with the transaction, so
    this also works with a pooler, which gives every transaction another connection."""
    with transaction.atomic(), connection.cursor() as cursor:
        raw: Any = connection.connection
        before, raw.response_timeout = raw.response_timeout, seconds
        try:
            cursor.execute("SET LOCAL statement_timeout = %s", [f"{seconds:.0f}s"])
            yield cursor
        finally:
            raw.response_timeout = before


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Refuse further statements after this many seconds. With the timeout of a single statement, this limits the cost
    of a call, also after its client has disconnected. Raises OperationalError; the transaction is rolled back."""
    end = time.monotonic() + seconds

    def check(execute: Any, sql: str, values: Any, many: bool, context: dict[str, Any]) -> Any:
        if time.monotonic() > end and not sql.startswith("ROLLBACK"):
            raise OperationalError(f"not asked: the call has taken more than {seconds:.0f} seconds")
        return execute(sql, values, many, context)

    with connection.execute_wrapper(check):
        yield


def fetch_with_timeout(query: str, parameters: Mapping[str, Any], *, seconds: float) -> list[tuple[Any, ...]]:
    """Return the rows of one query, sent in one message with its timeout, where `statement_timeout` takes four."""
    connection.ensure_connection()
    raw: Any = connection.connection
    before, raw.response_timeout = raw.response_timeout, seconds + CHECK_SECONDS  # the server times out first
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{seconds:.0f}s'; {query}", parameters)
            cursor.nextset()
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    finally:
        raw.response_timeout = before


@contextmanager
def long_transaction() -> Iterator[CursorWrapper]:
    """Yield a cursor in a transaction whose statements can take up to a day."""
    with without_statement_timeout(), transaction.atomic(), connection.cursor() as cursor:
        # a pooler may have given this transaction another connection
        cursor.execute("SET LOCAL statement_timeout = 0")
        yield cursor
