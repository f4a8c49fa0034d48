"""Measure whole processes: wall time, CPU time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_MESSAGES = 500
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """Seconds of wall and CPU time, and the largest resident set in MiB of one process."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    status: int
    output: str


def measure(*commands: Sequence[str], env: Mapping[str, str]) -> ProcessResult:
    """Run these at once until all have ended: wall time of all, CPU in sum, memory of the largest, the worst status."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        pids = [
            subprocess.Popen(command, stdout=output, stderr=output, cwd=PROJECT, env=env).pid for command in commands
        ]
        exits = [os.wait4(pid, 0) for pid in pids]
        wall_s = time.perf_counter() - started
        # only the end: the peak of a child includes that of its parent, which must stay small
        output.seek(max(0, output.tell() - MAX_MESSAGES))
        return ProcessResult(
            wall_s,
            sum(usage.ru_utime + usage.ru_stime for _pid, _status, usage in exits),
            max(usage.ru_maxrss for _pid, _status, usage in exits) / 1024,
            max(abs(os.waitstatus_to_exitcode(status)) for _pid, status, _usage in exits),
            output.read().decode(errors="replace"),
        )


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]
