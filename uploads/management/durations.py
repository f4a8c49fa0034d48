"""Durations in the arguments of commands."""

from __future__ import annotations

import argparse
import re

DURATION = re.compile(r"([0-9]{1,4})([hdw])", re.ASCII)
DAYS = {"h": 1 / 24, "d": 1, "w": 7}


def days(text: str) -> float:
    """Parse a duration such as 12h, 7d or 2w into days. Raises ArgumentTypeError."""
    match = DURATION.fullmatch(text)
    if not match or not int(match[1]):
        expected = "a number of hours, days or weeks, such as 12h, 7d or 2w"
        raise argparse.ArgumentTypeError(f"must be {expected}, not “{text}”")
    return int(match[1]) * DAYS[match[2]]
