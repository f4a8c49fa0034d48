"""Connections to the test database."""

from __future__ import annotations

from django.db import connection


def close_other_connections() -> None:
    """End the sessions of other clients. Postgres' own processes, such as autovacuum, belong to a superuser."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
