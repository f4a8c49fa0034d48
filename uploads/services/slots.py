"""A share for each person of what keeps a thread of the web server for long: zips.

The slots of a person are keys of the shared cache, which all processes see. A slot expires by itself, so that what a
killed process held comes free; who holds one renews it meanwhile. While the cache is unavailable nobody is refused: the
limits of each process and of the proxy still hold.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import Literal, Self

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import DatabaseError
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from uploads.errors import Problem

logger = logging.getLogger(__name__)

Kind = Literal["zip"]

MAX_PER_PERSON = 2
EXPIRY_SECONDS = 120
RENEW_SECONDS = 20
CACHE_ERRORS = (DatabaseError, RedisError, OSError)


class TooManyAtOnce(Problem):
    code = "throttled"
    retry_after = 30

    def __init__(self, kind: Kind) -> None:
        texts = {"zip": _("You have %(most)s zip downloads running. Wait for one to end, then try again.")}
        super().__init__(texts[kind] % {"most": MAX_PER_PERSON})


class Slot:
    """One of the `MAX_PER_PERSON` slots of a person for one kind of request. Release it in any case; safe to repeat."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._renewed_at = time.monotonic()

    @classmethod
    def acquire(cls, kind: Kind, user: User) -> Self:
        """Raises TooManyAtOnce when the person has as many requests of this kind running as may be."""
        try:
            keys = [f"slot:{kind}:{user.pk}:{number}" for number in range(MAX_PER_PERSON)]
            for key in keys:
                if cache.add(key, secrets.token_hex(4), EXPIRY_SECONDS):
                    return cls(key)
            if len(cache.get_many(keys)) < len(keys):  # a database that takes no writes adds nothing, and says no more
                return cls("")
        except CACHE_ERRORS as error:
            logger.warning("slot_cache_unavailable error=%s", type(error).__name__)
            return cls("")
        raise TooManyAtOnce(kind)

    def renew(self) -> None:
        """Keep the slot. Cheap to call often: it asks the cache every `RENEW_SECONDS` at most."""
        if not self._key or time.monotonic() - self._renewed_at < RENEW_SECONDS:
            return
        self._renewed_at = time.monotonic()
        try:
            cache.touch(self._key, EXPIRY_SECONDS)
        except CACHE_ERRORS as error:
            logger.warning("slot_cache_unavailable error=%s", type(error).__name__)

    def release(self) -> None:
        key, self._key = self._key, ""
        if not key:
            return
        try:
            cache.delete(key)
        except CACHE_ERRORS as error:
            logger.warning("slot_cache_unavailable error=%s", type(error).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


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
