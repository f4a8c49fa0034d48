"""Coordinates of the charts, which the templates draw as SVG.

Numbers are integers or text: localized pages would write 12,5 where SVG requires 12.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 300  # of the plot's coordinates; the page stretches it
ROW_HEIGHT = 40  # pixels of one bar with its labels


@dataclass(frozen=True, slots=True)
class Share:
    """The number of files and bytes with one label."""

    label: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Period:
    """The files and bytes added in a period, and the totals at its end."""

    label: str
    files: int
    bytes: int
    total_files: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `width` is an SVG length, the others are the top edges of labels and bar in pixels."""

    share: Share
    width: str
    label_y: int
    bar_y: int


@dataclass(frozen=True, slots=True)
class Bars:
    rows: list[Bar]
    height: int


@dataclass(frozen=True, slots=True)
class Area:
    """The SVG paths of a running total (`line`) and of the area below it; the full height is `max_bytes`."""

    line: str
    surface: str
    max_bytes: int


def bars(shares: Sequence[Share]) -> Bars:
    """Return bars of which the longest fills the width and the smallest is still visible."""
    longest = max((share.bytes for share in shares), default=0) or 1
    rows = [
        Bar(share, f"{max(100 * share.bytes / longest, 0.4):.2f}%", number * ROW_HEIGHT + 16, number * ROW_HEIGHT + 22)
        for number, share in enumerate(shares)
    ]
    return Bars(rows, len(rows) * ROW_HEIGHT)


def area(periods: Sequence[Period]) -> Area | None:
    """Return the area chart of the periods' totals, or None without periods. A single period is a level line."""
    if not periods:
        return None
    points = list(periods) if len(periods) > 1 else [periods[0], periods[0]]
    max_bytes = max(period.total_bytes for period in points) or 1
    last = len(points) - 1
    positions = [
        f"{round(WIDTH * number / last)},{round(HEIGHT - HEIGHT * period.total_bytes / max_bytes)}"
        for number, period in enumerate(points)
    ]
    line = "M" + " L".join(positions)
    return Area(line, f"{line} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z", max_bytes)
