"""An installation: a folder with the data of both servers, and the variables that lead to them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from amalga.local.ports import free_port
from amalga.local.processes import Lock, Refused
from amalga.local.secret import kept_secret
from amalga.local.servers import Kind, Postgres, Server, Store

PROJECT = Path(__file__).resolve().parents[2]
LOCK = "in-use.lock"


class Installation:
    """`throwaway` has fresh data and free ports, ignores the caller's own servers, and leaves nothing."""

    def __init__(self, *, throwaway: bool) -> None:
        self.throwaway = throwaway
        self.folder = _throwaway_folder() if throwaway else _home()
        self.port = free_port() if throwaway else _number("PORT", 8000)
        self.servers: list[Server] = []
        if throwaway:
            self._in_use = Lock(self.folder / LOCK)
            self._in_use.acquire()
        if throwaway or not os.environ.get("AWS_STORAGE_BUCKET_NAME"):
            # a profile, a session token or an endpoint of the person's own would lead elsewhere
            _forget("AWS_", "RCLONE_", "S3_")
            store = Store(self.folder, bucket="amalga-throwaway" if throwaway else "amalga")
            self.servers.append(self._server(store, 9555))
        if throwaway or not os.environ.get("DATABASE_URL"):
            _forget("PG")
            self.servers.append(self._server(Postgres(self.folder, throwaway=throwaway), 54329))

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self, pause: Callable[[], None]) -> None:
        """Start what nobody has started yet; return when everything answers. `pause` is called while it waits."""
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
        """The environment for a command: the caller's own, and what leads to these servers."""
        ours = {
            "PORT": str(self.port),
            "HTTPS": "off",
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": self.url,
            "SECRET_KEY": kept_secret(self.folder / "secret-key"),
        }
        env = (
            {**os.environ, **ours}
            if self.throwaway
            else {**ours, **os.environ, "PORT": str(self.port)}
        )
        for server in self.servers:
            env |= server.variables()
        # Clients that honour a proxy would ask it for 127.0.0.1.
        env["NO_PROXY"] = env["no_proxy"] = ",".join(
            filter(None, [env.get("NO_PROXY"), "localhost,127.0.0.1"])
        )
        return env

    def _server(self, kind: Kind, default_port: int) -> Server:
        port = free_port() if self.throwaway else _number(kind.port_variable, default_port)
        return Server(kind, self.folder, port=port)


def _home() -> Path:
    folder = PROJECT / (os.environ.get("LOCAL_FOLDER") or ".local")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _throwaway_folder() -> Path:
    """A new folder; those of killed runs, whose lock nobody holds, go with the servers they left."""
    parent = _home() / "throwaway"
    parent.mkdir(exist_ok=True)
    for folder in parent.iterdir():
        lock = Lock(folder / LOCK)
        if lock.acquire():
            Postgres(folder, throwaway=True).daemon.stop_leftover()
            Store(folder, bucket="").daemon.stop_leftover()
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
    return Path(tempfile.mkdtemp(dir=parent))


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise Refused(f"{variable} is {text!r}, which is no port: give a number from 1 to 65535.")
    return int(text)


def _forget(*prefixes: str) -> None:
    for name in list(os.environ):
        if name.startswith(prefixes):
            del os.environ[name]
