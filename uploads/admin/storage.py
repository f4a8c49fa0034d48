"""The storage dashboard: stored files by time, type, owner and folder, from the statistics alone, and its charts. The
admin's index begins with its totals and its growth.

Each number is one query of the statistics, never of the files. The templates draw the charts as SVG: their coordinates
are integers or text, because localized pages would write 12,5 where SVG requires 12.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Case, Sum, Value, When
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_safe

from uploads.admin.reports import latest_comparison
from uploads.models import Category, Folder, Statistic, StatisticKind, StatisticStatus, apply_deltas
from uploads.views.responses import request_user

MAX_DELTAS_APPLIED = 5  # batches; the sweep applies the rest
MAX_SHARES = 20
MAX_FOLDERS_READ = 1_000
MAX_POINTS = 60  # of a chart; more days are grouped to weeks, months or years
WIDTH, HEIGHT = 1000, 300  # of the plot's coordinates; the page stretches it
MIN_COLUMN_HEIGHT = 6  # one per cent is still visible

# The periods of the growth chart: their label, and how many days they go back.
RANGES: dict[str, tuple[Any, int | None]] = {
    "30": (gettext_lazy("30 days"), 30),
    "90": (gettext_lazy("90 days"), 90),
    "365": (gettext_lazy("1 year"), 365),
    "all": (gettext_lazy("All"), None),
}
DEFAULT_RANGE = "365"

# The query of the file list for each status.
STATE_QUERIES = {
    StatisticStatus.STORED: "",
    StatisticStatus.VERSION: "state=versions",
    StatisticStatus.TRASHED: "state=trash",
    StatisticStatus.UNFINISHED: "state=unfinished",
}

# Files by their topmost folder; 0 is the top level itself.
BY_FOLDER = """
SELECT coalesce(folder.path[1], 0), sum(statistic.files)::bigint, sum(statistic.bytes)::bigint
FROM uploads_statistic AS statistic LEFT JOIN uploads_folder AS folder ON folder.id = statistic.key::bigint
WHERE statistic.kind = 'folder' AND statistic.status = 'stored'
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT %s
"""


@require_safe
def storage(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Show the dashboard with a fixed number of queries, after adding the latest changes to the statistics."""
    if not request.user.has_perm("uploads.view_statistic"):
        raise PermissionDenied
    dashboard = {
        **overview(request, default_range=DEFAULT_RANGE),
        "title": _("Storage"),
        "comparison": latest_comparison(),
        "charts": [
            _chart("type", _("Types"), _("Type"), by_category()),
            _chart("owner", _("Owners"), _("Owner"), by_owner()),
            _chart(
                "folder", _("Top-level folders"), _("Folder, including subfolders"), by_folder(request_user(request))
            ),
        ],
    }
    return TemplateResponse(request, "admin/storage.html", {**context, **dashboard})


def overview(request: HttpRequest, *, default_range: str) -> dict[str, Any]:
    """Return the context of the totals and of the growth in the range of the address, or else in the default range."""
    apply_deltas(batches=MAX_DELTAS_APPLIED)
    selected = request.GET.get("range", "")
    selected = selected if selected in RANGES else default_range
    label, days = RANGES[selected]
    periods = growth(days)
    shares = totals()
    freeable = freeable_shares(shares)
    return {
        "totals": shares,
        "freeable": freeable,
        "freeable_bytes": sum(item.share.bytes for item in freeable),
        "ranges": [(value, text, value == selected) for value, (text, _days) in RANGES.items()],
        "range_label": label,
        "periods": periods,
        "added": Share("", sum(period.files for period in periods), sum(period.bytes for period in periods)),
        "growth": area(periods),
        "columns": columns(periods),
    }


def _chart(name: str, title: str, column: str, shares: list[Share]) -> dict[str, Any]:
    return {"name": name, "title": title, "column": column, "shares": shares, "bars": bars(shares)}


# --- numbers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """The number of files and bytes with one label, and the query of the file list that shows them, if there is one."""

    label: str
    files: int
    bytes: int
    query: str = ""


