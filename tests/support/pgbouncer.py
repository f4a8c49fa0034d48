"""pgbouncer in transaction mode in front of the test Postgres.

`python -m tests.support.pgbouncer` installs it if it is missing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psycopg
from django.db import connection

from amalga.local.postgres import UnprivilegedUser
from amalga.local.processes import Daemon, free_port
from tests.support.debian import find, install

ADVICE = "No pgbouncer for the tests: install it (apt or brew install pgbouncer), then run make again."
READY_SECONDS = 15

SETTINGS = """
[databases]
* = host={host} port={behind}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
pool_mode = transaction
default_pool_size = 2
max_client_conn = 200
"""


class Bouncer:
    """A pgbouncer with at most two server connections."""

    def __init__(self, folder: Path) -> None:
        place, self.port = connection.settings_dict, free_port()
        folder.mkdir()
        users, file = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{place["USER"]}" "{place["PASSWORD"]}"\n')
        file.write_text(SETTINGS.format(host=place["HOST"], behind=place["PORT"], port=self.port))
        program = find("pgbouncer")
        assert program, ADVICE
        step_down: tuple[str, ...] = ()
        if os.geteuid() == 0:  # like Postgres, pgbouncer refuses to run as root
            user = UnprivilegedUser()
            step_down = user.options
            for path in (folder, users, file):
                user.take_ownership(path)
        self.daemon = Daemon("pgbouncer", folder, mark=file.name, stop_signal=signal.SIGTERM)
        self.daemon.start([program, file.name], env=os.environ, step_down=step_down, cwd=folder)
        self._wait()

    @property
    def url(self) -> str:
        return "postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{NAME}".format(**connection.settings_dict, port=self.port)

    def stop(self) -> None:
        self.daemon.stop()

    def _wait(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                assert time.monotonic() < end, self.daemon.log_tail()
                time.sleep(0.1)


def main() -> str | None:
    """Return None, or advice for a person."""
    return None if find("pgbouncer") or (install("pgbouncer") and find("pgbouncer")) else ADVICE


if __name__ == "__main__":
    sys.exit(main())
