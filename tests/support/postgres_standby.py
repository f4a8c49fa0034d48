"""A streaming standby of the test Postgres."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
from django.db import connection

from amalga.local.postgres import MARK, Postgres
from amalga.local.processes import free_port
from tests.support.waiting import wait_until

READY_SECONDS = 30


until = partial(wait_until, seconds=READY_SECONDS)


def superuser_url(*, database: str, port: object = None) -> str:
    """Return a superuser URL, for operations that the application role may not perform."""
    url = urlsplit(os.environ["LOCAL_SUPERUSER_URL"])
    return url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port or url.port}", path=database).geturl()


def as_superuser(statement: str) -> Any:
    """Run a statement in the test database, and return its first row."""
    url = superuser_url(database=connection.settings_dict["NAME"])
    with psycopg.connect(url, autocommit=True) as database:
        cursor = database.execute(statement)
        return cursor.fetchone() if cursor.description else None


def reload_configuration() -> None:
    """Reload pg_hba.conf, and return when the server uses it."""
    before = as_superuser("SELECT pg_conf_load_time()")
    as_superuser("SELECT pg_reload_conf()")
    until(lambda: as_superuser("SELECT pg_conf_load_time()") > before)  # by a new connection


def data_folder() -> Path:
    """Return the data folder of the test server."""
    return Path(as_superuser(f"SHOW {MARK}")[0])


class Standby:
    """A copy of the test server, or of another standby, which follows it until promoted. Its log contains all
    queries."""

    def __init__(self, folder: Path, *, of: Standby | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.place = connection.settings_dict
        self.port = free_port()
        self.kind = Postgres(folder, port=self.port, throwaway=True)
        self.kind.make_folder()
        source = of.url if of else self._url(self.place["PORT"])
        options = ["-D", ".", "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        self.kind.run("pg_basebackup", *options, data=self.kind.data)
        with (self.kind.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("log_statement = 'all'\n")
        self.start()

    @property
    def url(self) -> str:
        return self._url(self.port)

    def start(self) -> None:
        self.kind.start()
        until(self.is_ready)

    def stop(self) -> None:
        self.kind.daemon.stop()

    def is_ready(self) -> bool:
        try:
            return bool(self.fetch_value("SELECT pg_is_in_recovery()"))
        except psycopg.OperationalError:
            return False

    def fetch_value(self, sql: str) -> Any:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as database:
            cursor = database.execute(sql)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause replay: the standby serves queries but applies no changes."""
        self.fetch_value("SELECT pg_wal_replay_pause()")
        until(lambda: self.fetch_value("SELECT pg_get_wal_replay_pause_state()") == "paused")
        try:
            yield
        finally:
            self.fetch_value("SELECT pg_wal_replay_resume()")
            self.catch_up()

    def promote(self) -> None:
        assert self.fetch_value("SELECT pg_promote()")

    def kill(self) -> None:
        """Kill all processes, as in a power failure."""
        pid = int(self.kind.daemon.pid_file.read_text())
        for child in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def catch_up(self) -> None:
        """Return when it has replayed everything that the primary has written."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            (number,) = cursor.fetchone()
        until(lambda: self.fetch_value(f"SELECT pg_last_wal_replay_lsn() >= '{number}'"))

    def last_queries(self) -> str:
        """Return the log with the queries so far."""
        return self.kind.daemon.log_file.read_text(errors="replace")

    def _url(self, port: object) -> str:
        """Return a superuser URL, to copy, pause and promote servers."""
        return superuser_url(database=self.place["NAME"], port=port)
