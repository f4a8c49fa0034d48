"""Connections to Postgres that time out when the server stops responding, with a password or an IAM token."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlencode

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.errors import DiskFull, OperationalError, ReadOnlySqlTransaction
from psycopg_pool import ConnectionPool

# A healthy server ends every statement after eight seconds by itself (statement_timeout). Without this limit, a process
# would wait forever for a server or network that does not respond.
RESPONSE_SECONDS = 9.0
CHECK_SECONDS = 2.0
# After a timeout of the replica the primary is queried, and the person must still get a response in time.
REPLICA_SECONDS = 4.0
DEFAULT_PORT = 5432
READ_ONLY = ("in_hot_standby", "default_transaction_read_only")  # PostgreSQL documentation, "Asynchronous Operations"

# RDS user guide, "Connecting to your DB instance using IAM authentication": how long a token is valid, and that the
# signature includes the region
TOKEN_SECONDS = 900
REGION = re.compile(r"\.(?:rds\.)?([a-z]{2}(?:-[a-z]+)+-\d)\.(?:rds\.)?amazonaws\.com(?:\.cn)?$")
SCHEME = "https://"

_lock = threading.Lock()


class Connection(psycopg.Connection[Any]):
    """Waits for a response no longer than a person would; then the connection is closed."""

    response_timeout = RESPONSE_SECONDS
    took_writes = False

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        connection = super().connect(conninfo, **parameters)
        connection.took_writes = connection._takes_writes()
        return connection

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.response_timeout if timeout is None else timeout)
        except OperationalError:
            # a late response would belong to a statement that has already failed
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.close()
            raise
        except ReadOnlySqlTransaction:
            # after a failover this server is a replica, and the host name leads to another server
            self.close()
            self._drain_pool()
            raise

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pool's check of a connection, its only caller, with a short timeout.

        An error that broke one idle connection broke the others too, so the pool is drained. Otherwise it would find
        them one by one, with backoff, and requests would fail until then.
        """
        self.response_timeout = CHECK_SECONDS
        try:
            cursor = super().execute(*args, **kwargs)
            if self.took_writes and not self._takes_writes():
                # after a failover this server is a replica: new connections lead to another server
                raise OperationalError("the server has become read-only")
            return cursor
        except OperationalError:
            self._drain_pool()
            raise
        finally:
            del self.response_timeout  # back to that of the class

    def _takes_writes(self) -> bool:
        """Return whether the server accepts writes, as it reports with each response; True behind a pooler."""
        return not any(self.info.parameter_status(name) == "on" for name in READ_ONLY)

    def _drain_pool(self) -> None:
        pool: ConnectionPool[Any] | None = getattr(self, "_pool", None)
        if pool is not None:
            pool.drain()


def is_read_only_error(error: BaseException | None) -> bool:
    """Return whether the error means that the database cannot write: its disk is full, or it is a replica."""
    return isinstance(getattr(error, "__cause__", None), ReadOnlySqlTransaction | DiskFull)


class ReplicaConnection(Connection):
    response_timeout = REPLICA_SECONDS


class TokenConnection(Connection):
    """Signs its own IAM token for RDS, which is valid for 15 minutes and only checked while connecting."""

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Self:
        host, port = str(parameters["host"]), int(parameters.get("port") or DEFAULT_PORT)
        return super().connect(conninfo, **parameters, password=database_token(host, port, str(parameters["user"])))


class ReplicaTokenConnection(TokenConnection):
    response_timeout = REPLICA_SECONDS


@contextmanager
def unpooled_connection(alias: str = "default") -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection outside the pool, which hides why it cannot connect. Raises Django's OperationalError."""
    wrapper: Any = connections[alias]
    connection_class: type[Connection] = (wrapper.settings_dict["OPTIONS"].get("pool") or {}).get(
        "connection_class", Connection
    )
    with wrapper.wrap_database_errors:
        connection = connection_class.connect(**wrapper.get_connection_params(), autocommit=True)
    try:
        yield connection
    finally:
        connection.close()


def database_token(host: str, port: int, user: str) -> str:
    """Return a token to use as the password. Raises OperationalError without credentials.

    The result is that of boto3's RDS client, which takes longer to load than a person's first page may take.
    """
    # the settings import the connections, and uploads.s3 reads the settings
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest

    region = region_of(host)
    request = AWSRequest("GET", f"{SCHEME}{host}:{port}/?{urlencode({'Action': 'connect', 'DBUser': user})}")
    SigV4QueryAuth(_credentials(region), "rds-db", region, expires=TOKEN_SECONDS).add_auth(request)
    return str(request.url).removeprefix(SCHEME)


def region_of(host: str) -> str:
    """Return the region in the host name, which may differ from the bucket's."""
    match = REGION.search(host.lower())
    return match[1] if match else settings.S3_REGION


def _credentials(region: str) -> Any:
    from uploads.errors import StorageUnavailable
    from uploads.s3.client import session
    from uploads.s3.errors import translate_errors

    # several threads open connections at once, and boto3's sessions are not thread-safe
    try:
        with _lock, translate_errors("GetDatabaseToken"):
            credentials = session(region, None, None).get_credentials()
            if credentials is not None:
                return credentials.get_frozen_credentials()
    except StorageUnavailable as error:
        raise OperationalError(f"no IAM token for the database: {error.detail}") from None
    raise OperationalError("no IAM token for the database: no credentials")
