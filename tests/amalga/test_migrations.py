"""Migrations: triggers, functions and statistics, reversal, and no statement timeout."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import signals

from amalga.db import RESPONSE_SECONDS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

TRIGGERS = {
    "uploads_event_append_only": "uploads_event",
    "uploads_file_guard": "uploads_file",
    "uploads_file_count_delete": "uploads_file",
    "uploads_file_count_insert": "uploads_file",
    "uploads_file_count_team_delete": "uploads_file",
    "uploads_file_count_team_insert": "uploads_file",
    "uploads_file_count_team_update": "uploads_file",
    "uploads_file_count_update": "uploads_file",
    "uploads_file_request_count_insert": "uploads_file",
    "uploads_file_request_count_update": "uploads_file",
    "uploads_file_set_natural_name": "uploads_file",
    "uploads_folder_set_natural_name": "uploads_folder",
    "uploads_folder_set_path": "uploads_folder",
    "uploads_tagging_count_delete": "uploads_tagging",
    "uploads_tagging_count_insert": "uploads_tagging",
    "uploads_usage_count_folders_delete": "uploads_folder",
    "uploads_usage_count_folders_insert": "uploads_folder",
    "uploads_usage_count_tags_delete": "uploads_tag",
    "uploads_usage_count_tags_insert": "uploads_tag",
}
FUNCTIONS = {*TRIGGERS, "uploads_natural_name"}
STATISTICS = {
    ("uploads_file", "normalized_name"): 500,
    ("uploads_file", "folder_id"): 1000,
    ("uploads_file", "owner_id"): 1000,
    ("uploads_tagging", "tag_id"): 1000,
}


def migrate(*targets: tuple[str, str]) -> None:
    """Migrate to these migrations, or to the latest of each app."""
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets) or executor.loader.graph.leaf_nodes())


def query(sql: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def triggers() -> dict[str, str]:
    return dict(query("SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal"))


def functions() -> set[str]:
    return {name for (name,) in query(r"SELECT proname FROM pg_proc WHERE proname LIKE 'uploads\_%'")}


def statistics() -> dict[tuple[str, str], int]:
    rows = query(
        "SELECT attrelid::regclass::text, attname, attstattarget FROM pg_attribute "
        r"WHERE attrelid::regclass::text LIKE 'uploads\_%' AND attstattarget > 0"
    )
    return {(table, column): target for table, column, target in rows}


def test_every_trigger_has_its_function() -> None:
    assert triggers() == TRIGGERS
    assert functions() == FUNCTIONS


def test_filtered_columns_have_finer_planner_statistics() -> None:
    assert statistics() == STATISTICS


def test_trigger_migrations_can_be_reversed_and_reapplied() -> None:
    migrate(("uploads", "0001_initial"))
    try:
        assert (triggers(), functions(), statistics()) == ({}, set(), {})
        assert "uploads_cache" not in connection.introspection.table_names()
    finally:
        migrate()
    assert (triggers(), functions(), statistics()) == (TRIGGERS, FUNCTIONS, STATISTICS)
    assert "uploads_cache" in connection.introspection.table_names()


def test_existing_rows_get_natural_names(alice: User) -> None:
    migrate(("uploads", "0014_malware"))
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO uploads_folder (name, normalized_name, path, restricted) "
                "SELECT 'x' || n, 'x' || n, '{}', false FROM generate_series(1, 12) AS n"
            )
    finally:
        migrate()
    rows = query("SELECT name, natural_name FROM uploads_folder ORDER BY natural_name")
    assert [name for name, _natural in rows] == [f"x{n}" for n in range(1, 13)]
    assert rows[-1] == ("x12", "x212")


def test_existing_group_gets_the_permissions_of_its_role() -> None:
    migrate(("uploads", "0002_triggers"))
    try:
        Group.objects.get_or_create(name="managers")
    finally:
        migrate()
    permissions = set(Group.objects.get(name="managers").permissions.values_list("codename", flat=True))
    assert {"view_file", "change_folder", "view_event", "view_report"} <= permissions


def test_migrations_have_no_statement_timeout() -> None:
    timeouts: list[str] = []

    def record_timeout(**_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            timeouts.append(cursor.fetchone()[0])

    signals.pre_migrate.connect(record_timeout)
    try:
        call_command("migrate", verbosity=0)
    finally:
        signals.pre_migrate.disconnect(record_timeout)
    record_timeout()
    assert set(timeouts[:-1]) == {"0"}
    assert timeouts[-1] == "8s"
    raw_connection: Any = connection.connection
    assert raw_connection.response_timeout == RESPONSE_SECONDS
