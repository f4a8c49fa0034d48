"""The numbers of the dashboard. Each is one query of the statistics, never of the files."""

from __future__ import annotations

from datetime import date, timedelta

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from uploads.admin.charts import Period, Share
from uploads.models import Category, Folder, Kind, Statistic, Status

MAX_SHARES = 20
MAX_FOLDERS_READ = 1_000
MAX_POINTS = 60  # of a chart; more days are grouped to weeks, months or years

# Files by their topmost folder; 0 is the top level itself.
BY_FOLDER = """
SELECT coalesce(folder.path[1], 0), sum(statistic.files)::bigint, sum(statistic.bytes)::bigint
FROM uploads_statistic AS statistic LEFT JOIN uploads_folder AS folder ON folder.id = statistic.key::bigint
WHERE statistic.kind = 'folder' AND statistic.status = 'stored'
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT %s
"""


def totals() -> list[Share]:
    """Return files and bytes of everything stored, followed by those of each status."""
    rows = Statistic.objects.filter(kind=Kind.TOTAL).values_list("status", "files", "bytes")
    counts = {status: (files, size) for status, files, size in rows}
    parts = [Share(str(label), *counts.get(status, (0, 0))) for status, label in Status.choices]
    stored = [share for share, status in zip(parts, Status, strict=True) if status != Status.UNFINISHED]
    total = Share(_("stored in all"), sum(share.files for share in stored), sum(share.bytes for share in stored))
    return [total, *parts]


def by_category() -> list[Share]:
    rows = Statistic.objects.filter(kind=Kind.CATEGORY, status=Status.STORED, files__gt=0).order_by("-bytes", "key")
    return [
        Share(str(Category(key).label), files, size) for key, files, size in rows.values_list("key", "files", "bytes")
    ]


def by_owner() -> list[Share]:
    """Return the MAX_SHARES owners with the most bytes, and all others together."""
    rows = Statistic.objects.filter(kind=Kind.OWNER, status=Status.STORED, files__gt=0).order_by("-bytes", "key")
    largest = list(rows.values_list("key", "files", "bytes")[:MAX_SHARES])
    names = dict(User.objects.filter(pk__in=[key for key, _files, _bytes in largest]).values_list("pk", "username"))
    shares = [Share(names.get(int(key), f"#{key}"), files, size) for key, files, size in largest]
    return [*shares, *_others(shares, _("others"))]


def by_folder(user: User) -> list[Share]:
    """Return the MAX_SHARES largest top-level folders that the user may see, and all others together."""
    with connection.cursor() as cursor:
        cursor.execute(BY_FOLDER, [MAX_FOLDERS_READ])
        rows = cursor.fetchall()
    visible = Folder.objects.visible_to(user).filter(parent__isnull=True, pk__in=[pk for pk, _files, _bytes in rows])
    names = {0: _("in no folder"), **dict(visible.values_list("pk", "name"))}
    shares = [Share(names[pk], files, size) for pk, files, size in rows if pk in names and files > 0][:MAX_SHARES]
    return [*shares, *_others(shares, _("other folders"))]


def growth() -> list[Period]:
    """Return the stored files by when they were added, without gaps, per day, week, month or year as fits the chart."""
    rows = Statistic.objects.filter(kind=Kind.DAY).exclude(status=Status.UNFINISHED).values("key")
    sums = rows.annotate(sum_files=Sum("files"), sum_bytes=Sum("bytes")).values_list("key", "sum_files", "sum_bytes")
    days = {date.fromisoformat(key): (files, size) for key, files, size in sums if files or size}
    if not days:
        return []
    first, last = min(days), max(days)
    step = next((step for step in STEPS if (last - first).days / STEPS[step] < MAX_POINTS), "year")
    sums_by_start: dict[date, list[int]] = {start: [0, 0] for start in _starts(first, last, step)}
    for day, (files, size) in days.items():
        cell = sums_by_start[_start(day, step)]
        cell[0], cell[1] = cell[0] + files, cell[1] + size
    return _running_totals(sums_by_start, step)


STEPS = {"day": 1, "week": 7, "month": 30, "year": 365}


def _running_totals(sums: dict[date, list[int]], step: str) -> list[Period]:
    periods, total_files, total_bytes = [], 0, 0
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
    total = Statistic.objects.filter(kind=Kind.TOTAL, status=Status.STORED).values_list("files", "bytes").first() or (
        0,
        0,
    )
    files = total[0] - sum(share.files for share in shares)
    size = total[1] - sum(share.bytes for share in shares)
    return [Share(label, files, size)] if files > 0 else []
