"""Connections to the test database."""

from __future__ import annotations

from django.db import connection


def close_other_connections() -> list[str]:
    """Terminate the connections of other clients, but not Postgres's own processes, such as autovacuum. Return their
    names and last queries."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT concat_ws(' ', application_name, state, query), pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return [text for text, _terminated in cursor.fetchall()]
