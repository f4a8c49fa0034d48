"""SQL, and additional databases for tests of restores and upgrades."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from amalga.local.postgres import installed_programs

DROP_ATTEMPTS = 10


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def postgres(program: str, *args: str) -> None:
    """Run one of Postgres's own programs on the server of this run."""
    to = connection.settings_dict
    env = {**os.environ, "PGPASSWORD": str(to["PASSWORD"])}
    where = ["--host", str(to["HOST"]), "--port", str(to["PORT"]), "--username", str(to["USER"])]
    command = [str(installed_programs() / program), *where, *args]
    subprocess.run(command, env=env, check=True, timeout=60, stdout=subprocess.DEVNULL)


@contextmanager
def another_database(name: str) -> Iterator[None]:
    """Create an empty database, which this process uses until the end of the block."""
    before = str(connection.settings_dict["NAME"])
    postgres("createdb", "--maintenance-db", "postgres", name)
    try:
        connect_to(name)
        yield
    finally:
        connect_to(before)
        _drop(name)


def _drop(name: str) -> None:
    """Drop the database. Retries while autovacuum runs in it, which `--force` cannot terminate."""
    for _attempt in range(DROP_ATTEMPTS - 1):
        try:
            return postgres("dropdb", "--maintenance-db", "postgres", "--force", name)
        except subprocess.CalledProcessError:
            time.sleep(1)
    return postgres("dropdb", "--maintenance-db", "postgres", "--force", name)


def connect_to(name: str) -> None:
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # only in the Postgres wrapper
    connection.settings_dict["NAME"] = name
