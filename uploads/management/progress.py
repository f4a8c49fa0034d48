"""How the commands tell what they do: how far they are, and that they were stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.management.base import CommandError

from uploads.management.base import EscapedOutput

SECONDS_ON_A_TERMINAL = 0.2
SECONDS_IN_A_PIPE = 10.0


class Progress:
    """How far a long command is: one line that is written over on a terminal, a plain line every ten seconds in a
    pipe, nothing when `quiet`. To be used with `with`; goes to stderr, so that stdout is for results.

    `total` is how many steps there will be, `total_bytes` how many bytes, where that is known: then it tells the
    time left. Not to be shared by threads.
    """

    def __init__(
        self,
        err: EscapedOutput,
        what: str,
        *,
        total: int | None = None,
        total_bytes: int | None = None,
        quiet: bool = False,
    ) -> None:
        self.done = 0
        self.bytes = 0
        self._err = err
        self._what = what
        self._total = total
        self._total_bytes = total_bytes
        self._quiet = quiet
        self._terminal = err.isatty()
        self._begun = time.monotonic()
        self._told = self._begun if not self._terminal else 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and not self._quiet and self._told:
            self._err.write_raw("\r\x1b[K")

    def step(self, steps: int = 1, *, bytes: int = 0) -> None:
        """So many more are done."""
        self.done += steps
        self.bytes += bytes
        if self._quiet:
            return
        now = time.monotonic()
        if now - self._told >= (SECONDS_ON_A_TERMINAL if self._terminal else SECONDS_IN_A_PIPE):
            self._told = now
            line = self._line(now - self._begun)
            self._err.write_raw(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
            self._err.flush()

    def _line(self, seconds: float) -> str:
        told = f"{self._what}: {self.done:,}"
        if self._total is not None:
            told += f" of {self._total:,}"
        if self.bytes:
            told += f", {_in_words(self.bytes)}, {_in_words(self.bytes / seconds)}/s"
        left = self._seconds_left(seconds)
        return told if left is None else f"{told}, {_clock(left)} left"

    def _seconds_left(self, seconds: float) -> float | None:
        if self._total_bytes and self.bytes:
            return seconds * max(0, self._total_bytes - self.bytes) / self.bytes
        if self._total and self.done:
            return seconds * max(0, self._total - self.done) / self.done
        return None


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and TERM end the command with one plain sentence and exit status 1: what is done stays done."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("Stopped. What is done stays done; run it again to go on.", returncode=1) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_words(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
