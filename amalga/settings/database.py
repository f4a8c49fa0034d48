"""Postgres: where it is, and how long anything there may take."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from amalga.db import Connection, ReplicaConnection, ReplicaTokenConnection, TokenConnection
from amalga.settings.base import HTTPS, WEB_THREADS
from amalga.settings.env import boolean, integer
from amalga.settings.postgres import primary, replica

# A token of the role that we run as, in the place of a password; and whether a pooler (pgbouncer) stands between, which
# gives each transaction another connection.
DATABASE_IAM = boolean("DATABASE_IAM", default=False)
DATABASE_POOLER = boolean("DATABASE_POOLER", default=False)
# Each process keeps at most so many: for each thread one, and as many again that are being made anew.
DATABASE_CONNECTIONS = integer("DATABASE_CONNECTIONS", max(16, 2 * WEB_THREADS), least=1, most=1000)
if DATABASE_CONNECTIONS < WEB_THREADS:
    raise ImproperlyConfigured(
        f"DATABASE_CONNECTIONS={DATABASE_CONNECTIONS} is less than WEB_THREADS={WEB_THREADS}: each thread needs one."
    )

# connect + statement stay below the ten seconds after which a person gets 503.
# The two last tell Postgres what lists are: a page reads a few rows out of an order, scattered over the table and
# none of them met before, from a disk that does not seek. By default it reckons a page at its share of reading all.
POSTGRES_OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=4s -c idle_in_transaction_session_timeout=15s"
    " -c random_page_cost=1.1 -c effective_cache_size=256MB"
)


def connection_options(place: dict[str, Any], connections: type[Connection], *, also: str = "") -> dict[str, Any]:
    """How we talk to a server; `also`: more of what its connections begin with."""
    options = {
        **place["OPTIONS"],
        "connect_timeout": 3,
        # a firewall between forgets who is silent (at AWS after 350 seconds); and we learn who is gone
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "pool": {
            "connection_class": connections,
            "min_size": 1,
            "max_size": DATABASE_CONNECTIONS,
            # short: with 8 threads and 16 connections nobody waits but for a database that is away, and
            # whoever waits keeps a thread from the next one
            "timeout": 2,
            "reconnect_timeout": 2,
        },
    }
    if not DATABASE_POOLER:  # it would refuse them, or drop them: there the role has the limits (docs/database.md)
        options["options"] = " ".join(filter(None, [options.get("options"), POSTGRES_OPTIONS, also]))
    return {
        **place,
        "OPTIONS": options,
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


_main = primary(iam=DATABASE_IAM)
_lists = replica(_main, iam=DATABASE_IAM)
DATABASES: dict[str, dict[str, Any]] = {
    "default": connection_options(_main, TokenConnection if DATABASE_IAM else Connection)
}
# Where lists and searches are read from (amalga/db/replica.py), if there is such a server.
DATABASE_ROUTERS: list[str] = []
LSN_COOKIE_NAME = "__Host-amalga-written" if HTTPS else "amalga-written"
if _lists:
    kind = ReplicaTokenConnection if DATABASE_IAM else ReplicaConnection
    DATABASES["replica"] = connection_options(_lists, kind, also="-c default_transaction_read_only=on")
    DATABASES["replica"]["TEST"] = {"MIRROR": "default"}
    DATABASE_ROUTERS = ["amalga.db.replica.ReplicaRouter"]
