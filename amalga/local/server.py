"""The development server: web processes and worker, and commands that run beside them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress

from amalga.local.bootstrap import ADMIN, is_prepared, password_file
from amalga.local.environment import PROJECT, DevEnvironment
from amalga.local.processes import (
    Daemon,
    Lock,
    Signals,
    StartupError,
    Stopped,
    die_with_parent,
    require_free_port,
    terminate_group,
)

GUNICORN_SETTINGS = PROJECT / "amalga" / "gunicorn_conf.py"
MANAGE = PROJECT / "manage.py"
READY_SECONDS = 60
# The embedded store verifies no checksums: the worker reads new files within seconds.
BACKGROUND = (("sweep", "--every", "60"), ("worker",))
LEAVING_SECONDS = 6  # how long an earlier run without its parent gets to end


class DevServer:
    """The web and background processes, and the lock that allows one development server per folder."""

    def __init__(self, installation: DevEnvironment, signals: Signals) -> None:
        self.installation = installation
        self.signals = signals
        folder = installation.folder
        self.web = Daemon("web", folder, mark=str(GUNICORN_SETTINGS), stop_signal=signal.SIGINT)
        self.web.stop_seconds = 3  # gunicorn's quick shutdown on SIGINT does not wait for requests
        self.background = {
            command: Daemon(command[0], folder, mark=str(MANAGE), stop_signal=signal.SIGTERM) for command in BACKGROUND
        }
        self.lock = Lock(folder / "serve.lock")

    def acquire(self) -> None:
        """Raise StartupError if another server runs from this folder, or another program has the port."""
        end = time.monotonic() + LEAVING_SECONDS
        while not self.lock.acquire():
            if time.monotonic() > end:
                raise StartupError("`make run` runs already in another terminal; its Ctrl-C ends it.")
            self.signals.pause()
        for daemon in (self.web, *self.background.values()):
            daemon.stop_leftover()
        require_free_port(self.installation.port, "PORT")

    def start(self) -> None:
        env = self.installation.variables()
        installation, own_bucket = self.installation, self.installation.has_own_bucket
        if not (installation.has_own_database and is_prepared(installation.folder, own_bucket=own_bucket)):
            self._prepare(env)
        address = f"127.0.0.1:{self.installation.port}"
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(GUNICORN_SETTINGS)]
        options = ["--bind", address, "--log-level", "warning"]
        self.web.start([*gunicorn, *options, "amalga.wsgi"], env=env, logged=False)
        end = time.monotonic() + READY_SECONDS
        while not _responds(f"http://{address}/accounts/login/"):
            if self.web.exit_code() is not None or time.monotonic() > end:
                raise StartupError("The web server did not start; what it said stands above.")
            self.signals.pause()
        # After the first page, so that they do not compete for the processor.
        for command, daemon in self.background.items():
            daemon.start([sys.executable, str(MANAGE), *command], env=env, logged=False)

    def wait(self) -> int:
        """Wait until the web server ends by itself, and return its exit code."""
        while (code := self.web.exit_code()) is None:
            self.signals.pause()
            self.installation.tend()
        return abs(code) or 1

    def stop(self) -> None:
        for daemon in self.background.values():
            daemon.stop()
        self.web.stop()
        self.lock.release()

    def _prepare(self, env: Mapping[str, str]) -> None:
        folder = self.installation.folder
        options = ["--own-bucket"] if self.installation.has_own_bucket else []
        child = Daemon("prepare", folder, mark="amalga.local.bootstrap", stop_signal=signal.SIGTERM)
        child.start([sys.executable, "-m", "amalga.local.bootstrap", str(folder), *options], env=env, logged=False)
        try:
            while (code := child.exit_code()) is None:
                self.signals.pause()
        finally:
            child.stop()
        if code:
            raise StartupError("The database or the static files could not be prepared; the reason stands above.")


def serve(installation: DevEnvironment, signals: Signals) -> int:
    """Serve until a signal, and return 0; return the web server's exit code if it ends by itself."""
    site = DevServer(installation, signals)
    password = password_file(installation.folder)
    known_password = password.read_text() if password.exists() else None
    try:
        site.acquire()
        installation.start(signals.pause)
        site.start()
        print(_greeting(installation, known_password=known_password), flush=True)
        return site.wait()
    except Stopped:
        return 0
    finally:
        signals.ignore()
        site.stop()


def _greeting(installation: DevEnvironment, *, known_password: str | None) -> str:
    lines = [f"Amalga is ready:  {installation.url}"]
    file = password_file(installation.folder)
    if file.exists():
        password, path = file.read_text(), os.path.relpath(file)
        lines.append(
            f"Sign in as {ADMIN}, its first password is in {path}"
            if password == known_password
            else f"Sign in as {ADMIN}, password {password.strip()} (shown only now, kept in {path})"
        )
    return "\n".join(["", *(f"  {line}" for line in [*lines, "Ctrl-C stops it."]), ""])


def _responds(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with suppress(urllib.error.HTTPError):
            direct.open(url, timeout=2).close()
    except OSError:
        return False
    return True


TEND_SECONDS = 0.2
GRACE_SECONDS = 20
NOT_FOUND = 127  # the exit code of shells


def run_command(command: list[str], installation: DevEnvironment, signals: Signals) -> int:
    """Run the command, and return its exit code; 128 + n if signal n ended it."""
    if not command or not shutil.which(command[0]):
        print(f"amalga: no such command: {' '.join(command[:1]) or '(none given)'}", file=sys.stderr)
        return NOT_FOUND
    installation.start(signals.pause)
    in_terminal = _is_in_terminal()
    process = subprocess.Popen(
        [*die_with_parent(signal.SIGTERM), *command],
        env=installation.variables(),
        start_new_session=not in_terminal,
    )
    try:
        code = _wait_for(process, installation, signals, in_terminal=in_terminal)
    finally:
        terminate_group(process.pid, signal.SIGTERM, seconds=GRACE_SECONDS)
    return code if code >= 0 else 128 - code


def _wait_for(
    process: subprocess.Popen[bytes],
    installation: DevEnvironment,
    signals: Signals,
    *,
    in_terminal: bool,
) -> int:
    deadline = float("inf")
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(TEND_SECONDS)
        installation.tend()
        number = signals.take()
        # Ctrl-C in a terminal has already reached the command, which handles it.
        if number and not (number == signal.SIGINT and in_terminal):
            _forward_signal(process.pid, number, to_group=not in_terminal)
        if number in (signal.SIGTERM, signal.SIGHUP):
            deadline = time.monotonic() + GRACE_SECONDS
    process.kill()
    return process.wait()


def _is_in_terminal() -> bool:
    """Return whether we are in the foreground of a terminal, where the command must stay too."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _forward_signal(pid: int, number: int, *, to_group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if to_group else os.kill)(pid, number)
