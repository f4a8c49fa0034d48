"""Measures how long patterns take for hostile texts, and how that grows: `re` holds up the whole process meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

# Growing, so that a bad pattern is known before it takes hours: an exponential one by the first lengths.
LENGTHS = (20, 26, 250, 1_000, 2_000, 8_000, 32_000)
# For the longest text. A linear pattern takes 10 ms on a slow machine, a quadratic one seconds, a cubic one hours.
MAX_SECONDS = 0.1
# From 8,000 to 32,000 characters: 4 where the pattern is linear, 16 where it is quadratic.
MAX_GROWTH = 9
NOISE_SECONDS = 0.01
GLUE = ("", "=", ":", "://", "?", "'", " ", "\n", "@", "-", ".", "/", "<")
END = "\x00"  # nothing that a pattern waits for


def hostile(literals: Iterable[str]) -> list[str]:
    """What a text is made of that makes a bad pattern slow: each literal, alone and with each kind of GLUE."""
    return sorted({literal + glue for literal in literals for glue in GLUE} - {""})


def slow_units(search: Callable[[str], object], units: Iterable[str]) -> list[str]:
    """The units whose repetition keeps `search` for too long, each with the time that it took."""
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
    """Of this thread's processor time; the less of two where the first was suspicious."""
    took = _once(search, text)
    return min(took, _once(search, text)) if NOISE_SECONDS < took < 1 else took


def _once(search: Callable[[str], object], text: str) -> float:
    begun = time.thread_time()
    search(text)
    return time.thread_time() - begun
