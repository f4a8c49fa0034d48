"""The application's role: it owns its database, and is not a superuser.

initdb creates one role, which can never stop being a superuser. It has the application's name at first; it is renamed,
and a new role of the old name gets everything that it owned in the application's database.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

SUPERUSER = "postgres"
LOCK = 0x616D616C  # our advisory lock: two commands may run this at the same moment
# Tests create their own databases and roles, as the owner of a database at a provider can.
TEST_OPTIONS = "CREATEDB CREATEROLE"

RENAME = """
CREATE ROLE renaming SUPERUSER;
SET LOCAL SESSION AUTHORIZATION renaming;
ALTER ROLE {role} RENAME TO {superuser};
RESET SESSION AUTHORIZATION;
DROP ROLE renaming;
CREATE ROLE {role} LOGIN {options} PASSWORD {password};
ALTER DATABASE {database} OWNER TO {role};
"""

# Objects of an extension, and sequences of a table, have no owner of their own to change.
OWNED_OBJECTS = """
WITH bound AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e' OR deptype IN ('a', 'i') AND refobjsubid > 0)
SELECT 'TABLE', oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
   AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND ('pg_class'::regclass, oid) NOT IN (TABLE bound)
UNION ALL
SELECT 'ROUTINE', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
   AND ('pg_proc'::regclass, oid) NOT IN (TABLE bound)
"""


def demote(connect: Callable[[str], Connection], *, role: str, database: str, password: str, tests: bool) -> None:
    """Create the database if it is missing, and make its owner a role without further privileges. Safe to repeat.

    `connect` connects to a database as `role`, with autocommit. Afterwards the superuser cannot log in, except with
    `tests`: then it keeps its password, which is that of `role`.
    """
    with connect("postgres") as connection:
        if not _is_superuser(connection, role):
            return
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            # another command that uses this server may have created it
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    with connect(database) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if _is_superuser(connection, role):
            _replace(connection, role, database, password, tests=tests)


def _replace(connection: Connection, role: str, database: str, password: str, *, tests: bool) -> None:
    # encrypted here, because the server may log the statement
    encrypted = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    names = {"role": sql.Identifier(role), "superuser": sql.Identifier(SUPERUSER), "database": sql.Identifier(database)}
    options = sql.SQL(TEST_OPTIONS if tests else "")
    connection.execute(sql.SQL(RENAME).format(**names, options=options, password=sql.Literal(encrypted)))
    for kind, name in connection.execute(OWNED_OBJECTS).fetchall():
        connection.execute(sql.SQL(f"ALTER {kind} {name} OWNER TO {{}}").format(names["role"]))
    if not tests:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD NULL").format(names["superuser"]))


def _is_superuser(connection: Connection, role: str) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    return bool(row and row[0])
