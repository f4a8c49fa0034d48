"""Progress of long commands on stderr."""

from __future__ import annotations

import time

from uploads.humanize import humanize_bytes, humanize_duration
from uploads.management.output import EscapedOutput

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
            line += f", {humanize_bytes(self.bytes)}, {humanize_bytes(self.bytes / seconds)}/s"
        remaining = self._seconds_left(seconds)
        return line if remaining is None else f"{line}, {humanize_duration(remaining)} left"

    def _seconds_left(self, seconds: float) -> float | None:
        if self._total_bytes and self.bytes:
            return seconds * max(0, self._total_bytes - self.bytes) / self.bytes
        if self._total and self.done:
            return seconds * max(0, self._total - self.done) / self.done
        return None
