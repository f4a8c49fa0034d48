"""Postgres: connections that give up on a server that has fallen silent, and work that may take its time."""

from __future__ import annotations

from amalga.database.connection import (
    ANSWER_SECONDS,
    CHECK_SECONDS,
    REPLICA_SECONDS,
    Connection,
    ReplicaConnection,
    fresh,
    takes_no_writes,
)
from amalga.database.iam import ReplicaTokenConnection, TokenConnection
from amalga.database.patience import CALL_SECONDS, DAY_SECONDS, ask_patiently, deadline, patient, unhurried

__all__ = [
    "ANSWER_SECONDS",
    "CALL_SECONDS",
    "CHECK_SECONDS",
    "DAY_SECONDS",
    "REPLICA_SECONDS",
    "Connection",
    "ReplicaConnection",
    "ReplicaTokenConnection",
    "TokenConnection",
    "ask_patiently",
    "deadline",
    "fresh",
    "patient",
    "takes_no_writes",
    "unhurried",
]
