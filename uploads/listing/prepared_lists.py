"""The lists that most pages are: a place in its order, with nothing searched for. Their SQL is made once.

What they show is what `page_of` shows for the same address; that one makes its SQL anew each time, which takes longer
than to ask for it.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from django.contrib.auth.models import User

from uploads.listing.cursor import Cursor
from uploads.listing.pagination import PAGE_SIZE, SHOWN, Page, after_cursor
from uploads.listing.query import ListQuery
from uploads.listing.selectors import COLUMNS
from uploads.models import File, Folder
from uploads.models.prepared import PreparedQuery

Where = Literal["top", "folder", "anywhere"]

# Values that stand for others in SQL that is made once.
PERSON, FOLDER, LAST_FOLDER, LAST_FILE = 2**62 + 1, 2**62 + 2, 2**62 + 3, uuid4()
LAST_VALUES: dict[str, Any] = {
    "folded": "a value that stands for others",
    "size": 2**62 + 4,
    "available_at": datetime(1815, 12, 10, 4, 5, 6, 7, tzinfo=UTC),
}


def is_plain(asked: ListQuery, folder: Folder | None) -> bool:
    """Whether `plain_page` can answer: nothing is searched for, and nothing below a folder asked for."""
    return not asked.narrows and not (asked.deep and folder)


def plain_page(user: User, asked: ListQuery, folder: Folder | None, after: Cursor | None) -> Page:
    """One page of a place, in at most two queries."""
    page = Page()
    viewer, superuser = user.has_perm("uploads.view_file"), user.is_superuser
    place = [folder.pk] if folder else []
    if viewer and not asked.deep and (after is None or after.among_folders):
        listed = _folders(superuser, folder is not None, asked.sort == "-name", after is not None)
        page.take_folders(listed.rows(*_told(listed, user.pk), *place, *_values(after)))
    if page.next is None:
        column, spot = COLUMNS[asked.column], after if after and not after.among_folders else None
        where: Where = "anywhere" if asked.deep else "folder" if folder else "top"
        rows = _files(viewer, superuser, where, column, asked.descending, spot is not None)
        found = rows.tuples(user.pk, *place, *_values(spot))
        page.take_files(found, column=column, most=PAGE_SIZE - len(page.folders))
    return page


def _values(spot: Cursor | None) -> list[Any]:
    return [spot.value, spot.id] if spot else []


def _told(listed: PreparedQuery[Folder], person: int) -> list[int]:
    """A superuser's list of folders does not ask who they are."""
    return [person] if PERSON in listed.examples else []


@functools.cache
def _folders(superuser: bool, inside: bool, down: bool, begun: bool) -> PreparedQuery[Folder]:
    rows = Folder.objects.recognizable_by(User(pk=PERSON, is_superuser=superuser))
    rows = rows.filter(parent_id=FOLDER) if inside else rows.filter(parent__isnull=True)
    spot = Cursor(LAST_VALUES["folded"], LAST_FOLDER) if begun else None
    rows = after_cursor(rows.only("name", "folded", "restricted"), "folded", down=down, after=spot)
    examples = [*([] if superuser else [PERSON]), *([FOLDER] if inside else []), *_values(spot)]
    return PreparedQuery(rows[: PAGE_SIZE + 1], *examples)


@functools.cache
def _files(viewer: bool, superuser: bool, where: Where, column: str, down: bool, begun: bool) -> PreparedQuery[File]:
    rows = File.objects.live_visible_with(PERSON, viewer=viewer, superuser=superuser)
    if where == "folder":
        rows = rows.filter(folder_id=FOLDER)
    elif where == "top":
        rows = rows.filter(folder__isnull=True)
    spot = Cursor(LAST_VALUES[column], LAST_FILE) if begun else None
    rows = after_cursor(rows, column, down=down, after=spot)
    examples = [PERSON, *([FOLDER] if where == "folder" else []), *_values(spot)]
    return PreparedQuery(rows.values_list(*SHOWN)[: PAGE_SIZE + 1], *examples)
