"""From years to months to days: how many files were added when, from the kept figures instead of the files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import Sum
from django.db.models.functions import Substr
from django.http import HttpRequest

from uploads.models import Figure, Kind, Status

YEAR, MONTH, DAY = 4, 7, 10  # characters of 2026-11-23
PART = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class DateLevel:
    """A year, month or day to click on; `files` is None on the way back."""

    label: str
    query: str
    files: int | None = None


def days_of(request: HttpRequest) -> list[DateLevel]:
    """The way back up, and what lies in the chosen year or month. One query, for those who may know figures."""
    if not request.user.has_perm("uploads.view_figure"):
        return []
    chosen = request.GET.get("added", "")
    chosen = chosen if PART.fullmatch(chosen) else ""
    width = {0: YEAR, YEAR: MONTH}.get(len(chosen), DAY)
    inside = chosen[: MONTH if width == DAY else YEAR]
    back = [inside[:end] for end in (YEAR, MONTH) if len(inside) >= end]
    figures = Figure.objects.filter(kind=Kind.DAY, status=Status.STORED, key__startswith=inside)
    parts = figures.annotate(part=Substr("key", 1, width)).values("part").annotate(total=Sum("files"))
    found = parts.filter(total__gt=0).order_by("-part" if width == YEAR else "part").values_list("part", "total")
    return [
        *(DateLevel(part, _address(request, part)) for part in (["", *back] if back else [])),
        *(DateLevel(part, _address(request, part), total) for part, total in found if part not in back),
    ]


def _address(request: HttpRequest, added: str) -> str:
    query = request.GET.copy()
    for name in ("p", "e", "added"):
        query.pop(name, None)
    if added:
        query["added"] = added
    return f"?{query.urlencode()}"
