"""What commands share: arguments, progress and a graceful end."""

from __future__ import annotations

import argparse
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.management.base import CommandError
from django.db import DatabaseError

from uploads.management.base import EscapedOutput

RATE = re.compile(r"(\d{1,9})([kMG]?)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def bytes_per_second(text: str) -> int:
    """The type of a `--rate`. Raises ArgumentTypeError."""
    found = RATE.fullmatch(text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes a second, such as 500k, 50M or 1G")
    return int(found[1]) * UNITS[found[2]]


@contextmanager
def database_error_message(then: str) -> Iterator[None]:
    """A database that does not answer is one sentence, with what to do `then`, and exit status 1."""
    try:
        yield
    except DatabaseError as fault:
        raise CommandError(f"The database is away ({type(fault).__name__}). {then}", returncode=1) from None


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
def until_stopped() -> Iterator[None]:
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


SLICE_SECONDS = 0.2


class Stop:
    """Whether somebody asked the command to stop. May be read from any thread."""

    def __init__(self) -> None:
        self.asked = False

    def pause(self, seconds: float) -> None:
        """Wait so long, or until somebody asks to stop."""
        end = time.monotonic() + seconds
        while not self.asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(SLICE_SECONDS, left))


@contextmanager
def graceful_shutdown() -> Iterator[Stop]:
    """Ctrl-C and TERM ask the command to end after the step at hand; the second time they end it at once, with one
    plain sentence and exit status 1."""
    stop = Stop()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt:
        raise stopped() from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped() -> CommandError:
    return CommandError("Stopped. What is done stays done; run it again to go on.", returncode=1)
