"""gunicorn's settings follow the machine, and invalid values stop the start."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from amalga import capacity
from tests.amalga.test_settings import read
from tests.conftest import PROJECT

GIB = 1024**3


def gunicorn() -> dict[str, Any]:
    return runpy.run_path(str(PROJECT / "amalga" / "gunicorn_conf.py"))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with eight processors, 64 GiB and no cgroup limits yet."""
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64 * GIB // 4096}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: pages[name])
    return tmp_path


def test_one_worker_per_processor(kernel: Path) -> None:
    assert capacity.worker_count(kernel) == 8


@pytest.mark.parametrize(("cpu_max", "processes"), [("400000 100000", 4), ("150000 100000", 2), ("25000 100000", 2),
                                                 ("max 100000", 8), ("nonsense", 8)])  # fmt: skip
def test_cpu_limit_of_cgroup_v2_limits_the_workers(cpu_max: str, processes: int, kernel: Path) -> None:
    (kernel / "cpu.max").write_text(f"{cpu_max}\n")
    assert capacity.worker_count(kernel) == processes


@pytest.mark.parametrize(("quota", "processes"), [("300000", 3), ("-1", 8)])
def test_cpu_limit_of_cgroup_v1_limits_the_workers(quota: str, processes: int, kernel: Path) -> None:
    (kernel / "cpu").mkdir()
    (kernel / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (kernel / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert capacity.worker_count(kernel) == processes


@pytest.mark.parametrize(("mebibytes", "processes"), [(4096, 8), (1024, 5), (512, 2), (256, 1), (64, 1)])
def test_memory_limit_limits_the_workers(mebibytes: int, processes: int, kernel: Path) -> None:
    (kernel / "memory.max").write_text(str(mebibytes * capacity.MIB))
    assert capacity.worker_count(kernel) == processes
    (kernel / "memory.max").write_text("max")
    assert capacity.worker_count(kernel) == 8


def test_environment_overrides_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "5")
    monkeypatch.setenv("WEB_THREADS", "3")
    assert (gunicorn()["workers"], gunicorn()["threads"]) == (5, 3)
    settings = read(monkeypatch, WEB_CONCURRENCY="5", WEB_THREADS="3")
    assert (settings["WEB_CONCURRENCY"], settings["WEB_THREADS"]) == (5, 3)


@pytest.mark.parametrize("name", ["WEB_CONCURRENCY", "WEB_THREADS"])
@pytest.mark.parametrize("value", ["0", "-1", "1001", "two", "1.5", "9" * 30])
def test_invalid_number_is_rejected(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        gunicorn()


def test_settings_and_gunicorn_use_the_same_concurrency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    monkeypatch.delenv("WEB_THREADS", raising=False)
    settings, served = read(monkeypatch), gunicorn()
    assert (settings["WEB_CONCURRENCY"], settings["WEB_THREADS"]) == (served["workers"], served["threads"])


def test_app_is_preloaded_and_workers_are_not_recycled() -> None:
    served = gunicorn()
    assert served["preload_app"]
    assert "max_requests" not in served


def test_worker_connections_stay_below_the_open_file_limit() -> None:
    assert gunicorn()["worker_connections"] + 100 < 1024


FREED_BLOCKS = """
import os, runpy
from pathlib import Path

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024**2

runpy.run_path("amalga/gunicorn_conf.py")["return_freed_memory"]()
bytearray(8 * 1024**2)  # after this one, glibc keeps smaller blocks by default
before = resident_mib()
blocks = [bytearray(200_000) for _ in range(400)]
del blocks[::2]
print(resident_mib() - before)
"""


def test_freed_memory_is_returned_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", FREED_BLOCKS], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 50  # of 76 MiB, half were freed
