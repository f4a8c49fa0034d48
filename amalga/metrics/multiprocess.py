"""Shared metrics: each process of gunicorn counts in its own in-memory files, and a scrape adds them up."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - with a private folder in it
PREFIX = "amalga-metrics-"
KINDS = ("counter", "histogram")


def new_folder() -> Path:
    """Create the folder for this server's processes, and delete folders of killed servers."""
    parent = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for leftover in parent.glob(f"{PREFIX}*"):
        pid = leftover.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)) and leftover.stat().st_uid == os.getuid():
            shutil.rmtree(leftover, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))


def merge_dead_worker(folder: Path, pid: int) -> None:
    """Merge the metrics of this and other ended processes into one file per kind.

    Otherwise every replaced process would leave files that are read forever. Raises BlockingIOError during a scrape;
    the next call then merges them. Safe to repeat.
    """
    from prometheus_client import multiprocess

    with locked(folder, exclusive=True):
        for dead in {pid, *(other for other in _pids(folder) if not _is_alive(other))}:
            multiprocess.mark_process_dead(dead, str(folder))  # type: ignore[no-untyped-call]
            for kind in KINDS:
                file = folder / f"{kind}_{dead}.db"
                if file.exists():
                    _add(file, to=folder / f"{kind}_ended.db")
                    file.unlink()


@contextmanager
def locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock: no scrape during a merge, which would count twice. The exclusive lock never waits."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
        yield


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _pids(folder: Path) -> set[int]:
    """Return the pids of the processes with files in the folder."""
    names = {path.stem.rpartition("_")[2] for kind in KINDS for path in folder.glob(f"{kind}_*.db")}
    return {int(name) for name in names if name.isdecimal()}


def _add(source: Path, *, to: Path) -> None:
    from prometheus_client import mmap_dict

    mmap_class: Any = mmap_dict.MmapedDict  # it has no types
    sums = mmap_class(str(to))
    for key, value, _at, _position in mmap_class.read_all_values_from_file(str(source)):
        sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    sums.close()


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        with suppress(PermissionError):
            os.kill(pid, 0)
        return True
    return False
