"""Work over every row, which takes longer than a page may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from amalga.database import unhurried


@contextmanager
def at_leisure() -> Iterator[CursorWrapper]:
    """A cursor in a transaction whose statements may take up to a day."""
    with unhurried(), transaction.atomic(), connection.cursor() as cursor:
        # a pooler may have given this transaction another connection
        cursor.execute("SET LOCAL statement_timeout = 0")
        yield cursor
