"""Failpoints: places where a test can end the process like a power cut. In production none is active."""

from __future__ import annotations

import os

from django.conf import settings

KILLED = 137  # the exit status that a shell reports for SIGKILL


def failpoint(name: str) -> None:
    """End the process at once if FAILPOINT names this point, without flushing, closing or rolling back."""
    if name == settings.FAILPOINT:
        os._exit(KILLED)
