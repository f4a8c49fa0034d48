"""Processes of this machine: locks, ports, signals, and process groups."""

from __future__ import annotations

import contextlib
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import psutil

LOG_TAIL_LINES = 3


class StartupError(Exception):
    """The person must change something before this can run. The message says what, in one line."""


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

    stop_seconds = 10.0  # how long it gets to stop before it is killed

    def __init__(self, name: str, folder: Path, *, mark: str, stop_signal: signal.Signals) -> None:
        self.name = name
        self.mark = mark
        self.stop_signal = stop_signal
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
            terminate_group(self._process.pid, self.stop_signal, seconds=self.stop_seconds)
            self._process.wait()
            self._process = None
            self.pid_file.unlink(missing_ok=True)

    def stop_leftover(self) -> bool:
        """Stop a process that a killed parent left running. Return True after an unclean end of the parent."""
        if not self.pid_file.exists():
            return False
        pid = int(self.pid_file.read_text() or 0)
        if pid and self.mark in command_line(pid):
            terminate_group(pid, self.stop_signal, seconds=self.stop_seconds)
        self.pid_file.unlink()
        return True

    def last_words(self) -> str:
        """Return the end of its log in one line."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "it said nothing"


def command_line(pid: int) -> str:
    """Return the command line of a process, "" if it has ended or cannot be read."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def terminate_group(pid: int, stop_signal: signal.Signals, *, seconds: float) -> None:
    """Ask a process to stop; kill it and its children if they take too long."""
    try:
        process = psutil.Process(pid)
        processes = [process, *process.children(recursive=True)]
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    if not _all_ended(processes, seconds):
        for member in processes:
            if not _has_ended(member):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        _all_ended(processes, seconds)


def _all_ended(processes: list[psutil.Process], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not all(_has_ended(member) for member in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _has_ended(process: psutil.Process) -> bool:
    # A zombie has ended: in a container process 1 may never collect it.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def die_with_parent(stop_signal: signal.Signals, *options: str) -> list[str]:
    """Return a command prefix that makes the kernel stop the command when we end, where it can (Linux)."""
    setpriv = _setpriv()
    if setpriv:
        return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *options, "--"]
    if options:
        raise StartupError("Postgres refuses to run as root, and setpriv (util-linux) is not here: run as a user.")
    return []


@functools.cache
def _setpriv() -> str | None:
    path = shutil.which("setpriv") if sys.platform == "linux" else None
    # busybox has a setpriv with fewer options
    if path and subprocess.run([path, "--pdeathsig", "TERM", "true"], capture_output=True).returncode == 0:
        return path
    return None


# below the range that systems use for outgoing connections
FREE_RANGE = range(20_000, 32_000)


def require_free_port(port: int, variable: str) -> None:
    """Raise StartupError if another process listens on this port."""
    if not is_free(port):
        raise StartupError(f"Port {port} is taken. Set {variable} to another, for example {variable}={port + 1}.")


def is_free(port: int) -> bool:
    """Return whether the port is free for IPv4 and IPv6: browsers would connect to another program on ::1."""
    return _can_listen(socket.AF_INET, "127.0.0.1", port) and (
        not socket.has_dualstack_ipv6() or _can_listen(socket.AF_INET6, "::1", port)
    )


def free_port() -> int:
    return next(port for port in random.sample(FREE_RANGE, len(FREE_RANGE)) if is_free(port))


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


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PAUSE_SECONDS = 0.05


class Stopped(Exception):
    """A signal asks this process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class Signals:
    """Records signals; the main loops check for them.

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
        """Wait a moment. Raises Stopped."""
        number = self.take()
        if number:
            raise Stopped(number)
        time.sleep(PAUSE_SECONDS)

    def ignore(self) -> None:
        """Ignore signals from now on, so that a second Ctrl-C does not interrupt the shutdown."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._pending.append(number)
