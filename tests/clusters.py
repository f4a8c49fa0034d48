"""A second Postgres: a streaming standby of the one that the tests use."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from django.db import connection

from amalga.local.ports import free_port
from amalga.local.processes import dies_with_us
from amalga.local.servers import Postgres

READY_SECONDS = 30


def until(true: Callable[[], object], *, seconds: float = READY_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class Standby:
    """Copied from the server of the tests, or from another of these, and following it until it is promoted; what it is
    asked stands in its log."""

    def __init__(self, folder: Path, *, of: Standby | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.place = connection.settings_dict
        self.port = free_port()
        self.kind = Postgres(folder, throwaway=True)
        self.kind.folder.mkdir(mode=0o700)
        step_down = self.kind._as_nobody() if os.geteuid() == 0 else []
        program, source = str(self.kind._programs / "pg_basebackup"), of.url if of else self._url(self.place["PORT"])
        copy = [program, "-D", str(self.kind.data), "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        command = [*dies_with_us(signal.SIGTERM, *step_down), *copy]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        with (self.kind.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("log_statement = 'all'\n")
        self.kind.prepare(after_crash=False)
        self.start()

    @property
    def url(self) -> str:
        return self._url(self.port)

    def start(self) -> None:
        self.kind.start(self.port)
        until(self.answers)

    def stop(self) -> None:
        self.kind.daemon.stop()

    def answers(self) -> bool:
        try:
            return bool(self.ask("SELECT pg_is_in_recovery()"))
        except psycopg.OperationalError:
            return False

    def ask(self, sql: str) -> Any:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as opened:
            told = opened.execute(sql)
            row = told.fetchone() if told.description else None
            return row[0] if row else None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It answers, and learns of nothing more for a while."""
        self.ask("SELECT pg_wal_replay_pause()")
        until(lambda: self.ask("SELECT pg_get_wal_replay_pause_state()") == "paused")
        try:
            yield
        finally:
            self.ask("SELECT pg_wal_replay_resume()")
            self.catch_up()

    def promote(self) -> None:
        assert self.ask("SELECT pg_promote()")

    def kill(self) -> None:
        """As a machine that loses its power."""
        pid = int(self.kind.daemon.pid_file.read_text())
        for child in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def catch_up(self) -> None:
        """Return when it has all that the primary wrote before."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            (number,) = cursor.fetchone()
        until(lambda: self.ask(f"SELECT pg_last_wal_replay_lsn() >= '{number}'"))

    def was_asked(self) -> str:
        """What it was asked so far, in the words of its log."""
        return self.kind.daemon.log_file.read_text(errors="replace")

    def _url(self, port: object) -> str:
        user, password, name = (self.place[part] for part in ("USER", "PASSWORD", "NAME"))
        return f"postgres://{user}:{quote(password)}@127.0.0.1:{port}/{name}"
