"""Connections to RDS with IAM authentication tokens: no password to store or rotate."""

from __future__ import annotations

from typing import Any, Self

from psycopg.errors import OperationalError

from amalga.db.connection import REPLICA_SECONDS, Connection

PORT = 5432


class TokenConnection(Connection):
    """Signs its own token, which is valid for 15 minutes and only checked while connecting."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        host, port = str(parameters["host"]), int(parameters.get("port") or PORT)
        return super().connect(conninfo, **parameters, password=_token(host, port, str(parameters["user"])))


class ReplicaTokenConnection(TokenConnection):
    response_timeout = REPLICA_SECONDS


def _token(host: str, port: int, user: str) -> str:
    # the settings import this class, and uploads.s3 reads the settings
    from uploads.errors import StorageUnavailable
    from uploads.s3.rds_auth import database_token

    try:
        return database_token(host, port, user)
    except StorageUnavailable as error:
        raise OperationalError(f"no IAM token for the database: {error.detail}") from None
