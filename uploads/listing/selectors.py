"""The rows that fit what is asked: the one place where a list's address becomes a query."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connections, router
from django.utils import timezone

from uploads import names
from uploads.listing.query import AGE_FILTERS, SIZE_FILTERS, ListQuery
from uploads.models import File, Folder
from uploads.models.folder import FolderQuerySet
from uploads.models.prepared import PreparedQuery
from uploads.models.querysets import FileQuerySet

# A list's order: the column that an index serves.
COLUMNS = {"added": "available_at", "name": "folded", "size": "size"}
TRASH_COLUMNS = {"added": "purge_after", "name": "folded", "size": "size"}
PATHS = "SELECT id, path FROM uploads_folder WHERE id = ANY(%s)"
ANY_USER = 2**62 + 1  # stands for a person in SQL that is made once
HIDDEN_NAME = "…"  # in place of a folder's name that this person may not know


def files_for(user: User, asked: ListQuery, folder: Folder | None) -> FileQuerySet:
    """The files this person may see in the folder (None: the top) that fit, in no order."""
    rows = File.objects.live_visible_to(user)
    if not asked.deep:
        rows = rows.in_folder(folder)
    elif folder is not None:
        rows = rows.below(folder)
    return _apply_filters(rows, asked)


def trash_for(user: User, asked: ListQuery) -> FileQuerySet:
    """What this person may take out of the trash; of a file with several versions the one that counts."""
    return _apply_filters(File.objects.removable_by(user).trashed().filter(current=True), asked)


def folders_for(user: User, asked: ListQuery, folder: Folder | None) -> FolderQuerySet:
    """The folders that stand before the files: those of this place, or, for a search, those of that name."""
    rows = Folder.objects.visible_to(user)
    if not asked.q:
        return rows.children_of(folder)
    if not asked.deep:
        rows = rows.children_of(folder)
    elif folder is not None:
        rows = rows.below(folder).exclude(pk=folder.pk)
    for word in names.normalize_for_search(asked.q).split():
        rows = rows.filter(folded__contains=word)
    return rows


def public_ids(rows: FileQuerySet, *, most: int) -> list[UUID]:
    """The permanent ids of these files, at most so many and one more, which tells that there are more."""
    return [series or pk for series, pk in rows.order_by().values_list("series", "pk")[: most + 1]]


def breadcrumbs_for(user: User, ids: Iterable[int]) -> dict[int, list[tuple[int, str]]]:
    """The way to each of these folders, from the top: id and name of every step. The name of a folder that
    this person may not know is empty. Two queries, however many."""
    wanted = list(set(ids))
    paths = dict(_row_values(PATHS, [wanted])) if wanted else {}
    steps = list({step for path in paths.values() for step in path})
    called = _label(user, steps) if steps and user.has_perm("uploads.view_file") else {}
    return {pk: [(step, called.get(step, "")) for step in path] for pk, path in paths.items()}


def paths_for(user: User, ids: Iterable[int | None]) -> dict[int, str]:
    """Each of these folders by its whole path, `Brand/Logos`, with an ellipsis for what this person may not know."""
    ways = breadcrumbs_for(user, (pk for pk in ids if pk is not None))
    return {pk: as_path(way) for pk, way in ways.items()}


def as_path(way: Iterable[tuple[int, str]]) -> str:
    """A way as `breadcrumbs_for` gives it, in one text."""
    return "/".join(name or HIDDEN_NAME for _step, name in way)


def _label(user: User, steps: list[int]) -> dict[int, str]:
    """The names of those of these folders that this person, who may look around, may know."""
    known = _visible_names(user.is_superuser)
    sql, parameters = known.filled(*([] if user.is_superuser else [user.pk]))
    return dict(_row_values(f"SELECT id, name FROM ({sql}) AS known WHERE id = ANY(%s)", [*parameters, steps]))  # noqa: S608


@functools.cache
def _visible_names(superuser: bool) -> PreparedQuery[Folder]:
    rows = Folder.objects.recognizable_by(User(pk=ANY_USER, is_superuser=superuser)).order_by().only("name")
    return PreparedQuery(rows, *([] if superuser else [ANY_USER]))


def _row_values(sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connections[router.db_for_read(Folder)].cursor() as cursor:
        cursor.execute(sql, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def _apply_filters(rows: FileQuerySet, asked: ListQuery) -> FileQuerySet:
    rows = rows.matching(asked.q)
    if asked.family:
        rows = rows.filter(family=asked.family)
    if asked.owner:
        rows = rows.owned_by(asked.owner)
    if asked.tag:
        rows = rows.filter(taggings__tag=asked.tag)
    if asked.size:
        _label, least, most = SIZE_FILTERS[asked.size]
        rows = rows.filter(size__gte=least) if most is None else rows.filter(size__gte=least, size__lt=most)
    if asked.added:
        _label, within, before = AGE_FILTERS[asked.added]
        if within is not None:
            rows = rows.filter(available_at__gte=_ago(within))
        if before is not None:
            rows = rows.filter(available_at__lt=_ago(before))
    return rows


def _ago(time: timedelta) -> datetime:
    now = timezone.localtime()
    return now - time if time else now.replace(hour=0, minute=0, second=0, microsecond=0)
