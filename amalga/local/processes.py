"""Processes of this machine: secrets, locks, ports, signals, and child processes that never outlive us."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

LOG_TAIL_LINES = 3
PAUSE_SECONDS = 0.05
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FREE_RANGE = range(20_000, 32_000)  # below the range that systems use for outgoing connections


class StartupError(Exception):
    """The person must change something before this can run. The message says what, in one line."""


class StopSignal(Exception):
    """A signal asks this process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class Signals:
    """Records signals, and the main loops check for them.

    So nothing interrupts us between the start of a process and its pid file.
    """

    def __init__(self, *, with_parent: bool) -> None:
        self._pending: list[int] = []
        self._parent = os.getppid() if with_parent else None
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._record)

    def take(self) -> int | None:
        """Return the oldest pending signal; None without one. The parent's end counts as SIGTERM."""
        if self._parent and os.getppid() != self._parent:
            self._parent = None
            return signal.SIGTERM
        return self._pending.pop(0) if self._pending else None

    def pause(self) -> None:
        """Wait a moment. Raises StopSignal."""
        if number := self.take():
            raise StopSignal(number)
        time.sleep(PAUSE_SECONDS)

    def ignore(self) -> None:
        """Ignore signals from now on, so that a second Ctrl-C does not interrupt the shutdown."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._pending.append(number)


class Lock:
    """A file lock that the kernel releases when its holder ends for any reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Return whether this process holds the lock now. Never waits. Safe to repeat."""
        if self._file is None:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Daemon:
    """A child process in its own session: Ctrl-C reaches it only through us, in the right order.

    `mark` is a part of its command line that no other program has. With it and the pid file, a later start recognizes
    a process that outlived its parent, and not another one with the same pid.
    """

    def __init__(
        self, name: str, folder: Path, *, mark: str, stop_signal: signal.Signals, stop_seconds: float = 10
    ) -> None:
        self.name = name
        self.mark = mark
        self.stop_signal = stop_signal
        self.stop_seconds = stop_seconds  # how long it gets to stop before it is killed
        self.pid_file = folder / f"{name}.pid"
        self.log_file = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        step_down: Sequence[str] = (),
        cwd: Path | None = None,
        logged: bool = True,
    ) -> None:
        """Start the process; unless `logged`, it writes to our own output.

        `step_down` are options of setpriv(1). Its user needs no access to `cwd`.
        """
        log = self.log_file.open("wb") if logged else None
        self._process = subprocess.Popen(
            [*die_with_parent(self.stop_signal, *step_down), *command],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        if log:
            log.close()
        self.pid_file.write_text(str(self._process.pid))

    def exit_code(self) -> int | None:
        """Return the exit code; None while it runs, or before it was started."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Stop the process, and wait until it and its children have ended. Safe to repeat."""
        if self._process:
            terminate(self._process.pid, self.stop_signal, seconds=self.stop_seconds)
            self._process.wait()
            self._process = None
            self.pid_file.unlink(missing_ok=True)

    def stop_leftover(self) -> bool:
        """Stop a process that a killed parent left running. Return True after an unclean end of the parent."""
        if not self.pid_file.exists():
            return False
        pid = int(self.pid_file.read_text() or 0)
        with suppress(psutil.Error):
            if pid and self.mark in " ".join(psutil.Process(pid).cmdline()):
                terminate(pid, self.stop_signal, seconds=self.stop_seconds)
        self.pid_file.unlink()
        return True

    def log_tail(self) -> str:
        """Return the end of its log in one line."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "no output"


def terminate(pid: int, stop_signal: signal.Signals, *, seconds: float) -> None:
    """Ask a process to stop; kill it and its children if they take too long."""
    try:
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    if not _wait_for_end(processes, seconds):
        for member in processes:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        _wait_for_end(processes, seconds)


def _wait_for_end(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Return whether all end in time. psutil.wait_procs would also wait for zombies, until process 1 collects them."""
    end = time.monotonic() + seconds
    while any(map(_is_running, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _is_running(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def die_with_parent(stop_signal: signal.Signals, *options: str) -> list[str]:
    """Return a command prefix that makes the kernel stop the command when we end, where it can (Linux)."""
    if setpriv := _setpriv():
        return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *options, "--"]
    if options:
        raise StartupError(
            "Postgres cannot run as root, and setpriv (util-linux) is not installed. Start it as another user."
        )
    return []


@functools.cache
def _setpriv() -> str | None:
    path = shutil.which("setpriv") if sys.platform == "linux" else None
    # busybox has a setpriv with fewer options
    if path and subprocess.run([path, "--pdeathsig", "TERM", "true"], capture_output=True).returncode == 0:
        return path
    return None


def require_free_port(port: int, variable: str) -> None:
    """Raise StartupError if another process listens on this port."""
    if not is_free(port):
        raise StartupError(f"Port {port} is in use. Set {variable} to another one, for example {variable}={port + 1}.")


def free_port() -> int:
    return next(port for port in random.sample(FREE_RANGE, len(FREE_RANGE)) if is_free(port))


def is_free(port: int) -> bool:
    """Return whether the port is free for IPv4 and IPv6: browsers would connect to another program on ::1."""
    return _can_listen(socket.AF_INET, "127.0.0.1", port) and (
        not socket.has_dualstack_ipv6() or _can_listen(socket.AF_INET6, "::1", port)
    )


def _can_listen(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family) as probe:
        # as the servers do: closing connections of an earlier run are no conflict
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL  # no IPv6 on this machine
    return True


def responds(url: str) -> bool:
    """Return whether a server answers there, with any status but an error of its own. Uses no proxy."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


def write_secret(path: Path, text: str) -> None:
    """Write a file atomically that only its owner can read, from the first byte on."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)
