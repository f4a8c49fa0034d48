"""Processes of this machine: locks, ports, signals, and groups that end together."""

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
    """What a person must change before this can run. The text is for them, in one line."""


class Lock:
    """A file lock that the kernel gives back when its holder dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Whether this process holds the lock now. Never waits; may be repeated."""
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
    """A child in a session of its own: Ctrl-C reaches it only through us, in the right order.

    `mark` is a part of its command line that no other program has. By it and by the pid file a
    later start tells a process that outlived its parent from a stranger with the same number.
    """

    stop_seconds = 10.0  # it is killed when it was asked to stop and has not after this

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
        """Start it; unless `logged`, it writes to our own output.

        `step_down` are options of setpriv(1). `cwd` may be one that it could not enter itself.
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
        """None while it runs, or before it was started."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """Stop it and wait until it and its children are gone. Safe to repeat."""
        if self._process:
            terminate_group(self._process.pid, self.stop_signal, seconds=self.stop_seconds)
            self._process.wait()
            self._process = None
            self.pid_file.unlink(missing_ok=True)

    def stop_leftover(self) -> bool:
        """Stop what a killed parent left running. True when a parent did not end in order."""
        if not self.pid_file.exists():
            return False
        pid = int(self.pid_file.read_text() or 0)
        if pid and self.mark in command_line(pid):
            terminate_group(pid, self.stop_signal, seconds=self.stop_seconds)
        self.pid_file.unlink()
        return True

    def last_words(self) -> str:
        """The end of its log in one line."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "it said nothing"


def command_line(pid: int) -> str:
    """The command line of a process, or nothing when it is gone or not ours to see."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


def terminate_group(pid: int, stop_signal: signal.Signals, *, seconds: float) -> None:
    """Ask a process to stop; kill what is left of it and its children when it takes too long."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    if not _all_ended(family, seconds):
        for member in family:
            if not _has_ended(member):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        _all_ended(family, seconds)


def _all_ended(family: list[psutil.Process], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not all(_has_ended(member) for member in family):
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
    """The start of a command that the kernel stops when we die, where it can (Linux)."""
    setpriv = _setpriv()
    if setpriv:
        return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *options, "--"]
    if options:
        raise StartupError("Postgres refuses to run as root, and setpriv (util-linux) is not here: run as a user.")
    return []


@functools.cache
def _setpriv() -> str | None:
    path = shutil.which("setpriv") if sys.platform == "linux" else None
    # busybox has a setpriv that knows less
    if path and subprocess.run([path, "--pdeathsig", "TERM", "true"], capture_output=True).returncode == 0:
        return path
    return None


# below the range from which systems take the ports of outgoing connections
FREE_RANGE = range(20_000, 32_000)


def claim(port: int, variable: str) -> None:
    """Raise Refused when something listens on this port already."""
    if not is_free(port):
        raise StartupError(f"Port {port} is taken. Set {variable} to another, for example {variable}={port + 1}.")


def is_free(port: int) -> bool:
    """Whether nobody listens on either address: browsers would open a stranger on ::1 instead."""
    return _can_listen(socket.AF_INET, "127.0.0.1", port) and (
        not socket.has_dualstack_ipv6() or _can_listen(socket.AF_INET6, "::1", port)
    )


def free_port() -> int:
    return next(port for port in random.sample(FREE_RANGE, len(FREE_RANGE)) if is_free(port))


def _can_listen(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family) as probe:
        # as the servers do: a connection of an earlier run that is still closing does no harm
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
    """Somebody wants us to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class Signals:
    """Handlers only take note; the loops ask.

    So nothing is interrupted between a start and its pid file.
    """

    def __init__(self, *, with_parent: bool) -> None:
        self._noted: list[int] = []
        self._parent = os.getppid() if with_parent else None
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._note)

    def take(self) -> int | None:
        """The oldest signal that was not taken yet. The parent's end counts as SIGTERM."""
        if self._parent and os.getppid() != self._parent:
            self._parent = None
            return signal.SIGTERM
        return self._noted.pop(0) if self._noted else None

    def pause(self) -> None:
        """Wait a moment. Raises Stopped."""
        number = self.take()
        if number:
            raise Stopped(number)
        time.sleep(PAUSE_SECONDS)

    def ignore(self) -> None:
        """From here on a second Ctrl-C does not interrupt the orderly end."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
