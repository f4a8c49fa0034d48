"""Shared parts of commands: argument types, progress and graceful shutdown."""

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
    """Parse a `--rate` such as 500k, 50M or 1G. Raises ArgumentTypeError."""
    match = RATE.fullmatch(text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes a second, such as 500k, 50M or 1G")
    return int(match[1]) * UNITS[match[2]]


@contextmanager
def database_error_message(advice: str) -> Iterator[None]:
    """Turn a DatabaseError into a CommandError of one sentence and `advice`, with exit status 1."""
    try:
        yield
    except DatabaseError as error:
        raise CommandError(f"The database is away ({type(error).__name__}). {advice}", returncode=1) from None


SECONDS_ON_A_TERMINAL = 0.2
SECONDS_IN_A_PIPE = 10.0


class Progress:
    """Show the progress of a long command on stderr, as stdout is for results. A context manager.

    On a terminal, one line is overwritten; in a pipe, a line is added every ten seconds; `quiet` shows nothing.
    `total` is the expected number of steps and `total_bytes` that of bytes; with either, the remaining time is shown.
    Not thread-safe.
    """

    def __init__(
        self,
        stream: EscapedOutput,
        label: str,
        *,
        total: int | None = None,
        total_bytes: int | None = None,
        quiet: bool = False,
    ) -> None:
        self.done = 0
        self.bytes = 0
        self._stream = stream
        self._label = label
        self._total = total
        self._total_bytes = total_bytes
        self._quiet = quiet
        self._is_terminal = stream.isatty()
        self._started_at = time.monotonic()
        self._shown_at = self._started_at if not self._is_terminal else 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_terminal and not self._quiet and self._shown_at:
            self._stream.write_raw("\r\x1b[K")

    def step(self, steps: int = 1, *, bytes: int = 0) -> None:
        """Count completed steps and their bytes, and update the display if it is due."""
        self.done += steps
        self.bytes += bytes
        if self._quiet:
            return
        now = time.monotonic()
        if now - self._shown_at >= (SECONDS_ON_A_TERMINAL if self._is_terminal else SECONDS_IN_A_PIPE):
            self._shown_at = now
            line = self._line(now - self._started_at)
            self._stream.write_raw(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
            self._stream.flush()

    def _line(self, seconds: float) -> str:
        line = f"{self._label}: {self.done:,}"
        if self._total is not None:
            line += f" of {self._total:,}"
        if self.bytes:
            line += f", {_bytes_text(self.bytes)}, {_bytes_text(self.bytes / seconds)}/s"
        remaining = self._seconds_left(seconds)
        return line if remaining is None else f"{line}, {_clock(remaining)} left"

    def _seconds_left(self, seconds: float) -> float | None:
        if self._total_bytes and self.bytes:
            return seconds * max(0, self._total_bytes - self.bytes) / self.bytes
        if self._total and self.done:
            return seconds * max(0, self._total - self.done) / self.done
        return None


@contextmanager
def until_stopped() -> Iterator[None]:
    """End the command on Ctrl-C and SIGTERM with one sentence and exit status 1. What is done stays done."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("Stopped. What is done stays done; run it again to go on.", returncode=1) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _bytes_text(count: float) -> str:
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
    """A request to stop the command. It can be read from any thread."""

    def __init__(self) -> None:
        self.requested = False

    def pause(self, seconds: float) -> None:
        """Sleep for `seconds`, or until a stop is requested."""
        end = time.monotonic() + seconds
        while not self.requested and (remaining := end - time.monotonic()) > 0:
            time.sleep(min(SLICE_SECONDS, remaining))


@contextmanager
def graceful_shutdown() -> Iterator[Stop]:
    """Request a stop after the current step on Ctrl-C and SIGTERM.

    The second signal ends the command at once, with one sentence and exit status 1.
    """
    stop = Stop()

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt:
        raise stopped() from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stopped() -> CommandError:
    return CommandError("Stopped. What is done stays done; run it again to go on.", returncode=1)
