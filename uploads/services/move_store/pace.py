"""Not more bytes a second than told, by any number of threads together."""

from __future__ import annotations

import threading
import time


class Pace:
    """Whoever spends bytes waits until they fit; without a limit nobody does. `stop` ends every wait."""

    def __init__(self, bytes_per_second: int | None, *, stop: threading.Event) -> None:
        self._rate = bytes_per_second
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def spend(self, count: int) -> None:
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        self._stop.wait(wait)
