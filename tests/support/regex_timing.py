"""Measure how the time of patterns grows for hostile text, because a slow `re` search blocks the whole process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

# In growing order, to detect an exponential pattern with short text, before it takes hours.
LENGTHS = (20, 26, 250, 1_000, 2_000, 8_000, 32_000)
# For the longest text: a linear pattern takes 10 ms on a slow machine, a quadratic one seconds, a cubic one hours.
MAX_SECONDS = 0.1
# From 8,000 to 32,000 characters: 4 for a linear pattern, 16 for a quadratic one.
MAX_GROWTH = 9
NOISE_SECONDS = 0.01
GLUE = ("", "=", ":", "://", "?", "'", " ", "\n", "@", "-", ".", "/", "<")
END = "\x00"  # no pattern matches it


def hostile(literals: Iterable[str]) -> list[str]:
    """Return units whose repetition makes a bad pattern slow: each literal, alone and with each item of GLUE."""
    return sorted({literal + glue for literal in literals for glue in GLUE} - {""})


def slow_units(search: Callable[[str], object], units: Iterable[str]) -> list[str]:
    """Return the units whose repetition makes `search` too slow, each with its time."""
    return [f"{unit!r}: {problem}" for unit in units if (problem := _problem(search, unit))]


def _problem(search: Callable[[str], object], unit: str) -> str:
    before = took = 0.0
    for length in LENGTHS:
        before, took = took, _seconds(search, (unit * (length // len(unit) + 1))[:length] + END)
        if took > MAX_SECONDS:
            return f"{took:.3f} s for {length} characters"
    return f"{took / before:.0f} times as long for 4 times the text" if _grows(before, took) else ""


def _grows(before: float, took: float) -> bool:
    return took > MAX_GROWTH * max(before, NOISE_SECONDS)


def _seconds(search: Callable[[str], object], text: str) -> float:
    """Return the CPU time of this thread, measured again if suspicious."""
    took = _once(search, text)
    return min(took, _once(search, text)) if NOISE_SECONDS < took < 1 else took


def _once(search: Callable[[str], object], text: str) -> float:
    begun = time.thread_time()
    search(text)
    return time.thread_time() - begun
