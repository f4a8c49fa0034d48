"""Child processes that end with us, and what a `kill -9` of us leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

LOG_TAIL_LINES = 3


class Refused(Exception):
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
            [*dies_with_us(self.stop_signal, *step_down), *command],
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
            stop_family(self._process.pid, self.stop_signal, seconds=self.stop_seconds)
            self._process.wait()
            self._process = None
            self.pid_file.unlink(missing_ok=True)

    def stop_leftover(self) -> bool:
        """Stop what a killed parent left running. True when a parent did not end in order."""
        if not self.pid_file.exists():
            return False
        pid = int(self.pid_file.read_text() or 0)
        if pid and self.mark in command_line(pid):
            stop_family(pid, self.stop_signal, seconds=self.stop_seconds)
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


def stop_family(pid: int, stop_signal: signal.Signals, *, seconds: float) -> None:
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


def dies_with_us(stop_signal: signal.Signals, *options: str) -> list[str]:
    """The start of a command that the kernel stops when we die, where it can (Linux)."""
    setpriv = _setpriv()
    if setpriv:
        return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), *options, "--"]
    if options:
        raise Refused("Postgres refuses to run as root, and setpriv (util-linux) is not here: run as a user.")
    return []


@functools.cache
def _setpriv() -> str | None:
    path = shutil.which("setpriv") if sys.platform == "linux" else None
    # busybox has a setpriv that knows less
    if path and subprocess.run([path, "--pdeathsig", "TERM", "true"], capture_output=True).returncode == 0:
        return path
    return None
