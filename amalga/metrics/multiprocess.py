"""Each process of gunicorn counts into files of its own, in memory; whoever is asked adds all of them up."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is made for us alone
PREFIX = "amalga-metrics-"
KINDS = ("counter", "histogram")


def new_folder() -> Path:
    """For the processes that we are the first of. What a killed one before us left there goes."""
    parent = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not _lives(int(pid)) and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))


def merge_dead_worker(folder: Path, pid: int) -> None:
    """Add what a process counted that has ended to what all before it did, and what others left. Without this every
    process that gunicorn replaces would leave files to be read for ever. Raises BlockingIOError while somebody
    reads, whom the next one makes good for. Safe to repeat."""
    from prometheus_client import multiprocess

    with locked(folder, alone=True):
        for gone in {pid, *(found for found in _counting(folder) if not _lives(found))}:
            multiprocess.mark_process_dead(gone, str(folder))  # type: ignore[no-untyped-call]
            for kind in KINDS:
                left = folder / f"{kind}_{gone}.db"
                if left.exists():
                    _add(left, to=folder / f"{kind}_ended.db")
                    left.unlink()


@contextmanager
def locked(folder: Path, *, alone: bool) -> Iterator[None]:
    """Nobody reads while what ended is added up, or it would count twice. gunicorn's first process waits for nobody."""
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _counting(folder: Path) -> set[int]:
    """The processes that files here are of."""
    names = {path.stem.rpartition("_")[2] for kind in KINDS for path in folder.glob(f"{kind}_*.db")}
    return {int(name) for name in names if name.isdecimal()}


def _add(left: Path, *, to: Path) -> None:
    from prometheus_client import mmap_dict

    values: Any = mmap_dict.MmapedDict  # it has no types
    sums = values(str(to))
    for key, value, _at, _position in values.read_all_values_from_file(str(left)):
        sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    sums.close()


def _lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        with suppress(PermissionError):
            os.kill(pid, 0)
        return True
    return False
