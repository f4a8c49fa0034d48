"""The whole of Amalga on one machine: both servers, the web server, the sweep, the worker."""

from __future__ import annotations

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress

from amalga.local.installation import PROJECT, Installation
from amalga.local.ports import claim
from amalga.local.prepare import ADMIN, is_prepared, password_file
from amalga.local.processes import Daemon, Lock, Refused
from amalga.local.signals import Signals, Stopped

GUNICORN_SETTINGS = PROJECT / "amalga" / "gunicorn.py"
MANAGE = PROJECT / "manage.py"
READY_SECONDS = 60
# The embedded store checks no digests: what arrives is read by the worker, within seconds.
BACKGROUND = (("sweep", "--every", "60"), ("worker",))
LEAVING_SECONDS = 6  # an earlier run that has just lost its parent gets this long to end


class Site:
    """The processes that use the servers, and the lock that lets only one run in a folder."""

    def __init__(self, installation: Installation, signals: Signals) -> None:
        self.installation = installation
        self.signals = signals
        folder = installation.folder
        self.web = Daemon("web", folder, mark=str(GUNICORN_SETTINGS), stop_signal=signal.SIGINT)
        self.web.stop_seconds = 3  # SIGINT is its quick way: it waits for nobody
        self.background = {
            command: Daemon(command[0], folder, mark=str(MANAGE), stop_signal=signal.SIGTERM) for command in BACKGROUND
        }
        self.lock = Lock(folder / "serve.lock")

    def claim(self) -> None:
        """Raise Refused when another one serves from this folder, or a stranger has the port."""
        end = time.monotonic() + LEAVING_SECONDS
        while not self.lock.acquire():
            if time.monotonic() > end:
                raise Refused("`make run` runs already in another terminal; its Ctrl-C ends it.")
            self.signals.pause()
        for daemon in (self.web, *self.background.values()):
            daemon.stop_leftover()
        claim(self.installation.port, "PORT")

    def start(self) -> None:
        env = self.installation.variables()
        here, own_bucket = self.installation, self.installation.has_own_bucket
        if not (here.has_own_database and is_prepared(here.folder, own_bucket=own_bucket)):
            self._prepare(env)
        address = f"127.0.0.1:{self.installation.port}"
        gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(GUNICORN_SETTINGS)]
        options = ["--bind", address, "--log-level", "warning"]
        self.web.start([*gunicorn, *options, "amalga.wsgi"], env=env, logged=False)
        end = time.monotonic() + READY_SECONDS
        while not _answers(f"http://{address}/accounts/login/"):
            if self.web.exit_code() is not None or time.monotonic() > end:
                raise Refused("The web server did not start; what it said stands above.")
            self.signals.pause()
        # After the first page, so that it does not take the processor from it.
        for command, daemon in self.background.items():
            daemon.start([sys.executable, str(MANAGE), *command], env=env, logged=False)

    def stay(self) -> int:
        """Return when the web server ended by itself: its exit code."""
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
        child = Daemon("prepare", folder, mark="amalga.local.prepare", stop_signal=signal.SIGTERM)
        child.start([sys.executable, "-m", "amalga.local.prepare", str(folder), *options], env=env, logged=False)
        try:
            while (code := child.exit_code()) is None:
                self.signals.pause()
        finally:
            child.stop()
        if code:
            raise Refused("The database or the static files could not be prepared; the reason stands above.")


def serve(installation: Installation, signals: Signals) -> int:
    """Serve until told to stop, then 0; the web server's exit code when that ends first."""
    site = Site(installation, signals)
    password = password_file(installation.folder)
    known = password.read_text() if password.exists() else None
    try:
        site.claim()
        installation.start(signals.pause)
        site.start()
        print(_greeting(installation, known_password=known), flush=True)
        return site.stay()
    except Stopped:
        return 0
    finally:
        signals.ignore()
        site.stop()


def _greeting(installation: Installation, *, known_password: str | None) -> str:
    lines = [f"Amalga is ready:  {installation.url}"]
    file = password_file(installation.folder)
    if file.exists():
        password, place = file.read_text(), os.path.relpath(file)
        lines.append(
            f"Sign in as {ADMIN}, its first password is in {place}"
            if password == known_password
            else f"Sign in as {ADMIN}, password {password.strip()} (shown only now, kept in {place})"
        )
    return "\n".join(["", *(f"  {line}" for line in [*lines, "Ctrl-C stops it."]), ""])


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with suppress(urllib.error.HTTPError):
            direct.open(url, timeout=2).close()
    except OSError:
        return False
    return True
