"""A local installation: a folder with the data of both servers, and the environment variables for them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from amalga.local.backends import Backend, Postgres, Server, Store
from amalga.local.bootstrap import get_or_create_secret
from amalga.local.processes import Lock, StartupError, free_port

PROJECT = Path(__file__).resolve().parents[2]
THROWAWAY_BUCKET = "amalga-throwaway"
LOCK = "in-use.lock"


class DevEnvironment:
    """A local installation. `throwaway`: fresh data and free ports, no servers of the caller, deleted at the end."""

    def __init__(self, *, throwaway: bool) -> None:
        self.throwaway = throwaway
        self._in_use: Lock | None = None  # held until this process ends
        if throwaway:
            self.folder, self._in_use = _throwaway_folder()
        else:
            self.folder = _home()
        self.port = free_port() if throwaway else _number("PORT", 8000)
        self.servers: list[Server] = []
        self.has_own_bucket = throwaway or not os.environ.get("AWS_STORAGE_BUCKET_NAME")
        if self.has_own_bucket:
            # the person's own profile, session token or endpoint would lead elsewhere
            _forget("AWS_", "RCLONE_", "S3_", "SECONDARY_S3_")
            store = Store(self.folder, bucket=THROWAWAY_BUCKET if throwaway else "amalga")
            self.servers.append(self._server(store, 9555))
        self.has_own_database = throwaway or not (os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_HOST"))
        if self.has_own_database:
            _forget("PG", "DATABASE_", "READ_DATABASE_")
            self.servers.append(self._server(Postgres(self.folder, throwaway=throwaway), 54329))

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self, pause: Callable[[], None]) -> None:
        """Start the servers that are not running yet, and return when all respond.

        `pause` is called while it waits, and can raise to give up.
        """
        for server in self.servers:
            server.begin()
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
        defaults = {
            "PORT": str(self.port),
            "HTTPS": "off",
            "LOG_FORMAT": "plain",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": self.url,
            "SECRET_KEY": get_or_create_secret(self.folder / "secret-key"),
        }
        env = {**os.environ, **defaults} if self.throwaway else {**defaults, **os.environ, "PORT": str(self.port)}
        for server in self.servers:
            env |= server.variables()
        # Clients that use a proxy would request 127.0.0.1 through it.
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, [env.get("NO_PROXY"), "localhost,127.0.0.1"]))
        return env

    def _server(self, backend: Backend, default_port: int) -> Server:
        port = free_port() if self.throwaway else _number(backend.port_variable, default_port)
        return Server(backend, self.folder, port=port)


def _home() -> Path:
    folder = PROJECT / (os.environ.get("LOCAL_FOLDER") or ".local")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _throwaway_folder() -> tuple[Path, Lock]:
    """Create a new folder and its lock. Deletes folders of killed runs, and stops their leftover servers."""
    parent = _home() / "throwaway"
    parent.mkdir(exist_ok=True)
    for folder in parent.glob("run-*"):
        lock = Lock(folder / LOCK)
        if lock.acquire():
            Postgres(folder, throwaway=True).daemon.stop_leftover()
            Store(folder, bucket="").daemon.stop_leftover()
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
    # Renamed with the lock held: before that, another start would treat it as a leftover.
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
    lock = Lock(fresh / LOCK)
    lock.acquire()
    return fresh.rename(fresh.with_name(fresh.name.replace("new-", "run-"))), lock


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StartupError(f"{variable} is {text!r}, which is no port: give a number from 1 to 65535.")
    return int(text)


def _forget(*prefixes: str) -> None:
    for name in list(os.environ):
        if name.startswith(prefixes):
            del os.environ[name]
