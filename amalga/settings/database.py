"""Postgres: where it is, and how long anything there may take."""

from typing import Any

from amalga.database import Connection
from amalga.settings.environment import database

# connect + statement stay below the ten seconds after which a person gets 503.
# The two last tell Postgres what lists are: a page reads a few rows out of an order, scattered over the table and
# none of them met before, from a disk that does not seek. By default it reckons a page at its share of reading all.
POSTGRES_OPTIONS = (
    "-c statement_timeout=8s -c lock_timeout=4s -c idle_in_transaction_session_timeout=15s"
    " -c random_page_cost=1.1 -c effective_cache_size=256MB"
)
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        **database("DATABASE_URL"),
        "ATOMIC_REQUESTS": False,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
}
DATABASES["default"]["OPTIONS"] = {
    **DATABASES["default"].get("OPTIONS", {}),
    "connect_timeout": 3,
    "options": POSTGRES_OPTIONS,
    "pool": {
        "connection_class": Connection,
        "min_size": 1,
        "max_size": 16,
        # short: with 8 threads and 16 connections nobody waits but for a database that is away, and
        # whoever waits keeps a thread from the next one
        "timeout": 2,
        "reconnect_timeout": 2,
    },
}
