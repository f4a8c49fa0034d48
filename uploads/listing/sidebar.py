"""The data around a list: people and tags to filter by, its file count, and the user's unfinished uploads."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib.auth.models import User

from uploads.models import File, Statistic, Tag
from uploads.models.statistics import Status


class Sidebar(NamedTuple):
    people: list[str]
    tags: list[str]
    files: int | None
    unfinished: int


def load_sidebar(user: User, limit: int, statistic: tuple[str, str] | None) -> Sidebar:
    """Return up to `limit` people and tags each, sorted, the file count of the statistic with this kind and key, and
    how many uploads this user has not finished. Without a limit or a statistic, their queries are left out."""
    people = User.objects.order_by("username").values_list("username", flat=True)[:limit] if limit else []
    tags = Tag.objects.order_by("normalized_name").values_list("name", flat=True)[:limit] if limit else []
    files = None
    if statistic:
        kind, key = statistic
        counts = Statistic.objects.filter(kind=kind, key=key, status=Status.STORED)
        files = counts.values_list("files", flat=True).first()
    return Sidebar(list(people), list(tags), files, File.objects.owned_by(user).unfinished().count())
