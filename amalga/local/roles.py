"""The application's role: it owns its database, and is no superuser.

initdb makes one role, which can never cease to be a superuser. Until now that was the application's; it is renamed,
and one of its old name takes its place and all that it owned in the application's database.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

SUPERUSER = "postgres"
LOCK = 0x616D616C  # of our own among advisory locks: two commands may look at the same moment
# What lets the tests make their own databases and logins, as the owner of a database at a provider may.
OF_TESTS = "CREATEDB CREATEROLE"

RENAME = """
CREATE ROLE renaming SUPERUSER;
SET LOCAL SESSION AUTHORIZATION renaming;
ALTER ROLE {role} RENAME TO {superuser};
RESET SESSION AUTHORIZATION;
DROP ROLE renaming;
CREATE ROLE {role} LOGIN {options} PASSWORD {password};
ALTER DATABASE {database} OWNER TO {role};
"""

# What an extension brought, and a sequence that belongs to a table, have no owner of their own to change.
OWNED = """
WITH bound AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e' OR deptype IN ('a', 'i') AND refobjsubid > 0)
SELECT 'TABLE', oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
   AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND ('pg_class'::regclass, oid) NOT IN (TABLE bound)
UNION ALL
SELECT 'ROUTINE', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
   AND ('pg_proc'::regclass, oid) NOT IN (TABLE bound)
"""


def demote(connect: Callable[[str], Connection], *, role: str, database: str, password: str, tests: bool) -> None:
    """Make the database where it is missing, and its owner a role without further rights. Safe to repeat.

    `connect` signs in to a database as `role`, with autocommit. Nobody can sign in as the superuser afterwards, save
    with `tests`: then it keeps its password, which is that of `role`.
    """
    with connect("postgres") as connection:
        if not _is_superuser(connection, role):
            return
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
            # unless another command that uses this server was faster
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    with connect(database) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        if _is_superuser(connection, role):
            _replace(connection, role, database, password, tests=tests)


def _replace(connection: Connection, role: str, database: str, password: str, *, tests: bool) -> None:
    # encrypted here: the server may log a statement
    encrypted = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    names = {"role": sql.Identifier(role), "superuser": sql.Identifier(SUPERUSER), "database": sql.Identifier(database)}
    options = sql.SQL(OF_TESTS if tests else "")
    connection.execute(sql.SQL(RENAME).format(**names, options=options, password=sql.Literal(encrypted)))
    for kind, name in connection.execute(OWNED).fetchall():
        connection.execute(sql.SQL(f"ALTER {kind} {name} OWNER TO {{}}").format(names["role"]))
    if not tests:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD NULL").format(names["superuser"]))


def _is_superuser(connection: Connection, role: str) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    return bool(row and row[0])
