"""A cache for one value."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class TTLCache(Generic[Value]):
    """Calls a function at most once in `seconds`. Threads that need the value meanwhile wait for the same call."""

    def __init__(self, function: Callable[[], Value], *, seconds: float) -> None:
        self._function = function
        self._seconds = seconds
        self._lock = threading.Lock()
        self._values: list[Value] = []
        self._expires_at = 0.0

    def get(self) -> Value:
        with self._lock:
            if not self._values or time.monotonic() > self._expires_at:
                self._values = [self._function()]
                self._expires_at = time.monotonic() + self._seconds
            return self._values[0]

    def clear(self) -> None:
        self._values = []
