"""Whole processes, measured: time from start to end, and what the system says they took."""

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
class Taken:
    """Seconds of wall and CPU time, and the largest resident set in MiB of one process."""

    wall_s: float
    cpu_s: float
    rss_mib: float
    status: int
    said: str


def measured(*commands: Sequence[str], env: Mapping[str, str]) -> Taken:
    """Run these at once until all have ended: wall time of all, CPU in sum, memory of the largest, the worst status."""
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        running = [
            subprocess.Popen(command, stdout=said, stderr=said, cwd=PROJECT, env=env).pid for command in commands
        ]
        ended = [os.wait4(pid, 0) for pid in running]
        wall_s = time.perf_counter() - begun
        # only the end: a child's peak counts from that of its parent, which has to stay small
        said.seek(max(0, said.tell() - MAX_MESSAGES))
        return Taken(
            wall_s,
            sum(usage.ru_utime + usage.ru_stime for _pid, _status, usage in ended),
            max(usage.ru_maxrss for _pid, _status, usage in ended) / 1024,
            max(abs(os.waitstatus_to_exitcode(status)) for _pid, status, _usage in ended),
            said.read().decode(errors="replace"),
        )


def manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]
