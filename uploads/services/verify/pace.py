"""How fast many threads read together, and that they stop when they are asked to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from uploads.services.verify.reading import CHUNK_BYTES

SLICE_SECONDS = 0.2
SMALLEST_CHUNK_BYTES = 16 * 1024


class Stopped(Exception):
    """Somebody asked to stop: what is read by half is not read."""


class Paced:
    """Counts the bytes of all threads, holds them back to `rate` bytes a second, and raises Stopped once `stop` says
    so."""

    def __init__(self, *, rate: int | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        self.bytes = 0
        # Slower than a megabyte a second, smaller pieces: nobody waits long with an open connection.
        self.chunk = CHUNK_BYTES if rate is None else max(SMALLEST_CHUNK_BYTES, min(CHUNK_BYTES, rate // 4))
        self._rate = rate
        self._stop = stop
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        until = self._account(count)
        while True:
            if self._stop():
                raise Stopped
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(SLICE_SECONDS, left))

    def _account(self, count: int) -> float:
        """When so many bytes more may have come."""
        with self._lock:
            self.bytes += count
            if self._rate:
                self._free_at = max(self._free_at, time.monotonic()) + count / self._rate
            return self._free_at
