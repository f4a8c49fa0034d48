"""Telling a store that is away from one that fails at a single object."""

from __future__ import annotations

import logging
import threading
import time

from uploads import s3
from uploads.errors import StorageUnavailable

logger = logging.getLogger(__name__)

RECENT_ANSWER_SECONDS = 10.0


class CircuitBreaker:
    """What many calls, in many threads, know together of the stores: one that is away is asked no more."""

    def __init__(self) -> None:
        self.away: set[str] = set()
        self._answered: dict[str, float] = {}
        self._lock = threading.Lock()

    def require(self, store: str) -> None:
        """Raise StorageUnavailable for a store that is known to be away, without asking it."""
        if store in self.away:
            raise StorageUnavailable("not tried: the store is away")

    def doubt(self, store: str) -> bool:
        """A call failed: ask the store for something simple, and say whether it is away. Takes ten seconds at most."""
        with self._lock:
            if store not in self.away and time.monotonic() - self._answered.get(store, -1e9) > RECENT_ANSWER_SECONDS:
                try:
                    s3.ping(store)
                    self._answered[store] = time.monotonic()
                except StorageUnavailable:
                    self.away.add(store)
                    logger.warning("store_away store=%r: what needs it waits", store)
        return store in self.away
