"""How commands stop on Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.core.management.base import CommandError

STOPPED_ADVICE = "Results so far are saved. Run this command again to continue."


@contextmanager
def until_stopped(advice: str = STOPPED_ADVICE) -> Iterator[None]:
    """End the command on Ctrl-C and SIGTERM with one line and exit status 1."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(f"Stopped. {advice}", returncode=1) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


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
    return CommandError(f"Stopped. {STOPPED_ADVICE}", returncode=1)
