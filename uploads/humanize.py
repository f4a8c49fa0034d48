"""Sizes, durations and times for people."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils.formats import number_format

UNITS = ("B", "kB", "MB", "GB", "TB")


def humanize_bytes(size: float) -> str:
    """Return a size such as "12.4 MB", in powers of ten. No decimals below one megabyte or from 100 on."""
    amount, unit = float(size), 0
    while unit < len(UNITS) - 1 and round(amount) >= 1000:
        amount /= 1000
        unit += 1
    amount = round(amount, 0 if unit < 2 or amount >= 100 else 1)
    if amount < 1000 and amount == int(amount):  # most sizes need no localization
        return f"{int(amount)} {UNITS[unit]}"
    return f"{number_format(amount, decimal_pos=0 if amount == int(amount) else 1, force_grouping=True)} {UNITS[unit]}"


def humanize_duration(seconds: float) -> str:
    """Return a duration such as "3 hours"."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def humanize_time(time: datetime) -> str:
    """Return a time such as "2026-11-03 14:02:11 UTC", for operators."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
