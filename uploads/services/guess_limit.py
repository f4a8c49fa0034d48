"""A limit on guesses of link tokens, per client address and in total, in each web process.

No one can guess 144 random bits. The limit keeps attempts from costing others time, so it costs nothing itself: it is
in the memory of each process, and neither reads nor writes the database. GuessLimitApplication asks it before Django.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict

from uploads.models.links import is_signed, token_digest

MAX_NETWORKS = 10_000
MAX_LINKS = 10_000
REFILL_SECONDS = 6
TOTAL_REFILL_SECONDS = 0.2


class GuessLimit:
    """`capacity` misses at once for each network, then one per `refill_seconds`; likewise `total_capacity` for all.

    Links that exist are not counted, and those that were opened recently always open. Networks that have opened one,
    and tokens with a signature, which no one can guess either, are exempt from the total. So guesses, also from the
    same network, do not stop those who have a link.
    """

    def __init__(
        self, capacity: int, refill_seconds: float, *, total_capacity: int, total_refill_seconds: float
    ) -> None:
        self._capacity = capacity
        self._refill_seconds = refill_seconds
        self._total_capacity = total_capacity
        self._total_refill_seconds = total_refill_seconds
        self._full_at: OrderedDict[str, float] = OrderedDict()  # by network: when all its misses are forgotten
        self._all_full_at = 0.0
        self._visitors: OrderedDict[str, None] = OrderedDict()  # networks that have opened a link
        self._opened: OrderedDict[bytes, None] = OrderedDict()  # digests of the tokens of these links
        self._lock = threading.Lock()

    def seconds_to_wait(self, network: str, token: str) -> int:
        """Return in how many seconds this network may try this token.

        0 unless the network, or all together, have no miss left, and the token is not one that was opened recently.
        """
        now = time.monotonic()
        wait = self._full_at.get(network, now) - now - (self._capacity - 1) * self._refill_seconds
        if wait <= 0 and network not in self._visitors and not is_signed(token):
            wait = self._all_full_at - now - (self._total_capacity - 1) * self._total_refill_seconds
        return math.ceil(wait) if wait > 0 and token_digest(token) not in self._opened else 0

    def count_miss(self, network: str, token: str) -> None:
        now = time.monotonic()
        with self._lock:
            full_at = max(self._full_at.pop(network, now), now)
            self._full_at[network] = full_at + self._refill_seconds
            self._all_full_at = max(self._all_full_at, now) + self._total_refill_seconds
            while len(self._full_at) > MAX_NETWORKS:
                self._full_at.popitem(last=False)
            self._opened.pop(token_digest(token), None)  # deleted since then

    def count_visit(self, network: str, token: str) -> None:
        """Remember that this network has opened this link, which exists."""
        digest = token_digest(token)
        if network in self._visitors and digest in self._opened:
            return
        with self._lock:
            self._visitors[network] = self._opened[digest] = None
            while len(self._visitors) > MAX_NETWORKS:
                self._visitors.popitem(last=False)
            while len(self._opened) > MAX_LINKS:
                self._opened.popitem(last=False)

    def reset(self) -> None:
        """Forget all misses and visits."""
        self._full_at.clear()
        self._visitors.clear()
        self._opened.clear()
        self._all_full_at = 0.0


LINK_GUESSES = GuessLimit(
    capacity=20, refill_seconds=REFILL_SECONDS, total_capacity=30, total_refill_seconds=TOTAL_REFILL_SECONDS
)
