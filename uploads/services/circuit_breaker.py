"""Tell an unavailable storage from one that fails for a single object."""

from __future__ import annotations

import logging
import threading
import time

from uploads import s3
from uploads.errors import StorageUnavailable

logger = logging.getLogger(__name__)

RECENT_RESPONSE_SECONDS = 10.0


class CircuitBreaker:
    """The unavailable stores, shared by calls in many threads: no further call is made to these."""

    def __init__(self) -> None:
        self.unavailable: set[str] = set()
        self._last_success: dict[str, float] = {}
        self._lock = threading.Lock()

    def require(self, store: str) -> None:
        """Raise StorageUnavailable for a store that is known to be unavailable, without calling it."""
        if store in self.unavailable:
            raise StorageUnavailable("skipped: the storage is unavailable")

    def record_failure(self, store: str) -> bool:
        """Ping the store after a failed call, and return whether it is unavailable. Takes ten seconds at most."""
        with self._lock:
            last_success = self._last_success.get(store, -1e9)
            if store not in self.unavailable and time.monotonic() - last_success > RECENT_RESPONSE_SECONDS:
                try:
                    s3.ping(store)
                    self._last_success[store] = time.monotonic()
                except StorageUnavailable:
                    self.unavailable.add(store)
                    logger.warning("storage_unavailable store=%r: the remaining requests to it are skipped", store)
        return store in self.unavailable
