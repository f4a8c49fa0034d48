"""Postgres: connections with response timeouts, IAM authentication, and statement timeouts."""

from __future__ import annotations

from amalga.db.connection import (
    CHECK_SECONDS,
    REPLICA_SECONDS,
    RESPONSE_SECONDS,
    Connection,
    ReplicaConnection,
    ReplicaTokenConnection,
    TokenConnection,
    is_read_only_error,
    unpooled_connection,
)
from amalga.db.timeouts import (
    CALL_SECONDS,
    DAY_SECONDS,
    advisory_lock,
    deadline,
    is_statement_timeout,
    statement_timeout,
    without_statement_timeout,
)

__all__ = [
    "CALL_SECONDS",
    "CHECK_SECONDS",
    "DAY_SECONDS",
    "REPLICA_SECONDS",
    "RESPONSE_SECONDS",
    "Connection",
    "ReplicaConnection",
    "ReplicaTokenConnection",
    "TokenConnection",
    "advisory_lock",
    "deadline",
    "is_read_only_error",
    "is_statement_timeout",
    "statement_timeout",
    "unpooled_connection",
    "without_statement_timeout",
]