@dataclass(frozen=True, slots=True)
class Freeable:
    """What could be deleted: its part of everything stored in percent, and when it is deleted automatically."""

    share: Share
    percent: int
    note: str


@dataclass(frozen=True, slots=True)
class Period:
    """The files and bytes added in a period, and the totals at its end."""

    label: str
    files: int
    bytes: int
    total_files: int
    total_bytes: int


def totals() -> list[Share]:
    """Return files and bytes of everything stored, followed by those of each status."""
    rows = Statistic.objects.filter(kind=StatisticKind.TOTAL).values_list("status", "files", "bytes")
    counts = {status: (files, size) for status, files, size in rows}
    parts = [
        Share(str(label), *counts.get(status, (0, 0)), STATE_QUERIES[StatisticStatus(status)])
        for status, label in StatisticStatus.choices
    ]
    stored = [
        share for share, status in zip(parts, StatisticStatus, strict=True) if status != StatisticStatus.UNFINISHED
    ]
    total = Share(_("total stored"), sum(share.files for share in stored), sum(share.bytes for share in stored))
    return [total, *parts]


def freeable_shares(shares: Sequence[Share]) -> list[Freeable]:
    """Return the previous versions, the trash and the unfinished uploads of `totals()`."""
    total, _stored, *parts = shares
    notes = (
        _("Stay until their file is deleted permanently."),
        ngettext(
            "Deleted permanently after %(count)s day in the trash.",
            "Deleted permanently after %(count)s days in the trash.",
            settings.TRASH_RETENTION_DAYS,
        )
        % {"count": settings.TRASH_RETENTION_DAYS},
        _("Canceled automatically when they expire."),
    )
    whole = max(1, total.bytes + parts[-1].bytes)
    return [Freeable(part, round(100 * part.bytes / whole), note) for part, note in zip(parts, notes, strict=True)]


def by_category() -> list[Share]:
    rows = Statistic.objects.filter(kind=StatisticKind.CATEGORY, status=StatisticStatus.STORED, files__gt=0).order_by(
        "-bytes", "key"
    )
    return [
        Share(str(Category(key).label), files, size, urlencode({"type": key}))
        for key, files, size in rows.values_list("key", "files", "bytes")
    ]


def by_owner() -> list[Share]:
    """Return the MAX_SHARES owners with the most bytes, and all others together."""
    rows = Statistic.objects.filter(kind=StatisticKind.OWNER, status=StatisticStatus.STORED, files__gt=0).order_by(
        "-bytes", "key"
    )
    largest = list(rows.values_list("key", "files", "bytes")[:MAX_SHARES])
    names = dict(User.objects.filter(pk__in=[key for key, _files, _bytes in largest]).values_list("pk", "username"))
    shares = [
        Share(name := names.get(int(key), f"#{key}"), files, size, urlencode({"owner": name}))
        for key, files, size in largest
    ]
    return [*shares, *_others(shares, _("others"))]


def by_folder(user: User) -> list[Share]:
    """Return the MAX_SHARES largest top-level folders that the user may see, and all others together."""
    with connection.cursor() as cursor:
        cursor.execute(BY_FOLDER, [MAX_FOLDERS_READ])
        rows = cursor.fetchall()
    visible = Folder.objects.visible_to(user).filter(parent__isnull=True, pk__in=[pk for pk, _files, _bytes in rows])
    names = {0: _("top level"), **dict(visible.values_list("pk", "name"))}
    shares = [
        Share(names[pk], files, size, urlencode({"folder": f"#{pk}"}) if pk else "")
        for pk, files, size in rows
        if pk in names and files > 0
    ][:MAX_SHARES]
    return [*shares, *_others(shares, _("other folders"))]


