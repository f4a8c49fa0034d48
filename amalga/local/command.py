"""Running one command with the servers, as if it had been started alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

from amalga.local.installation import Installation
from amalga.local.processes import dies_with_us, stop_family
from amalga.local.signals import Signals

TEND_SECONDS = 0.2
GRACE_SECONDS = 20
NOT_FOUND = 127  # as a shell says it


def run_command(command: list[str], installation: Installation, signals: Signals) -> int:
    """Its exit code; 128 + n when signal n ended it."""
    if not command or not shutil.which(command[0]):
        print(f"amalga: no such command: {' '.join(command[:1]) or '(none given)'}", file=sys.stderr)
        return NOT_FOUND
    installation.start(signals.pause)
    in_terminal = _is_in_terminal()
    process = subprocess.Popen(
        [*dies_with_us(signal.SIGTERM), *command],
        env=installation.variables(),
        start_new_session=not in_terminal,
    )
    try:
        code = _attend(process, installation, signals, in_terminal=in_terminal)
    finally:
        stop_family(process.pid, signal.SIGTERM, seconds=GRACE_SECONDS)
    return code if code >= 0 else 128 - code


def _attend(
    process: subprocess.Popen[bytes],
    installation: Installation,
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
        # Ctrl-C in a terminal has reached the command already, which decides what it means.
        if number and not (number == signal.SIGINT and in_terminal):
            _pass_on(process.pid, number, to_group=not in_terminal)
        if number in (signal.SIGTERM, signal.SIGHUP):
            deadline = time.monotonic() + GRACE_SECONDS
    process.kill()
    return process.wait()


def _is_in_terminal() -> bool:
    """Whether a terminal talks to us, and so must go on talking to the command."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _pass_on(pid: int, number: int, *, to_group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if to_group else os.kill)(pid, number)
