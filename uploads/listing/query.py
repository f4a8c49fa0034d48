"""What a list's address asks for, and the address of what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.utils.translation import gettext_lazy as _

from uploads.models import Tag

SORTS = ("-added", "added", "name", "-name", "size", "-size")

MB = 1000**2
# from (included) and to (not included), in bytes
SIZE_FILTERS: dict[str, tuple[Any, int, int | None]] = {
    "under-1mb": (_("Under 1 MB"), 0, MB),
    "1-10mb": (_("1 to 10 MB"), MB, 10 * MB),
    "10-100mb": (_("10 to 100 MB"), 10 * MB, 100 * MB),
    "over-100mb": (_("Over 100 MB"), 100 * MB, None),
    "over-1gb": (_("Over 1 GB"), 1000 * MB, None),
}
# at most and at least this long ago
AGE_FILTERS: dict[str, tuple[Any, timedelta | None, timedelta | None]] = {
    "today": (_("Today"), timedelta(0), None),  # since midnight, where this person is
    "7d": (_("Last 7 days"), timedelta(days=7), None),
    "30d": (_("Last 30 days"), timedelta(days=30), None),
    "1y": (_("Last 12 months"), timedelta(days=365), None),
    "older": (_("Older than that"), None, timedelta(days=365)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A filter, an order and a look. `below` is None where the address leaves it to the list."""

    q: str = ""
    family: str = ""
    owner: User | None = None
    tag: Tag | None = None
    size: str = ""
    added: str = ""
    below: bool | None = None
    sort: str = SORTS[0]
    grid: bool = False

    @property
    def narrows(self) -> bool:
        """Whether anything but place and order is asked for."""
        return bool(self.q or self.family or self.owner or self.tag or self.size or self.added)

    @property
    def deep(self) -> bool:
        """Whether the list goes below the folder: who looks for something looks everywhere, unless told not to."""
        return self.narrows if self.below is None else self.below

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    def address(self, **changes: str) -> str:
        """The query string of this list, `?` included; a change to the empty text leaves a parameter out."""
        told = {
            "q": self.q,
            "type": self.family,
            "owner": self.owner.get_username() if self.owner else "",
            "tag": self.tag.name if self.tag else "",
            "size": self.size,
            "added": self.added,
            "below": "" if self.below is None else str(int(self.below)),
            "sort": self.sort if self.sort != SORTS[0] else "",
            "view": "grid" if self.grid else "",
        }
        text = urlencode({name: value for name, value in (told | changes).items() if value})
        return f"?{text}" if text else ""
