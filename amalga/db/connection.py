"""Connections to Postgres that give up on a server that has fallen silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from django.db import connections
from psycopg.errors import DiskFull, OperationalError, ReadOnlySqlTransaction
from psycopg_pool import ConnectionPool

# A server that lives ends every statement after eight seconds by itself (statement_timeout); one that has fallen
# silent, or whose network swallows everything, would be waited for without end.
RESPONSE_SECONDS = 9.0
CHECK_SECONDS = 2.0
# Whoever is told nothing by a replica asks the primary after that, and is to be told in time all the same.
REPLICA_SECONDS = 4.0
READ_ONLY = ("in_hot_standby", "default_transaction_read_only")  # PostgreSQL documentation, "Asynchronous Operations"


class Connection(psycopg.Connection[Any]):
    """Waits for no answer longer than a person would; then the connection is closed for good."""

    patience = RESPONSE_SECONDS
    took_writes = False

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        made = super().connect(conninfo, **parameters)
        made.took_writes = made._takes_writes()
        return made

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except OperationalError:
            # what the server would still say belongs to a statement that nobody waits for any more
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.close()
            raise
        except ReadOnlySqlTransaction:
            # a failover made a replica of this server: the same name leads to another one by now
            self.close()
            self._drain_pool()
            raise

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Only the pool asks this way, whether the connection lives: the answer comes at once or not at all.

        What broke one idle connection broke the others too. Left alone, the pool would find them one by
        one, with growing pauses, and answer nobody meanwhile.
        """
        self.patience = CHECK_SECONDS
        try:
            answer = super().execute(*args, **kwargs)
            if self.took_writes and not self._takes_writes():
                # a failover left it behind, alive: whoever connects now is led to another one
                raise OperationalError("the server has become read-only")
            return answer
        except OperationalError:
            self._drain_pool()
            raise
        finally:
            del self.patience  # that of the class again

    def _takes_writes(self) -> bool:
        """The server tells with each answer; behind a pooler nobody does."""
        return not any(self.info.parameter_status(name) == "on" for name in READ_ONLY)

    def _drain_pool(self) -> None:
        pool: ConnectionPool[Any] | None = getattr(self, "_pool", None)
        if pool is not None:
            pool.drain()


def is_read_only_error(fault: BaseException | None) -> bool:
    """Whether it says that the database answers and keeps nothing now: its disk is full, or it is a replica."""
    return isinstance(getattr(fault, "__cause__", None), ReadOnlySqlTransaction | DiskFull)


class ReplicaConnection(Connection):
    patience = REPLICA_SECONDS


@contextmanager
def unpooled_connection(alias: str = "default") -> Iterator[psycopg.Connection[Any]]:
    """A connection of its own, past the pool, which keeps its reasons to itself. Raises Django's OperationalError."""
    wrapper: Any = connections[alias]
    kind: type[Connection] = (wrapper.settings_dict["OPTIONS"].get("pool") or {}).get("connection_class", Connection)
    with wrapper.wrap_database_errors:
        opened = kind.connect(**wrapper.get_connection_params(), autocommit=True)
    try:
        yield opened
    finally:
        opened.close()
