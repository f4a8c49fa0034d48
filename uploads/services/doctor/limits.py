"""No check takes longer than it may, whatever it asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from uploads.services.doctor.told import Line, fail

CHECK_SECONDS = 12.0


def safely(subject: str, check: Callable[[], Iterable[Line]]) -> list[Line]:
    """A bug of ours in one check must not hide what the others find."""
    try:
        return list(check())
    except Exception as error:
        return [fail(subject, f"the check itself failed: {type(error).__name__}", "please report this")]


class Budget:
    """So many seconds for a row of checks."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def run(self, subject: str, check: Callable[[], Iterable[Line]]) -> list[Line]:
        """What the check says, or that it did not come to an end in time.

        It runs in a thread that may be left behind: not every library lets a call be broken off.
        """
        seconds = min(CHECK_SECONDS, self.left)
        if not seconds:
            return [fail(subject, "not looked at, there was no time left", "mend what is slow above, and ask again")]
        lines: list[Line] = []
        thread = threading.Thread(target=lambda: lines.extend(safely(subject, check)), daemon=True)
        thread.start()
        thread.join(seconds)
        if thread.is_alive():
            return [fail(subject, f"no answer within {seconds:.0f} seconds", "look at the network on the way there")]
        return lines
