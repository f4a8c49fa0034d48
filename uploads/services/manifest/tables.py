"""Which rows a manifest holds, and what of them."""

from __future__ import annotations

from dataclasses import dataclass

from uploads.models import Event, File, Folder, Grant, Tag, Tagging

# What belongs to a moment: leases, uploads under way, what a sweep remembers. Folded names are made anew.
PASSING = {"folded", "multipart_id", "expires_at", "signed_until", "lease_until", "retry_at", "tries"}
# Set by a trigger.
DERIVED = {"path", "governor_id"}
STORED = "state IN ('available', 'trashed')"


Rows = type[File] | type[Folder] | type[Tag] | type[Grant] | type[Tagging] | type[Event]


@dataclass(frozen=True, slots=True)
class Table:
    """`sql` gives the row as one JSON text per line, in an order that depends on nothing but the rows."""

    kind: str
    sql: str
    count: str


def columns_of(model: Rows) -> list[str]:
    """Every column that a manifest keeps: a new one is in it by itself."""
    columns = [str(field.column) for field in model._meta.concrete_fields]
    return [column for column in columns if column not in PASSING | DERIVED]


ROWS = """
SELECT row_to_json(told) FROM (SELECT '{kind}' AS kind, {columns} FROM {table} WHERE {where} ORDER BY {order}) AS told
"""
COUNT = "SELECT count(*) FROM {table} WHERE {where}"


def _plain(kind: str, model: Rows, *, order: str, where: str = "true") -> Table:
    table, columns = model._meta.db_table, ", ".join(f'"{column}"' for column in columns_of(model))
    sql = ROWS.format(kind=kind, columns=columns, table=table, where=where, order=order)
    return Table(kind, sql, COUNT.format(table=table, where=where))


RIGHTS = """
    SELECT coalesce(array_agg(app_label || '.' || codename ORDER BY app_label, codename), '{{}}')
    FROM {through} AS given JOIN auth_permission AS right_ ON right_.id = given.permission_id
    JOIN django_content_type AS about ON about.id = right_.content_type_id WHERE given.{column} = who.id
"""

GROUPS = """
SELECT row_to_json(told) FROM (
    SELECT 'group' AS kind, id, name, ({rights}) AS permissions
    FROM auth_group AS who ORDER BY id
) AS told
"""

# No password, not even its hash: a manifest may travel.
PEOPLE = """
SELECT row_to_json(told) FROM (
    SELECT 'person' AS kind, id, username, email, first_name, last_name, is_active, is_staff, is_superuser, date_joined,
        (SELECT coalesce(array_agg(group_id ORDER BY group_id), '{{}}') FROM auth_user_groups WHERE user_id = who.id)
            AS groups,
        ({rights}) AS permissions
    FROM auth_user AS who ORDER BY id
) AS told
"""

OF_GROUPS = RIGHTS.format(through="auth_group_permissions", column="group_id")
OF_PEOPLE = RIGHTS.format(through="auth_user_user_permissions", column="user_id")
IN_FILES = "file_id IN (SELECT id FROM uploads_file WHERE {stored})"
OF_STORED = IN_FILES.format(stored=STORED)
TABLES = [
    Table("group", GROUPS.format(rights=OF_GROUPS), "SELECT count(*) FROM auth_group"),
    Table("person", PEOPLE.format(rights=OF_PEOPLE), "SELECT count(*) FROM auth_user"),
    _plain("folder", Folder, order="cardinality(path), id"),
    _plain("grant", Grant, order="id"),
    _plain("tag", Tag, order="id"),
    _plain("file", File, order='store COLLATE "C", key', where=STORED),
    _plain("tagging", Tagging, order="id", where=OF_STORED),
]
EVENTS = _plain("event", Event, order="id")
MOVING = "SELECT state, count(*) FROM uploads_file WHERE NOT ({stored}) GROUP BY state ORDER BY state"
LEFT_OUT = MOVING.format(stored=STORED)
