"""Empty the test database after a transactional test by DELETE instead of TRUNCATE.

TRUNCATE creates new files for every table and index, and Django's `flush` then creates all content types and
permissions again: 130 ms for each test. Here, content types and permissions stay, because no test changes them.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.core.management.commands import flush
from django.db import connections
from psycopg import sql

from tests.support.postgres_standby import superuser_url

STATIC_TABLES = {"django_content_type", "auth_permission"}
MAX_BYTES = 16 * 1024**2  # of tables with their indexes; above, TRUNCATE is faster and leaves no dead rows


def install() -> None:
    """Replace Django's `flush` in this process."""
    flush.Command.handle = _flush  # type: ignore[assignment]


def _flush(command: flush.Command, **options: Any) -> None:
    connection = connections[options["database"]]
    tables = [
        name
        for name in connection.introspection.django_table_names(only_existing=True, include_views=False)
        if name not in STATIC_TABLES
    ]
    # A new connection each time: an open one would prevent dropping the test database.
    url = superuser_url(database=str(connection.settings_dict["NAME"]), port=connection.settings_dict["PORT"])
    with psycopg.connect(url, autocommit=True) as superuser:
        _empty(superuser, tables)


def _empty(superuser: psycopg.Connection[Any], tables: list[str]) -> None:
    row = superuser.execute(
        "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name", [tables]
    ).fetchone()
    names = [sql.Identifier(name) for name in tables]
    if row and row[0] > MAX_BYTES:
        superuser.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(names)))
        return
    # Like a replica: triggers do not fire, and the order of foreign keys does not matter.
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(sql.SQL("; ").join(sql.SQL("DELETE FROM {}").format(name) for name in names))
