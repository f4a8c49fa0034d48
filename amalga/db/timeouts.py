"""Statement timeouts: set, lifted, and kept for one transaction."""

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
CALL_SECONDS = 15.0  # for all statements of one act


@contextmanager
def without_statement_timeout() -> Iterator[None]:
    """For work over millions of rows, which takes longer than a page may: statements take up to a day."""
    connection.ensure_connection()
    held: Any = connection.connection
    before, held.patience = held.patience, DAY_SECONDS
    try:
        with _without_transaction_timeout() if settings.DATABASE_POOLER else _without_session_timeout(held):
            yield
    finally:
        held.patience = before


@contextmanager
def _without_session_timeout(held: Any) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
    try:
        yield
    finally:
        if not held.closed and not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout")


@contextmanager
def _without_transaction_timeout() -> Iterator[None]:
    """A pooler gives every transaction another connection: what a session were told would stay with other people's."""

    def first(execute: Any, sql: str, values: Any, many: bool, context: dict[str, Any]) -> Any:
        held = context["connection"].connection
        if not held.autocommit and held.info.transaction_status == TransactionStatus.IDLE:
            held.cursor().execute("SET LOCAL statement_timeout = 0")  # psycopg begins the transaction
        return execute(sql, values, many, context)

    with connection.execute_wrapper(first):
        yield


@contextmanager
def statement_timeout(seconds: float) -> Iterator[CursorWrapper]:
    """A cursor in a transaction whose statements may take so long. Nothing outlives the transaction, so that it also
    works where a pooler gives every transaction another connection."""
    with transaction.atomic(), connection.cursor() as cursor:
        held: Any = connection.connection
        before, held.patience = held.patience, seconds
        try:
            cursor.execute("SET LOCAL statement_timeout = %s", [f"{seconds:.0f}s"])
            yield cursor
        finally:
            held.patience = before


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Refuse every further statement after so many seconds: with the limit of a single statement, this bounds what one
    call can cost, also when its client is gone. Raises OperationalError; nothing of the transaction is kept."""
    end = time.monotonic() + seconds

    def check(execute: Any, sql: str, values: Any, many: bool, context: dict[str, Any]) -> Any:
        if time.monotonic() > end and not sql.startswith("ROLLBACK"):
            raise OperationalError(f"not asked: the call has taken more than {seconds:.0f} seconds")
        return execute(sql, values, many, context)

    with connection.execute_wrapper(check):
        yield


def fetch_with_timeout(query: str, parameters: Mapping[str, Any], *, seconds: float) -> list[tuple[Any, ...]]:
    """As `patient`, for one query: it goes out in one message with its time limit, where a transaction takes four."""
    connection.ensure_connection()
    held: Any = connection.connection
    before, held.patience = held.patience, seconds + CHECK_SECONDS  # the server gives up first
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{seconds:.0f}s'; {query}", parameters)
            cursor.nextset()
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows
    finally:
        held.patience = before


@contextmanager
def long_transaction() -> Iterator[CursorWrapper]:
    """A cursor in a transaction whose statements may take up to a day."""
    with without_statement_timeout(), transaction.atomic(), connection.cursor() as cursor:
        # a pooler may have given this transaction another connection
        cursor.execute("SET LOCAL statement_timeout = 0")
        yield cursor
