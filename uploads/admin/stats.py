"""The figures that the dashboard shows. Each is one question to the kept totals, never to the files."""

from __future__ import annotations

from datetime import date, timedelta

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from uploads.admin.charts import Period, Share
from uploads.models import Category, Figure, Folder, Kind, Status

MAX_SHARES = 20
MAX_FOLDERS_READ = 1_000
MAX_POINTS = 60  # of a plot; more days become weeks, more weeks months, more months years

# Files in folders by the topmost folder that they are in; 0 is the top itself.
BY_FOLDER = """
SELECT coalesce(folder.path[1], 0), sum(figure.files)::bigint, sum(figure.bytes)::bigint
FROM uploads_figure AS figure LEFT JOIN uploads_folder AS folder ON folder.id = figure.key::bigint
WHERE figure.kind = 'folder' AND figure.status = 'stored'
GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT %s
"""


def totals() -> list[Share]:
    """Files and bytes of each status, and first of all of them."""
    rows = Figure.objects.filter(kind=Kind.TOTAL).values_list("status", "files", "bytes")
    found = {status: (files, size) for status, files, size in rows}
    parts = [Share(str(label), *found.get(status, (0, 0))) for status, label in Status.choices]
    kept = [share for share, status in zip(parts, Status, strict=True) if status != Status.UNFINISHED]
    whole = Share(_("stored in all"), sum(share.files for share in kept), sum(share.bytes for share in kept))
    return [whole, *parts]


def by_family() -> list[Share]:
    rows = Figure.objects.filter(kind=Kind.FAMILY, status=Status.STORED, files__gt=0).order_by("-bytes", "key")
    return [
        Share(str(Category(key).label), files, size) for key, files, size in rows.values_list("key", "files", "bytes")
    ]


def by_owner() -> list[Share]:
    """The twenty who have most, and all others together."""
    rows = Figure.objects.filter(kind=Kind.OWNER, status=Status.STORED, files__gt=0).order_by("-bytes", "key")
    largest = list(rows.values_list("key", "files", "bytes")[:MAX_SHARES])
    names = dict(User.objects.filter(pk__in=[key for key, _files, _bytes in largest]).values_list("pk", "username"))
    shares = [Share(names.get(int(key), f"#{key}"), files, size) for key, files, size in largest]
    return [*shares, *_others(shares, _("others"))]


def by_folder(user: User) -> list[Share]:
    """The twenty largest folders at the top of the tree that this person may know, and all others together."""
    with connection.cursor() as cursor:
        cursor.execute(BY_FOLDER, [MAX_FOLDERS_READ])
        rows = cursor.fetchall()
    known = Folder.objects.visible_to(user).filter(parent__isnull=True, pk__in=[pk for pk, _files, _bytes in rows])
    names = {0: _("in no folder"), **dict(known.values_list("pk", "name"))}
    shares = [Share(names[pk], files, size) for pk, files, size in rows if pk in names and files > 0][:MAX_SHARES]
    return [*shares, *_others(shares, _("other folders"))]


def growth() -> list[Period]:
    """What was added when and is kept, by day, week, month or year, whichever fits the plot; no gaps."""
    rows = Figure.objects.filter(kind=Kind.DAY).exclude(status=Status.UNFINISHED).values("key")
    sums = rows.annotate(sum_files=Sum("files"), sum_bytes=Sum("bytes")).values_list("key", "sum_files", "sum_bytes")
    days = {date.fromisoformat(key): (files, size) for key, files, size in sums if files or size}
    if not days:
        return []
    first, last = min(days), max(days)
    step = next((step for step in STEPS if (last - first).days / STEPS[step] < MAX_POINTS), "year")
    found: dict[date, list[int]] = {start: [0, 0] for start in _starts(first, last, step)}
    for day, (files, size) in days.items():
        cell = found[_start(day, step)]
        cell[0], cell[1] = cell[0] + files, cell[1] + size
    return _running(found, step)


STEPS = {"day": 1, "week": 7, "month": 30, "year": 365}


def _running(found: dict[date, list[int]], step: str) -> list[Period]:
    periods, kept_files, kept_bytes = [], 0, 0
    for start, (files, size) in found.items():
        kept_files, kept_bytes = kept_files + files, kept_bytes + size
        periods.append(Period(_label(start, step), files, size, kept_files, kept_bytes))
    return periods


def _start(day: date, step: str) -> date:
    if step == "week":
        return day - timedelta(days=day.weekday())
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}[step]


def _starts(first: date, last: date, step: str) -> list[date]:
    starts = [_start(first, step)]
    while True:
        following = _start(starts[-1] + timedelta(days={"day": 1, "week": 7, "month": 32, "year": 366}[step]), step)
        if following > last:
            return starts
        starts.append(following)


def _label(start: date, step: str) -> str:
    form = {"year": "Y", "month": "M Y"}.get(step, "j M Y")
    return date_format(start, form)


def _others(shares: list[Share], label: str) -> list[Share]:
    """What is in the library beside these."""
    whole = Figure.objects.filter(kind=Kind.TOTAL, status=Status.STORED).values_list("files", "bytes").first() or (0, 0)
    files = whole[0] - sum(share.files for share in shares)
    size = whole[1] - sum(share.bytes for share in shares)
    return [Share(label, files, size)] if files > 0 else []
