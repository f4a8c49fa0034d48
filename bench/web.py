"""Run gunicorn with the servers of this run, and measure what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

PROJECT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30
SAMPLE_SECONDS = 0.05


@dataclass
class Cost:
    """Wall time in seconds, CPU seconds of all web processes, peak growth of their memory in MiB."""

    wall_s: float = 0.0
    web_cpu_s: float = 0.0
    web_growth_mib: float = 0.0


class Web:
    """gunicorn as in production, with the environment and the given variables."""

    def __init__(self, *, log: IO[bytes] | None = None, application: str = "amalga.wsgi", **variables: str) -> None:
        """Send its stderr to `log`, or to our own."""
        env = os.environ | variables
        self.url = f"http://localhost:{env['PORT']}"
        command = [sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "amalga/gunicorn_conf.py"), application]
        self.process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=log, cwd=PROJECT, env=env)

    def __enter__(self) -> Web:
        end = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > end:
                raise TimeoutError("the web server did not start")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    @contextmanager
    def measured(self) -> Iterator[Cost]:
        cost = Cost()
        before = self._memory()
        peak = [before]
        done = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(peak, done))
        sampler.start()
        cpu, wall = self.cpu_seconds(), time.perf_counter()
        try:
            yield cost
        finally:
            cost.wall_s = time.perf_counter() - wall
            cost.web_cpu_s = self.cpu_seconds() - cpu
            done.set()
            sampler.join()
            cost.web_growth_mib = (peak[0] - before) / 1024**2

    def _sample(self, peak: list[int], done: threading.Event) -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], self._memory())

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def memory(self) -> int:
        """Return the proportional set size (PSS) of all web processes in bytes."""
        return sum(process.memory_full_info().pss for process in self._all())

    def _memory(self) -> int:
        return sum(process.memory_info().rss for process in self._all())

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of all web processes since they started."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._all()))

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/accounts/login/"):  # noqa: S310  (our own address)
                return True
        except urllib.error.HTTPError:
            return True
        except (urllib.error.URLError, ConnectionError):
            return False
