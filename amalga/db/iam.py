"""Signing in to RDS with a token of the role that we run as: nothing to keep, and nothing to rotate."""

from __future__ import annotations

from typing import Any, Self

from psycopg.errors import OperationalError

from amalga.db.connection import REPLICA_SECONDS, Connection

PORT = 5432


class TokenConnection(Connection):
    """Signs a token for itself: one lives a quarter of an hour, and is looked at only while a connection is made."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        host, port = str(parameters["host"]), int(parameters.get("port") or PORT)
        return super().connect(conninfo, **parameters, password=_token(host, port, str(parameters["user"])))


class ReplicaTokenConnection(TokenConnection):
    patience = REPLICA_SECONDS


def _token(host: str, port: int, user: str) -> str:
    # the settings name this class, and the store's module reads the settings
    from uploads.errors import StorageUnavailable
    from uploads.s3.rds_auth import database_token

    try:
        return database_token(host, port, user)
    except StorageUnavailable as fault:
        raise OperationalError(f"no IAM token for the database: {fault.detail}") from None
