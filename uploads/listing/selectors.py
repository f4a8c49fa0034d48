"""Files, folders and labels of a list, as far as the user may see them. `ListQuery.filter` applies the filters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Exists, F, OuterRef

from uploads.listing.query import ListQuery
from uploads.models import Event, Favorite, File, Folder
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet

# The indexed column of each sort order.
COLUMNS = {"added": "available_at", "name": "natural_name", "size": "size"}
TRASH_COLUMNS = {"added": "purge_after", "name": "natural_name", "size": "size"}
MAX_UNSEEN = 100  # notifications that are counted: pages show 99+
MAX_OF_TYPE_AND_SIZE = 5_000  # files


class Candidates(NamedTuple):
    """Files that include all of a list, by conditions that an index in its order has without the rows. Those of them
    that are `visible` are the list."""

    files: FileQuerySet
    visible: FileQuerySet


def files_for(user: User, query: ListQuery, folder: Folder | None) -> FileQuerySet:
    """Return the matching files this user may see in the folder (None: the top level), unsorted."""
    return matches_for(user, query, folder)[0]


def matches_for(user: User, query: ListQuery, folder: Folder | None) -> tuple[FileQuerySet, Candidates | None]:
    """Return `files_for`, and the candidates for a page of them if the files are those in several folders or with a
    tag, without other conditions; the newest with a tag can be those of one owner."""
    place = File.objects.all()
    if not query.recursive:
        place = place.in_folder(folder)
    elif folder is not None:
        place = place.below(folder)
    files = _filter(_apply_show(place.listed_for(user), user, query), query)
    by_owner = query.owner and not (query.tag and query.column == "added")  # the index of owners is by time
    others = query.show or query.q or query.category or by_owner or query.size or query.added
    if others or not query.recursive or bool(query.tag) == bool(folder):
        return files, None
    return files, Candidates(query.filter(place.listed()), File.objects.listed_for(user))


def _filter(rows: FileQuerySet, query: ListQuery) -> FileQuerySet:
    """Apply the filters to files; for a type and size, by their ids if these are at most MAX_OF_TYPE_AND_SIZE.

    Costs a query. Postgres expects as many large texts as large videos, and may read all of them, or the whole list.
    Of many files, there is soon a page of the newest. A list by size reads their index anyway.
    """
    if not query.category or not query.size or query.column == "size":
        return query.filter(rows)
    matching = ListQuery(category=query.category, size=query.size).filter(File.objects.listed())
    ids = list(matching.order_by("size", "id").values_list("pk", flat=True)[: MAX_OF_TYPE_AND_SIZE + 1])
    if len(ids) <= MAX_OF_TYPE_AND_SIZE:
        return replace(query, category="", size="").filter(rows.filter(pk__in=ids))
    if query.column != "added":
        return query.filter(rows)
    # an expression has no index, and so the list is read in its order
    return query.filter(rows.alias(bytes=F("size") + 0), size="bytes")


def _apply_show(rows: FileQuerySet, user: User, query: ListQuery) -> FileQuerySet:
    """Return the user's favorites, recent files or duplicates among the files, if the query shows only these."""
    if not query.show:
        return rows
    if query.show == "duplicates":
        return rows.duplicated_among(File.objects.listed_for(user))
    if query.show == "favorites":
        return rows.by_permanent_ids(Favorite.objects.file_ids(user))
    return rows.by_permanent_ids(Event.objects.recent_file_ids(user))


def trash_for(user: User, query: ListQuery) -> FileQuerySet:
    """Return the matching files in the trash that this user may manage, current versions only."""
    rows = File.objects.removable_by(user).trashed().filter(current=True)
    return query.filter(_apply_show(rows, user, query))


def folders_for(user: User, query: ListQuery, folder: Folder | None, *, trash: bool = False) -> FolderQuerySet | None:
    """Return the folders to list before the files, or None for a list without folders.

    They are the subfolders, the favorites, or those that match the search; in the trash those that this user may
    restore. Outside of the trash, each has `is_favorite`.
    """
    if query.show in {"recent", "duplicates"} or (trash and query.show):
        return None
    if not query.q and (query.narrows or query.subfolders):
        return None
    if trash:
        return Folder.objects.trashed().editable_by(user).matching(query.q)
    favorites = Favorite.objects.of(user).filter(folder__isnull=False)
    rows = Folder.objects.visible_to(user).annotate(is_favorite=Exists(favorites.filter(folder=OuterRef("pk"))))
    if query.show:
        rows = rows.filter(pk__in=favorites.values("folder"))
        if not query.q:
            return rows
    if not query.q:
        return rows.children_of(folder)
    if not query.recursive:
        rows = rows.children_of(folder)
    elif folder is not None:
        rows = rows.below(folder).exclude(pk=folder.pk)
    return rows.matching(query.q)


def permanent_ids(rows: FileQuerySet, *, limit: int) -> list[UUID]:
    """Return up to `limit` + 1 permanent ids of these files, in order; the extra one means that there are more."""
    return [series or pk for series, pk in rows.values_list("series", "pk")[: limit + 1]]


# One query for all, which every page of a signed-in person runs for its navigation.
SIDEBAR_SQL = """
SELECT
    (SELECT count(*) FROM uploads_file
        WHERE owner_id = %(user)s AND guest_session_id IS NULL AND state IN ('uploading', 'completing')),
    (SELECT count(*) FROM (
        SELECT 1 FROM uploads_notification WHERE user_id = %(user)s AND in_app AND read_at IS NULL LIMIT %(unseen)s
    ) AS unseen),
    ARRAY(SELECT username FROM auth_user JOIN uploads_usage ON owner_id = auth_user.id WHERE files > 0
        ORDER BY username LIMIT %(choices)s),
    ARRAY(SELECT name FROM uploads_tag ORDER BY normalized_name LIMIT %(choices)s),
    (SELECT files FROM uploads_statistic WHERE kind = %(kind)s AND key = %(key)s AND status = 'stored')
"""


class Sidebar(NamedTuple):
    """The data around a list, of which all pages show the counts in the navigation."""

    unfinished: int  # the user's own uploads
    unseen: int  # the user's notifications, MAX_UNSEEN at most
    people: list[str]  # who own files
    tags: list[str]
    files: int | None  # of the statistic


def load_sidebar(user: User, *, choices: int = 0, statistic: tuple[str, str] | None = None) -> Sidebar:
    """Return the counts of this user, up to `choices` people and tags each, sorted, and the file count of the statistic
    with this kind and key. One query."""
    kind, key = statistic or (None, None)
    parameters: dict[str, Any] = {
        "user": user.pk, "unseen": MAX_UNSEEN, "choices": choices, "kind": kind, "key": key,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(SIDEBAR_SQL, parameters)
        return Sidebar._make(cursor.fetchone())
