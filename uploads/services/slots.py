"""A share for each person of zip downloads, which keep a thread of the web server for long.

The slots of a person are keys of the shared cache, which all processes see. A slot expires by itself, so that what a
killed process held comes free; its holder renews it until then. While the cache is unavailable every request is let
through: the limits of each process and of the proxy still hold.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import DatabaseError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from uploads.errors import Problem

logger = logging.getLogger(__name__)

MAX_PER_PERSON = 2
EXPIRY_SECONDS = 120
RENEW_SECONDS = 20


class TooManyAtOnce(Problem):
    code = "throttled"
    retry_after = 30

    def __init__(self) -> None:
        text = _("You have %(most)s zip downloads running. Wait for one to end, then try again.")
        super().__init__(text % {"most": MAX_PER_PERSON})


class Slot:
    """One of the `MAX_PER_PERSON` zip downloads of a person. `key` is empty while the cache is unavailable."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._renewed_at = time.monotonic()

    @classmethod
    def acquire(cls, user: User) -> Self:
        """Raise TooManyAtOnce when the person has all their slots taken. Release the slot in any case."""
        keys = [f"slot:zip:{user.pk}:{number}" for number in range(MAX_PER_PERSON)]
        are_taken = False
        with _tolerating_outages():
            for key in keys:
                if cache.add(key, True, EXPIRY_SECONDS):
                    return cls(key)
            # of a database that takes no writes, the cache adds nothing and raises nothing
            are_taken = len(cache.get_many(keys)) == len(keys)
        if are_taken:
            raise TooManyAtOnce
        return cls("")

    def renew(self) -> None:
        """Keep the slot. Cheap to call often: it asks the cache every `RENEW_SECONDS` at most."""
        if not self._key or time.monotonic() - self._renewed_at < RENEW_SECONDS:
            return
        self._renewed_at = time.monotonic()
        with _tolerating_outages():
            cache.touch(self._key, EXPIRY_SECONDS)

    def release(self) -> None:
        """Safe to repeat."""
        key, self._key = self._key, ""
        if key:
            with _tolerating_outages():
                cache.delete(key)


@contextmanager
def _tolerating_outages() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, RedisError, OSError) as error:
        logger.warning("slot_cache_unavailable error=%s", type(error).__name__)


class LowestRate:
    """Ends a transfer to a client that takes less than `MIN_BYTES_PER_SECOND` over `WINDOW_SECONDS`.

    Only the time that the client takes counts, not the one that the storage takes.
    """

    MIN_BYTES_PER_SECOND = 4096
    WINDOW_SECONDS = 60

    def __init__(self) -> None:
        self._bytes = 0
        self._seconds = 0.0

    def is_kept(self, *, size: int, seconds: float) -> bool:
        """Whether the client is fast enough, now that it took `size` bytes in `seconds`."""
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self.WINDOW_SECONDS:
            return True
        kept = self._bytes >= self.MIN_BYTES_PER_SECOND * self._seconds
        self._bytes, self._seconds = 0, 0.0
        return kept
