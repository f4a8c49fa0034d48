"""Postgres: connection parameters and timeouts."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.db import Connection, ReplicaConnection, ReplicaTokenConnection, TokenConnection
from amalga.settings.base import HTTPS, WEB_THREADS
from amalga.settings.env import boolean, integer
from amalga.settings.postgres import primary, replica

# An IAM token of the role that we run as, instead of a password; and whether a pooler (pgbouncer) is in between, which
# gives each transaction another connection.
DATABASE_IAM = boolean("DATABASE_IAM", default=False)
DATABASE_POOLER = boolean("DATABASE_POOLER", default=False)
# The maximum for each process: one for each thread, and as many again that are being replaced.
DATABASE_CONNECTIONS = integer("DATABASE_CONNECTIONS", max(16, 2 * WEB_THREADS), minimum=1, maximum=1000)
if DATABASE_CONNECTIONS < WEB_THREADS:
    raise ImproperlyConfigured(
        f"DATABASE_CONNECTIONS={DATABASE_CONNECTIONS} is less than WEB_THREADS={WEB_THREADS}: each thread needs one."
    )

# connect + statement stay below the ten seconds after which a person gets 503.
# The last two settings describe lists to the planner: a page reads a few rows in index order, scattered over the table
# and not cached, from a disk without seek times. By default it estimates a page as a share of reading everything.
POSTGRES_OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=4s -c idle_in_transaction_session_timeout=15s"
    " -c random_page_cost=1.1 -c effective_cache_size=256MB"
)


def connection_options(
    server: dict[str, Any], connection_class: type[Connection], *, extra: str = ""
) -> dict[str, Any]:
    """Return the DATABASES entry of a server; `extra`: more libpq `-c` options for its connections."""
    options = {
        **server["OPTIONS"],
        "connect_timeout": 3,
        # firewalls drop idle connections (AWS after 350 seconds), and keepalives detect dead servers
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "pool": {
            "connection_class": connection_class,
            "min_size": 1,
            "max_size": DATABASE_CONNECTIONS,
            # short: with 8 threads and 16 connections a request only waits for a database that is unavailable, and
            # blocks a thread for the next request
            "timeout": 2,
            "reconnect_timeout": 2,
        },
    }
    if not DATABASE_POOLER:  # a pooler rejects or drops these: there the role has the limits (docs/database.md)
        options["options"] = " ".join(filter(None, [options.get("options"), POSTGRES_OPTIONS, extra]))
    return {
        **server,
        "OPTIONS": options,
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


_primary_server = primary(iam=DATABASE_IAM)
_replica_server = replica(_primary_server, iam=DATABASE_IAM)
DATABASES: dict[str, dict[str, Any]] = {
    "default": connection_options(_primary_server, TokenConnection if DATABASE_IAM else Connection)
}
# The replica for lists and searches (amalga/db/replica.py), if there is one.
DATABASE_ROUTERS: list[str] = []
LSN_COOKIE_NAME = "__Host-amalga-lsn" if HTTPS else "amalga-lsn"
if _replica_server:
    connection_class = ReplicaTokenConnection if DATABASE_IAM else ReplicaConnection
    DATABASES["replica"] = connection_options(
        _replica_server, connection_class, extra="-c default_transaction_read_only=on"
    )
    DATABASES["replica"]["TEST"] = {"MIRROR": "default"}
    DATABASE_ROUTERS = ["amalga.db.replica.ReplicaRouter"]
