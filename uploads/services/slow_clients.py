"""Limits that keep one person's slow requests from occupying the threads of a web process: slots and minimum rates.

Zips and forms each occupy a thread for as long as the client takes, and a process has eight threads. So slots are
counted in each process: they end with it, and need neither the cache nor the database.
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
from uploads.models import FileRequest

MAX_PER_PERSON = 2


class TooManyAtOnce(Problem):
    code = "throttled"
    status_code = 429
    retry_after = 30


class TooSlow(Problem):
    """The client sends or reads so slowly that it would occupy a thread for hours."""

    code = "timeout"
    status_code = 408


class Slots:
    """At most `MAX_PER_PERSON` requests of one kind at once for each person or file request, in this process."""

    def __init__(self, refusal: Promise) -> None:
        self._refusal = refusal  # a message with the limit as %(most)s
        self._in_use: Counter[int | None] = Counter()
        self._lock = threading.Lock()

    def acquire(self, holder: User | FileRequest | None) -> Slot:
        """Return a slot, to be released in any case. None stands for all guests together.

        Raises TooManyAtOnce when all slots of the holder are in use.
        """
        holder_id = holder.pk if holder else None
        with self._lock:
            if self._in_use[holder_id] >= MAX_PER_PERSON:
                raise TooManyAtOnce(str(self._refusal) % {"most": MAX_PER_PERSON})
            self._in_use[holder_id] += 1
        return Slot(self, holder_id)

    def free(self, user_id: int | None) -> None:
        """Give back one slot of the person."""
        with self._lock:
            self._in_use[user_id] -= 1
            if not self._in_use[user_id]:
                del self._in_use[user_id]


class Slot:
    """One of a person's `Slots`."""

    def __init__(self, slots: Slots, user_id: int | None) -> None:
        self._slots: Slots | None = slots
        self._user_id = user_id

    def release(self) -> None:
        """Give the slot back. Safe to repeat."""
        slots, self._slots = self._slots, None
        if slots:
            slots.free(self._user_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_fault: object) -> None:
        self.release()


ZIPS = Slots(_("You already have %(most)s ZIP downloads running. Wait for one to finish, then try again."))
GUEST_ZIPS = Slots(_("Too many ZIP downloads are running. Try again in 30 seconds."))
FORMS = Slots(_("You already have %(most)s form uploads running. Wait for one to finish, then try again."))
GUEST_FORMS = Slots(_("This link already has %(most)s uploads in progress. Try again when one has finished."))


class LowestRate:
    """Check that a client sends or reads at least `MIN_BYTES_PER_SECOND` over `WINDOW_SECONDS`.

    Only the time of the client counts, not that of the storage.
    """

    MIN_BYTES_PER_SECOND = 4096
    WINDOW_SECONDS = 60

    def __init__(self) -> None:
        self._bytes = 0
        self._seconds = 0.0

    def is_fast_enough(self, *, size: int, seconds: float) -> bool:
        """Add `size` bytes in `seconds`, and return whether the client is fast enough."""
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self.WINDOW_SECONDS:
            return True
        is_fast_enough = self._bytes >= self.MIN_BYTES_PER_SECOND * self._seconds
        self._bytes, self._seconds = 0, 0.0
        return is_fast_enough


class SenderWatch:
    """End requests whose body arrives below the minimum rate.

    Reading a body blocks until a whole chunk has arrived, so a separate thread checks the rate. It shuts the connection
    down for reading; the response can still be sent. Use it as a context manager around the reading, and put each read
    between `begin` and `end`.
    """

    CHECK_SECONDS = 5.0

    def __init__(self, connection: socket.socket | None) -> None:
        self._connection = connection
        self._rate = LowestRate()
        self._lock = threading.Lock()
        self._waiting_since: float | None = None
        self._bytes, self._seconds = 0, 0.0  # since the last check
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
            self._waiting_since = time.monotonic()

    def end(self, size: int) -> None:
        """Count `size` bytes that have arrived. Raises TooSlow when the client was cut off."""
        with self._lock:
            self._count_wait()
            self._waiting_since = None
            self._bytes += size
        if self.is_too_slow:
            raise TooSlow(str(_("The upload was too slow and was stopped. Try again on a faster connection.")))

    def _count_wait(self) -> None:
        if self._waiting_since is not None:
            now = time.monotonic()
            self._seconds += now - self._waiting_since
            self._waiting_since = now

    def _watch(self) -> None:
        while not self._is_over.wait(self.CHECK_SECONDS):
            with self._lock:
                self._count_wait()
                is_fast_enough = self._rate.is_fast_enough(size=self._bytes, seconds=self._seconds)
                self._bytes, self._seconds = 0, 0.0
            if not is_fast_enough:
                self.is_too_slow = True
                with contextlib.suppress(OSError):  # the client has gone
                    if self._connection:
                        self._connection.shutdown(socket.SHUT_RD)
                return
