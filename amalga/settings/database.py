"""Postgres: where it is, and how long anything there may take."""

from typing import Any

from amalga.database import Connection, TokenConnection
from amalga.settings.environment import switch, whole
from amalga.settings.postgres import primary

# A token of the role that we run as, in the place of a password; and whether a pooler (pgbouncer) stands between, which
# gives each transaction another connection.
DATABASE_IAM = switch("DATABASE_IAM", default=False)
DATABASE_POOLER = switch("DATABASE_POOLER", default=False)
# Each process keeps at most so many: twice as many as it has threads.
DATABASE_CONNECTIONS = whole("DATABASE_CONNECTIONS", 16, least=1, most=1000)

# connect + statement stay below the ten seconds after which a person gets 503.
# The two last tell Postgres what lists are: a page reads a few rows out of an order, scattered over the table and
# none of them met before, from a disk that does not seek. By default it reckons a page at its share of reading all.
POSTGRES_OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=4s -c idle_in_transaction_session_timeout=15s"
    " -c random_page_cost=1.1 -c effective_cache_size=256MB"
)


def asked(place: dict[str, Any], connections: type[Connection], *, also: str = "") -> dict[str, Any]:
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
        options["options"] = f"{POSTGRES_OPTIONS}{also}"
    return {
        **place,
        "OPTIONS": options,
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


DATABASES: dict[str, dict[str, Any]] = {
    "default": asked(primary(iam=DATABASE_IAM), TokenConnection if DATABASE_IAM else Connection)
}
