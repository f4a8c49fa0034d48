"""A limit on guesses of link tokens, per client address and web process.

No one can guess 192 random bits. The limit keeps attempts from costing others time, so it costs nothing itself: it is
in the memory of each process, and neither reads nor writes the database.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict

from uploads.errors import TooManyAttempts

MAX_NETWORKS = 10_000
REFILL_SECONDS = 6


class GuessLimit:
    """`capacity` misses at once for each network, then one per `refill_seconds`. Links that exist are not counted."""

    def __init__(self, capacity: int, refill_seconds: float) -> None:
        self._capacity = capacity
        self._refill_seconds = refill_seconds
        self._full_at: OrderedDict[str, float] = OrderedDict()  # by network: when all its misses are forgotten
        self._lock = threading.Lock()

    def require(self, network: str) -> None:
        """Raise TooManyAttempts if this network has no miss left."""
        full_at = self._full_at.get(network)
        if full_at is None:
            return
        wait = full_at - time.monotonic() - (self._capacity - 1) * self._refill_seconds
        if wait > 0:
            raise TooManyAttempts(math.ceil(wait))

    def count(self, network: str) -> None:
        """Count a miss."""
        now = time.monotonic()
        with self._lock:
            full_at = max(self._full_at.pop(network, now), now)
            self._full_at[network] = full_at + self._refill_seconds
            while len(self._full_at) > MAX_NETWORKS:
                self._full_at.popitem(last=False)

    def reset(self) -> None:
        """Forget all misses."""
        self._full_at.clear()


LINK_GUESSES = GuessLimit(capacity=20, refill_seconds=REFILL_SECONDS)
