"""The processors and memory of this machine or container, and the number of web processes that fit."""

from __future__ import annotations

import math
import os
from pathlib import Path

MIB = 1024**2
# One busy process with eight requests; measured by `make bench-load`.
PROCESS_BYTES = 160 * MIB
# gunicorn's first process, which loads the app for all and serves no requests, and the kernel's buffers.
BASE_BYTES = 160 * MIB
MIN_WORKERS, MAX_WORKERS = 2, 16  # two, so that one serves while the other is replaced
THREADS = 8
CGROUP = Path("/sys/fs/cgroup")


def worker_count(root: Path = CGROUP) -> int:
    """Return one worker per processor, since a process computes on one at a time; fewer where memory is short."""
    workers = max(MIN_WORKERS, min(MAX_WORKERS, math.ceil(cpu_count(root))))
    return max(1, min(workers, (memory_limit(root) - BASE_BYTES) // PROCESS_BYTES))


def cpu_count(root: Path = CGROUP) -> float:
    """Return the number of processors available: the affinity of the process, or the container's share if less."""
    bound = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    share = _share(root)
    return min(bound, share) if share else bound


def memory_limit(root: Path = CGROUP) -> int:
    """Return the memory of the machine in bytes, or the container's limit if less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_number(root / "memory.max"), _number(root / "memory" / "memory.limit_in_bytes"))
    return min([total, *(limit for limit in limits if limit)])


def _share(root: Path) -> float | None:
    """Return the container's share of processors, from cgroups v2 or else v1; None without a limit."""
    try:
        quota, _space, period = (root / "cpu.max").read_text().strip().partition(" ")
        return int(quota) / int(period) if quota.isdigit() else None
    except (OSError, ValueError):
        pass
    quota_us, period_us = _number(root / "cpu" / "cpu.cfs_quota_us"), _number(root / "cpu" / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us else None


def _number(path: Path) -> int | None:
    """Return the number in a file; None for a missing file, for `max` and for -1."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
