"""Where the shapes of a plot stand. Drawn by the templates as SVG; every number here is text or whole, for a page in
Spanish would write 12,5 where SVG takes 12.5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 1000, 300  # of the coordinates inside the area; the page stretches them
ROW = 40  # pixels that one bar takes with its words


@dataclass(frozen=True, slots=True)
class Share:
    """Files and bytes under one name."""

    label: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Period:
    """What came in a stretch of time, and what there was at its end."""

    label: str
    files: int
    bytes: int
    kept_files: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `width` as an SVG length, the upper edges of words and bar in pixels."""

    share: Share
    width: str
    words_y: int
    bar_y: int


@dataclass(frozen=True, slots=True)
class Bars:
    rows: list[Bar]
    height: int


@dataclass(frozen=True, slots=True)
class Area:
    """The outline of a growing sum (`line`) and the surface below it; `most` bytes are its full height."""

    line: str
    surface: str
    most: int


def bars(shares: Sequence[Share]) -> Bars:
    """The longest bar is as wide as the plot; whatever is there at all can be seen."""
    most = max((share.bytes for share in shares), default=0) or 1
    rows = [
        Bar(share, f"{max(100 * share.bytes / most, 0.4):.2f}%", number * ROW + 16, number * ROW + 22)
        for number, share in enumerate(shares)
    ]
    return Bars(rows, len(rows) * ROW)


def area(periods: Sequence[Period]) -> Area | None:
    """None without anything to draw. A single period is a level line."""
    if not periods:
        return None
    points = list(periods) if len(periods) > 1 else [periods[0], periods[0]]
    most = max(period.kept_bytes for period in points) or 1
    last = len(points) - 1
    places = [
        f"{round(WIDTH * number / last)},{round(HEIGHT - HEIGHT * period.kept_bytes / most)}"
        for number, period in enumerate(points)
    ]
    line = "M" + " L".join(places)
    return Area(line, f"{line} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z", most)
