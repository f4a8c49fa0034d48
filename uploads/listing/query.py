"""The query of a list: its filters, sort order and view, and the query string that encodes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from uploads.models import FileContent, Tag
from uploads.models.querysets import FileQuerySet

SHOW_FILTERS = {"favorites": _("Favorites"), "recent": _("Recent files"), "duplicates": _("Duplicates")}
SORTS = ("-added", "added", "name", "-name", "size", "-size")

MB = 1000**2
# minimum (inclusive) and maximum (exclusive), in bytes
SIZE_FILTERS: dict[str, tuple[Any, int, int | None]] = {
    "under-1mb": (_("Under 1 MB"), 0, MB),
    "1-10mb": (_("1 to 10 MB"), MB, 10 * MB),
    "10-100mb": (_("10 to 100 MB"), 10 * MB, 100 * MB),
    "over-100mb": (_("Over 100 MB"), 100 * MB, None),
    "over-1gb": (_("Over 1 GB"), 1000 * MB, None),
}
# maximum and minimum age
AGE_FILTERS: dict[str, tuple[Any, timedelta | None, timedelta | None]] = {
    "today": (_("Today"), timedelta(0), None),  # since midnight in the user's time zone
    "7d": (_("Last 7 days"), timedelta(days=7), None),
    "30d": (_("Last 30 days"), timedelta(days=30), None),
    "1y": (_("Last 12 months"), timedelta(days=365), None),
    "older": (_("Older"), None, timedelta(days=365)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Filters, sort order and view. `subfolders` includes them; None is the default of `recursive`.

    `show` is a key of SHOW_FILTERS: the favorites or recent files of the person who lists, or the files whose content
    that person can see in another file too.
    """

    q: str = ""
    show: str = ""
    category: str = ""
    owner: User | None = None
    tag: Tag | None = None
    size: str = ""
    added: str = ""
    subfolders: bool | None = None
    sort: str = SORTS[0]
    grid: bool = False

    @property
    def has_filters(self) -> bool:
        """Whether any filter is set."""
        return bool(self.show) or self.narrows

    @property
    def narrows(self) -> bool:
        """Whether any filter is set but `show`."""
        return bool(self.q or self.category or self.owner or self.tag or self.size or self.added)

    @property
    def by_last_use(self) -> bool:
        """Whether the files are in the order in which the person used them, which is the default of recent files."""
        return self.show == "recent" and self.sort == SORTS[0]

    @property
    def recursive(self) -> bool:
        """Whether the list includes subfolders. By default it does if any filter is set."""
        return self.has_filters if self.subfolders is None else self.subfolders

    @property
    def column(self) -> str:
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        return self.sort.startswith("-")

    def filter(self, rows: FileQuerySet, *, size: str = "size") -> FileQuerySet:
        """Apply the filters to files. `show` needs the user: `selectors.files_for` and `trash_for` apply it. `size` is
        the column or alias with the size."""
        rows = rows.matching(self.q, or_contents=FileContent.objects.matching(self.q))
        if self.category:
            rows = rows.filter(category=self.category)
        if self.owner:
            rows = rows.owned_by(self.owner)
        if self.tag:
            rows = rows.filter(taggings__tag=self.tag)
        if self.size:
            _label, minimum, maximum = SIZE_FILTERS[self.size]
            rows = rows.filter(**{f"{size}__gte": minimum})
            rows = rows if maximum is None else rows.filter(**{f"{size}__lt": maximum})
        if self.added:
            _label, max_age, min_age = AGE_FILTERS[self.added]
            if max_age is not None:
                rows = rows.filter(available_at__gte=time_ago(max_age))
            if min_age is not None:
                rows = rows.filter(available_at__lt=time_ago(min_age))
        return rows

    def to_querystring(self, **changes: str) -> str:
        """Return the query string of this list, including `?`. A change to the empty string removes the parameter."""
        parameters = {
            "q": self.q,
            "show": self.show,
            "type": self.category,
            "owner": self.owner.get_username() if self.owner else "",
            "tag": self.tag.name if self.tag else "",
            "size": self.size,
            "added": self.added,
            "subfolders": "" if self.subfolders is None else str(int(self.subfolders)),
            "sort": self.sort if self.sort != SORTS[0] else "",
            "view": "grid" if self.grid else "",
        }
        text = urlencode({name: value for name, value in (parameters | changes).items() if value})
        return f"?{text}" if text else ""


def time_ago(age: timedelta) -> datetime:
    """Return the time that was `age` ago; for a zero age, the last midnight."""
    now = timezone.localtime()
    return now - age if age else now.replace(hour=0, minute=0, second=0, microsecond=0)
