"""Wait for a condition, however slow the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.05


def wait_until(condition: Callable[[], object], *, seconds: float = WAIT_SECONDS) -> None:
    """Return when `condition` returns a true value. Fails after `seconds`; set it where a time is guaranteed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(POLL_SECONDS)
