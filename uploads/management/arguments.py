"""What several commands take or tell in the same words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError
from django.db import DatabaseError

RATE = re.compile(r"(\d{1,9})([kMG]?)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def bytes_a_second(text: str) -> int:
    """The type of a `--rate`. Raises ArgumentTypeError."""
    found = RATE.fullmatch(text)
    if not found or not int(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes a second, such as 500k, 50M or 1G")
    return int(found[1]) * UNITS[found[2]]


@contextmanager
def database_away_told(then: str) -> Iterator[None]:
    """A database that does not answer is one sentence, with what to do `then`, and exit status 1."""
    try:
        yield
    except DatabaseError as fault:
        raise CommandError(f"The database is away ({type(fault).__name__}). {then}", returncode=1) from None
