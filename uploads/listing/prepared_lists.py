"""Lists without filters, the most frequent ones, with SQL that is compiled once.

They return what `paginate` returns for the same query. That function compiles its SQL for each page, which takes
longer than to run it.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from django.contrib.auth.models import User

from uploads.listing.cursor import Cursor
from uploads.listing.pagination import PAGE_SIZE, ROW_COLUMNS, Page, after_cursor
from uploads.listing.query import ListQuery
from uploads.listing.selectors import COLUMNS
from uploads.models import File, Folder
from uploads.models.prepared import PreparedQuery

Where = Literal["top", "folder", "anywhere"]

# Placeholders of PreparedQuery.
ANY_USER, ANY_FOLDER, ANY_LAST_FOLDER, ANY_LAST_FILE = 2**62 + 1, 2**62 + 2, 2**62 + 3, uuid4()
ANY_VALUE: dict[str, Any] = {
    "folded": "placeholder of a name",
    "size": 2**62 + 4,
    "available_at": datetime(1815, 12, 10, 4, 5, 6, 7, tzinfo=UTC),
}


def is_plain(query: ListQuery, folder: Folder | None) -> bool:
    """Whether `plain_page` supports the query: no filters, and no subfolders of a folder."""
    return not query.has_filters and not (query.recursive and folder)


def plain_page(user: User, query: ListQuery, folder: Folder | None, after: Cursor | None) -> Page:
    """Return one page of the top level, a folder or the whole library, in at most two queries."""
    page = Page()
    viewer, superuser = user.has_perm("uploads.view_file"), user.is_superuser
    folder_ids = [folder.pk] if folder else []
    if viewer and not query.recursive and (after is None or after.among_folders):
        folders = _folders(superuser, folder is not None, query.sort == "-name", after is not None)
        page.add_folders(folders.rows(*_user_values(folders, user.pk), *folder_ids, *_values(after)))
    if page.next is None:
        column, cursor = COLUMNS[query.column], after if after and not after.among_folders else None
        where: Where = "anywhere" if query.recursive else "folder" if folder else "top"
        files = _files(viewer, superuser, where, column, query.descending, cursor is not None)
        rows = files.tuples(user.pk, *folder_ids, *_values(cursor))
        page.add_files(rows, column=column, limit=PAGE_SIZE - len(page.folders))
    return page


def _values(cursor: Cursor | None) -> list[Any]:
    return [cursor.value, cursor.id] if cursor else []


def _user_values(folders: PreparedQuery[Folder], user_id: int) -> list[int]:
    """Return the user's id where the query contains it: a superuser's query for folders does not."""
    return [user_id] if ANY_USER in folders.placeholders else []


@functools.cache
def _folders(superuser: bool, in_folder: bool, descending: bool, has_cursor: bool) -> PreparedQuery[Folder]:
    rows = Folder.objects.recognizable_by(User(pk=ANY_USER, is_superuser=superuser))
    rows = rows.filter(parent_id=ANY_FOLDER) if in_folder else rows.filter(parent__isnull=True)
    cursor = Cursor(ANY_VALUE["folded"], ANY_LAST_FOLDER) if has_cursor else None
    rows = after_cursor(rows.only("name", "folded", "restricted"), "folded", descending=descending, after=cursor)
    placeholders = [*([] if superuser else [ANY_USER]), *([ANY_FOLDER] if in_folder else []), *_values(cursor)]
    return PreparedQuery(rows[: PAGE_SIZE + 1], *placeholders)


@functools.cache
def _files(
    viewer: bool, superuser: bool, where: Where, column: str, descending: bool, has_cursor: bool
) -> PreparedQuery[File]:
    rows = File.objects.live_visible_with(ANY_USER, viewer=viewer, superuser=superuser)
    if where == "folder":
        rows = rows.filter(folder_id=ANY_FOLDER)
    elif where == "top":
        rows = rows.filter(folder__isnull=True)
    cursor = Cursor(ANY_VALUE[column], ANY_LAST_FILE) if has_cursor else None
    rows = after_cursor(rows, column, descending=descending, after=cursor)
    placeholders = [ANY_USER, *([ANY_FOLDER] if where == "folder" else []), *_values(cursor)]
    return PreparedQuery(rows.values_list(*ROW_COLUMNS)[: PAGE_SIZE + 1], *placeholders)
