"""Arguments of commands: how they are parsed, and validated as the fields of a page are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.forms import Form

from uploads.forms import first_error
from uploads.management.base import CommandRefused

RATE = re.compile(r"(\d{1,9})([kMG]?)")
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
DURATION = re.compile(r"([0-9]{1,4})([hdw])", re.ASCII)
DAYS = {"h": 1 / 24, "d": 1, "w": 7}


def bytes_per_second(text: str) -> int:
    """Parse a `--rate` such as 500k, 50M or 1G. Raises ArgumentTypeError."""
    match = RATE.fullmatch(text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"must be a number of bytes per second, such as 500k, 50M or 1G, not “{text}”")
    return int(match[1]) * UNITS[match[2]]


def integer(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return the `type` of an argument that is an integer in this range."""

    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"must be an integer between {minimum:,} and {maximum:,}, not “{text}”")
        return int(text)

    return parse


def days(text: str) -> float:
    """Parse a duration such as 12h, 7d or 2w into days. Raises ArgumentTypeError."""
    match = DURATION.fullmatch(text)
    if not match or not int(match[1]):
        expected = "a number of hours, days or weeks, such as 12h, 7d or 2w"
        raise argparse.ArgumentTypeError(f"must be {expected}, not “{text}”")
    return int(match[1]) * DAYS[match[2]]


def find_user(username: str) -> User:
    """Return the user of this name. Raises CommandRefused."""
    # an argument that is not UTF-8 arrives with lone surrogates, and Postgres refuses NUL
    user = User.objects.filter(username=username).first() if username.isprintable() else None
    if user is None:
        raise CommandRefused(f"No user named “{username}”.")
    return user


def find_person(username: str | None, *, creator: User | None) -> User:
    """Return the person that `--by` names, by default the creator. Raises CommandRefused."""
    if username:
        return find_user(username)
    if creator is None:
        raise CommandRefused("The creator of the folder is unknown. Name a person with --by USERNAME.")
    return creator


def require_valid(form: Form) -> dict[str, Any]:
    """Return the clean data of the form. Raises CommandRefused with its first error."""
    if not form.is_valid():
        raise CommandRefused(first_error(form))
    return dict(form.cleaned_data)
