"""The date hierarchy of files: years, months and days with counts from the statistics, not from the files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import Sum
from django.db.models.functions import Substr
from django.http import HttpRequest

from uploads.models import Kind, Statistic, Status

YEAR, MONTH, DAY = 4, 7, 10  # characters of 2026-11-23
PART = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class DateLevel:
    """A link to a year, month or day; `files` is None in links back to a longer period."""

    label: str
    query: str
    files: int | None = None


def date_levels(request: HttpRequest) -> list[DateLevel]:
    """Return links back to longer periods and into the selected one. One query, and none without the permission."""
    if not request.user.has_perm("uploads.view_statistic"):
        return []
    selected = request.GET.get("added", "")
    selected = selected if PART.fullmatch(selected) else ""
    width = {0: YEAR, YEAR: MONTH}.get(len(selected), DAY)
    prefix = selected[: MONTH if width == DAY else YEAR]
    back = [prefix[:end] for end in (YEAR, MONTH) if len(prefix) >= end]
    statistics = Statistic.objects.filter(kind=Kind.DAY, status=Status.STORED, key__startswith=prefix)
    parts = statistics.annotate(part=Substr("key", 1, width)).values("part").annotate(total=Sum("files"))
    counts = parts.filter(total__gt=0).order_by("-part" if width == YEAR else "part").values_list("part", "total")
    return [
        *(DateLevel(part, _url(request, part)) for part in (["", *back] if back else [])),
        *(DateLevel(part, _url(request, part), total) for part, total in counts if part not in back),
    ]


def _url(request: HttpRequest, added: str) -> str:
    query = request.GET.copy()
    for name in ("p", "e", "added"):
        query.pop(name, None)
    if added:
        query["added"] = added
    return f"?{query.urlencode()}"
