"""Being told to stop: by Ctrl-C, by a signal, or by the end of the process that started us."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PAUSE_SECONDS = 0.05


class Stopped(Exception):
    """Somebody wants us to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class Signals:
    """Handlers only take note; the loops ask.

    So nothing is interrupted between a start and its pid file.
    """

    def __init__(self, *, with_parent: bool) -> None:
        self._noted: list[int] = []
        self._parent = os.getppid() if with_parent else None
        for number in STOPPING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._note)

    def take(self) -> int | None:
        """The oldest signal that was not taken yet. The parent's end counts as SIGTERM."""
        if self._parent and os.getppid() != self._parent:
            self._parent = None
            return signal.SIGTERM
        return self._noted.pop(0) if self._noted else None

    def pause(self) -> None:
        """Wait a moment. Raises Stopped."""
        number = self.take()
        if number:
            raise Stopped(number)
        time.sleep(PAUSE_SECONDS)

    def ignore(self) -> None:
        """From here on a second Ctrl-C does not interrupt the orderly end."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
