"""What this machine, or the container we run in, can carry: processors and memory, as the kernel limits them."""

from __future__ import annotations

import math
import os
from pathlib import Path

MIB = 1024**2
# One process at work, with what it holds for eight requests; measured by `make bench-load`.
PROCESS_BYTES = 160 * MIB
# The first process, which loads the app once for all and serves nobody, and the kernel's buffers.
BASE_BYTES = 160 * MIB
LEAST, MOST = 2, 16  # two, so that one serves while the other is replaced
THREADS = 8
CGROUP = Path("/sys/fs/cgroup")


def worker_count(root: Path = CGROUP) -> int:
    """One for each processor, since a process computes on one at a time; fewer where memory is short."""
    wanted = max(LEAST, min(MOST, math.ceil(cpu_count(root))))
    return max(1, min(wanted, (memory_limit(root) - BASE_BYTES) // PROCESS_BYTES))


def cpu_count(root: Path = CGROUP) -> float:
    """How many we may use: those we are bound to, or the share of them that a container is given."""
    bound = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    share = _share(root)
    return min(bound, share) if share else bound


def memory_limit(root: Path = CGROUP) -> int:
    """Bytes of the machine, or the limit of the container if that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (_number(root / "memory.max"), _number(root / "memory" / "memory.limit_in_bytes"))
    return min([whole, *(limit for limit in limits if limit)])


def _share(root: Path) -> float | None:
    """Of the second version of cgroups, or else of the first."""
    try:
        quota, _space, period = (root / "cpu.max").read_text().strip().partition(" ")
        return int(quota) / int(period) if quota.isdigit() else None
    except (OSError, ValueError):
        pass
    allowed, span = _number(root / "cpu" / "cpu.cfs_quota_us"), _number(root / "cpu" / "cpu.cfs_period_us")
    return allowed / span if allowed and span else None


def _number(path: Path) -> int | None:
    """None for no such file, no number (`max`) and none at all (-1)."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
