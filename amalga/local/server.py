"""Run a command beside the servers, or all of Amalga: web processes, sweep and worker."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from amalga.local.bootstrap import ADMIN, PROJECT, is_prepared, password_file
from amalga.local.embedded import Server, Store
from amalga.local.postgres import Postgres
from amalga.local.processes import (
    Daemon,
    Lock,
    Signals,
    StartupError,
    StopSignal,
    die_with_parent,
    free_port,
    require_free_port,
    responds,
    terminate,
    write_secret,
)

THROWAWAY_BUCKET = "amalga-throwaway"
LOCK = "in-use.lock"
GUNICORN_CONF = str(PROJECT / "amalga" / "gunicorn_conf.py")
MANAGE = str(PROJECT / "manage.py")
READY_SECONDS = 60
LEAVING_SECONDS = 6  # how long an earlier run without its parent gets to end
TEND_SECONDS = 0.2
GRACE_SECONDS = 20
NOT_FOUND = 127  # the exit code of shells


class DevEnvironment:
    """A local installation. `throwaway`: fresh data and free ports, no servers of the caller, deleted at the end."""

    def __init__(self, *, throwaway: bool) -> None:
        self.throwaway = throwaway
        self.folder = _home()
        if throwaway:
            self.folder, self._in_use = _throwaway_folder(self.folder / "throwaway")  # the lock is never released
        self.port = self._port("PORT", 8000)
        self.servers: list[Server] = []
        self.has_own_bucket = throwaway or not os.environ.get("AWS_STORAGE_BUCKET_NAME")
        self.has_own_database = throwaway or not (os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_HOST"))
        # the person's own profile, session token or endpoint would lead elsewhere
        if self.has_own_bucket:
            _unset("AWS_", "RCLONE_", "S3_", "SECONDARY_S3_")
            port, bucket = self._port("LOCAL_S3_PORT", 9555), THROWAWAY_BUCKET if throwaway else "amalga"
            self.servers.append(Store(self.folder, port=port, bucket=bucket))
        if self.has_own_database:
            _unset("PG", "DATABASE_", "READ_DATABASE_")
            port = self._port("LOCAL_POSTGRES_PORT", 54329)
            self.servers.append(Postgres(self.folder, port=port, throwaway=throwaway))

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self, pause: Callable[[], None]) -> None:
        """Start the servers that are not running yet, and return when all respond.

        `pause` is called while it waits, and can raise to give up.
        """
        self.tend()
        for server in self.servers:
            server.wait(pause)

    def tend(self) -> None:
        for server in self.servers:
            server.tend()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()
        if self.throwaway:
            shutil.rmtree(self.folder, ignore_errors=True)

    def variables(self) -> dict[str, str]:
        """Return the environment for a command: the caller's, with the variables for these servers."""
        secret_key = self.folder / "secret-key"
        if not secret_key.exists():
            write_secret(secret_key, secrets.token_urlsafe(50))
        defaults = {
            "HTTPS": "off",
            "LOG_FORMAT": "plain",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": self.url,
            "SECRET_KEY": secret_key.read_text(),
        }
        env = {**os.environ, **defaults} if self.throwaway else {**defaults, **os.environ}
        env["PORT"] = str(self.port)
        for server in self.servers:
            env |= server.variables()
        # Clients that use a proxy would request 127.0.0.1 through it.
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, [env.get("NO_PROXY"), "localhost,127.0.0.1"]))
        return env

    def _port(self, variable: str, default: int) -> int:
        if self.throwaway:
            return free_port()
        text = os.environ.get(variable) or str(default)
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise StartupError(f"{variable} must be an integer between 1 and 65535, not “{text}”.")
        return int(text)


def _home() -> Path:
    folder = PROJECT / (os.environ.get("LOCAL_FOLDER") or ".local")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _throwaway_folder(parent: Path) -> tuple[Path, Lock]:
    """Create a new folder and its lock. Deletes folders of killed runs, and stops their leftover servers."""
    parent.mkdir(exist_ok=True)
    for folder in parent.glob("run-*"):
        lock = Lock(folder / LOCK)
        if lock.acquire():
            for server in (Postgres(folder, port=0, throwaway=True), Store(folder, port=0, bucket="")):
                server.daemon.stop_leftover()
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
    # Renamed with the lock held: before that, another start would treat it as a leftover.
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
    lock = Lock(fresh / LOCK)
    lock.acquire()
    return fresh.rename(fresh.with_name(fresh.name.replace("new-", "run-"))), lock


def _unset(*prefixes: str) -> None:
    for name in list(os.environ):
        if name.startswith(prefixes):
            del os.environ[name]


