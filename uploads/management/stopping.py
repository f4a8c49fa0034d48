"""Ending a command between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.management.base import CommandError

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
def stopping_gently() -> Iterator[Stop]:
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