def growth(days: int | None = None) -> list[Period]:
    """Return the stored files by when they were added, without gaps, per day, week, month or year as fits the chart.

    With `days`, the periods of the last days (by UTC) alone, whose totals include the files from before.
    """
    last = datetime.now(UTC).date()
    step = _fitting_step(days or 0)
    first = _start(last - timedelta(days=days - 1), step) if days else date.min
    rows = Statistic.objects.filter(kind=StatisticKind.DAY).exclude(status=StatisticStatus.UNFINISHED)
    by_key = rows.values(day=Case(When(key__lt=first.isoformat(), then=Value("")), default="key"))
    sums = by_key.annotate(sum_files=Sum("files"), sum_bytes=Sum("bytes")).values_list("day", "sum_files", "sum_bytes")
    by_day = {key: (files, size) for key, files, size in sums if files or size}
    if not by_day:
        return []
    before = by_day.pop("", (0, 0))
    added = {date.fromisoformat(key): counts for key, counts in by_day.items()}
    if not days:
        first, last = min(added), max(added)
        step = _fitting_step((last - first).days)
    sums_by_start: dict[date, list[int]] = {start: [0, 0] for start in _starts(first, last, step)}
    for day, (files, size) in added.items():
        cell = sums_by_start[_start(min(day, last), step)]
        cell[0], cell[1] = cell[0] + files, cell[1] + size
    return _running_totals(sums_by_start, step, *before)


def _fitting_step(days: int) -> str:
    return next((step for step in STEPS if days / STEPS[step] < MAX_POINTS), "year")


STEPS = {"day": 1, "week": 7, "month": 30, "year": 365}


def _running_totals(sums: dict[date, list[int]], step: str, total_files: int, total_bytes: int) -> list[Period]:
    periods = []
    for start, (files, size) in sums.items():
        total_files, total_bytes = total_files + files, total_bytes + size
        periods.append(Period(_label(start, step), files, size, total_files, total_bytes))
    return periods


def _start(day: date, step: str) -> date:
    if step == "week":
        return day - timedelta(days=day.weekday())
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[step]


def _starts(first: date, last: date, step: str) -> list[date]:
    starts = [_start(first, step)]
    while True:
        next_start = _start(starts[-1] + timedelta(days={"day": 1, "week": 7, "month": 32, "year": 366}[step]), step)
        if next_start > last:
            return starts
        starts.append(next_start)


def _label(start: date, step: str) -> str:
    form = {"year": "Y", "month": "M Y"}.get(step, "j M Y")
    return date_format(start, form)


def _others(shares: list[Share], label: str) -> list[Share]:
    """Return the rest of the library beside these shares, if there is any."""
    stored = Statistic.objects.filter(kind=StatisticKind.TOTAL, status=StatisticStatus.STORED)
    total = stored.values_list("files", "bytes").first() or (0, 0)
    files = total[0] - sum(share.files for share in shares)
    size = total[1] - sum(share.bytes for share in shares)
    return [Share(label, files, size)] if files > 0 else []


# --- charts -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `width` is an SVG length."""

    share: Share
    width: str


@dataclass(frozen=True, slots=True)
class Column:
    """What was added in a period. `slot_x` and `slot_width` are its place in the plot, which has the hover value."""

    period: Period
    slot_x: int
    slot_width: int
    x: int
    width: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Area:
    """The SVG paths of a running total (`line`) and of the area below it; the full height is `max_bytes`."""

    line: str
    surface: str
    max_bytes: int


def bars(shares: Sequence[Share]) -> list[Bar]:
    """Return bars of which the longest fills the width and the smallest is still visible."""
    longest = max((share.bytes for share in shares), default=0) or 1
    return [Bar(share, f"{max(100 * share.bytes / longest, 0.4):.2f}%") for share in shares]


def columns(periods: Sequence[Period]) -> list[Column]:
    """Return a column for each period, of which the highest fills the height; one without files has none."""
    highest = max((period.bytes for period in periods), default=0) or 1
    edges = [round(WIDTH * number / max(1, len(periods))) for number in range(len(periods) + 1)]
    result = []
    for period, start, end in zip(periods, edges, edges[1:], strict=False):
        gap = (end - start) // 6
        height = max(round(HEIGHT * period.bytes / highest), MIN_COLUMN_HEIGHT) if period.files else 0
        result.append(Column(period, start, end - start, start + gap, end - start - 2 * gap, HEIGHT - height, height))
    return result


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