class DevServer:
    """The web and background processes, and the lock that allows one development server per folder."""

    def __init__(self, environment: DevEnvironment, signals: Signals) -> None:
        self.environment = environment
        self.signals = signals
        self.lock = Lock(environment.folder / "serve.lock")
        # gunicorn's quick shutdown on SIGINT does not wait for requests
        self.web = self._daemon("web", GUNICORN_CONF, stop_signal=signal.SIGINT, stop_seconds=3)
        self.sweep, self.worker = (self._daemon(name, MANAGE) for name in ("sweep", "worker"))

    def acquire(self) -> None:
        """Raise StartupError if another server runs from this folder, or another program has the port."""
        end = time.monotonic() + LEAVING_SECONDS
        while not self.lock.acquire():
            if time.monotonic() > end:
                raise StartupError("`make run` is already running in another terminal. Stop it there with Ctrl-C.")
            self.signals.pause()
        for daemon in (self.web, self.sweep, self.worker):
            daemon.stop_leftover()
        require_free_port(self.environment.port, "PORT")

    def start(self) -> None:
        self._prepare()
        address = f"127.0.0.1:{self.environment.port}"
        options = ["-c", GUNICORN_CONF, "--bind", address, "--log-level", "warning"]
        self._start(self.web, "-m", "gunicorn", *options, "amalga.wsgi")
        end = time.monotonic() + READY_SECONDS
        while not responds(f"http://{address}/accounts/login/"):
            if self.web.exit_code() is not None or time.monotonic() > end:
                raise StartupError("The web server did not start. See its output above.")
            self.signals.pause()
        # After the first page, so that they do not compete for the processor. The embedded store verifies no checksums:
        # the worker reads new files within seconds.
        self._start(self.sweep, MANAGE, "sweep", "--every", "60")
        self._start(self.worker, MANAGE, "worker")

    def wait(self) -> int:
        """Wait until the web server ends by itself, and return its exit code."""
        while (code := self.web.exit_code()) is None:
            self.signals.pause()
            self.environment.tend()
        return abs(code) or 1

    def stop(self) -> None:
        for daemon in (self.worker, self.sweep, self.web):
            daemon.stop()
        self.lock.release()

    def _prepare(self) -> None:
        folder, own_bucket = self.environment.folder, self.environment.has_own_bucket
        if self.environment.has_own_database and is_prepared(folder, own_bucket=own_bucket):
            return
        bootstrap = self._daemon("prepare", "amalga.local.bootstrap")
        options = ["--own-bucket"] if own_bucket else []
        self._start(bootstrap, "-m", "amalga.local.bootstrap", str(folder), *options)
        try:
            while (code := bootstrap.exit_code()) is None:
                self.signals.pause()
        finally:
            bootstrap.stop()
        if code:
            raise StartupError("Could not prepare the database or the static files. See the output above.")

    def _daemon(
        self, name: str, mark: str, *, stop_signal: signal.Signals = signal.SIGTERM, stop_seconds: float = 10
    ) -> Daemon:
        folder = self.environment.folder
        return Daemon(name, folder, mark=mark, stop_signal=stop_signal, stop_seconds=stop_seconds)

    def _start(self, daemon: Daemon, *arguments: str) -> None:
        daemon.start([sys.executable, *arguments], env=self.environment.variables(), logged=False)


def serve(environment: DevEnvironment, signals: Signals) -> int:
    """Serve until a signal, and return 0; return the web server's exit code if it ends by itself."""
    server = DevServer(environment, signals)
    is_first_start = not password_file(environment.folder).exists()
    try:
        server.acquire()
        environment.start(signals.pause)
        server.start()
        print(_greeting(environment, is_first_start=is_first_start), flush=True)
        return server.wait()
    except StopSignal:
        return 0
    finally:
        signals.ignore()
        server.stop()


def _greeting(environment: DevEnvironment, *, is_first_start: bool) -> str:
    lines = [f"Amalga is ready:  {environment.url}"]
    file = password_file(environment.folder)
    if file.exists():
        path = os.path.relpath(file)
        lines.append(
            f"Sign in as {ADMIN}, password {file.read_text().strip()} (shown once, saved in {path})"
            if is_first_start
            else f"Sign in as {ADMIN}. The initial password is in {path}"
        )
    return "\n".join(["", *(f"  {line}" for line in [*lines, "Ctrl-C stops it."]), ""])


def run_command(command: list[str], environment: DevEnvironment, signals: Signals) -> int:
    """Run the command, and return its exit code; 128 + n if signal n ended it."""
    if not command or not shutil.which(command[0]):
        print(f"amalga: command not found: {' '.join(command[:1]) or '(none given)'}", file=sys.stderr)
        return NOT_FOUND
    environment.start(signals.pause)
    in_terminal = _is_in_terminal()
    process = subprocess.Popen(
        [*die_with_parent(signal.SIGTERM), *command], env=environment.variables(), start_new_session=not in_terminal
    )
    try:
        code = _wait_for(process, environment, signals, in_terminal=in_terminal)
    finally:
        terminate(process.pid, signal.SIGTERM, seconds=GRACE_SECONDS)
    return code if code >= 0 else 128 - code


def _wait_for(
    process: subprocess.Popen[bytes], environment: DevEnvironment, signals: Signals, *, in_terminal: bool
) -> int:
    deadline = float("inf")
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(TEND_SECONDS)
        environment.tend()
        number = signals.take()
        # Ctrl-C in a terminal has already reached the command, which handles it.
        if number and not (number == signal.SIGINT and in_terminal):
            with suppress(ProcessLookupError):
                (os.kill if in_terminal else os.killpg)(process.pid, number)
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
