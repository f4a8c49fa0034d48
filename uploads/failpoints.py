"""Places where a test may end the process as a power cut would. In production none is ever reached."""

from __future__ import annotations

import os

from django.conf import settings

KILLED = 137  # as a shell tells of SIGKILL


def failpoint(point: str) -> None:
    """End here and now, if FAULT_POINT names this place: nothing is flushed, closed or rolled back by us."""
    if point == settings.FAULT_POINT:
        os._exit(KILLED)
