"""What keeps one person's slow requests from taking the threads of a web process: caps, and lowest rates.

Zips and forms each keep a thread for as long as the client takes. A process has eight of them, so the caps are counted
in each process: they end with it, and ask neither the cache nor the database.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from typing import Self

from django.contrib.auth.models import User
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from uploads.errors import Problem

MAX_PER_PERSON = 2


class TooManyAtOnce(Problem):
    code = "throttled"
    status_code = 429
    retry_after = 30


class TooSlow(Problem):
    """The client sends or reads so slowly that it would keep others waiting for hours."""

    code = "timeout"
    status_code = 408


class Slots:
    """At most `MAX_PER_PERSON` requests of one kind at once for each person, in this process."""

    def __init__(self, refusal: Promise) -> None:
        self._refusal = refusal  # says how many as %(most)s
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()

    def acquire(self, user: User) -> Slot:
        """Raise TooManyAtOnce when the person has all their slots taken. Release the slot in any case."""
        with self._lock:
            if self._taken[user.pk] >= MAX_PER_PERSON:
                raise TooManyAtOnce(str(self._refusal) % {"most": MAX_PER_PERSON})
            self._taken[user.pk] += 1
        return Slot(self, user.pk)

    def free(self, user_id: int) -> None:
        with self._lock:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]


class Slot:
    """One of a person's `Slots`."""

    def __init__(self, slots: Slots, user_id: int) -> None:
        self._slots: Slots | None = slots
        self._user_id = user_id

    def release(self) -> None:
        """Safe to repeat."""
        slots, self._slots = self._slots, None
        if slots:
            slots.free(self._user_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_fault: object) -> None:
        self.release()


ZIPS = Slots(_("You have %(most)s zip downloads running. Wait for one to end, then try again."))
FORMS = Slots(_("You have %(most)s uploads by form running. Wait for one to end, then try again."))


class LowestRate:
    """Whether a client takes or sends at least `MIN_BYTES_PER_SECOND` over `WINDOW_SECONDS`.

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


class SenderWatch:
    """Ends what a client sends below the lowest rate.

    Reading a body blocks until a whole chunk has come, so a thread of its own looks after the rate. It shuts the
    connection down for reading; the answer can still be sent. Use it as a context manager around the reading, and put
    each read between `begin` and `end`.
    """

    CHECK_SECONDS = 5.0

    def __init__(self, connection: socket.socket | None) -> None:
        self._connection = connection
        self._rate = LowestRate()
        self._lock = threading.Lock()
        self._waits_since: float | None = None
        self._bytes, self._seconds = 0, 0.0  # since the last look
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sender-watch", daemon=True)
        self.is_too_slow = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_fault: object) -> None:
        self._is_over.set()
        self._thread.join()

    def begin(self) -> None:
        with self._lock:
            self._waits_since = time.monotonic()

    def end(self, size: int) -> None:
        """`size` bytes have come. Raise TooSlow when the client was cut off."""
        with self._lock:
            self._count_wait()
            self._waits_since = None
            self._bytes += size
        if self.is_too_slow:
            raise TooSlow(str(_("The upload was too slow and has ended. Try again on a faster line.")))

    def _count_wait(self) -> None:
        if self._waits_since is not None:
            now = time.monotonic()
            self._seconds += now - self._waits_since
            self._waits_since = now

    def _watch(self) -> None:
        while not self._is_over.wait(self.CHECK_SECONDS):
            with self._lock:
                self._count_wait()
                is_kept = self._rate.is_kept(size=self._bytes, seconds=self._seconds)
                self._bytes, self._seconds = 0, 0.0
            if not is_kept:
                self.is_too_slow = True
                with contextlib.suppress(OSError):  # the client has gone
                    if self._connection:
                        self._connection.shutdown(socket.SHUT_RD)
                return
