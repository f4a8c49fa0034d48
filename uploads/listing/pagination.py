"""Keyset pagination of folders and files: the page, and the cursor that points to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import OperationalError, router
from django.db.models import Q, QuerySet

from amalga.db import is_statement_timeout, statement_timeout
from uploads.listing.query import ListQuery
from uploads.listing.selectors import Candidates, permanent_ids
from uploads.models import File, Folder
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet

PAGE_SIZE = 50
MAX_MATCHING_FOLDERS = 10
MAX_CANDIDATES = 75  # half as many again as a page, for those that the user may not see
MAX_COUNTED_NEIGHBORS = 100  # before a file, and after it
SEARCH_TIMEOUT_SECONDS = 3.0
# the columns of a list's row
ROW_COLUMNS = (
    "id", "series", "name", "natural_name", "folder_id", "visibility", "category", "size", "available_at",
    "purge_after", "owner__username", "quarantined", "folder__path", "folder__access_root_id",
)  # fmt: skip

Rows = TypeVar("Rows", bound="QuerySet[Any]")
MAX_CURSOR_CHARACTERS = 4_000
MAX_ID_DIGITS = 18  # a folder's id; a file's has 32 or more characters


class SearchTooBroad(Exception):
    """The search took longer than SEARCH_TIMEOUT_SECONDS."""


class ListRow(NamedTuple):
    """A file as lists show it: plain values, since creating fifty model instances costs more than the query."""

    pk: UUID
    series: UUID | None
    name: str
    natural_name: str
    folder_id: int | None
    visibility: str
    category: str
    size: int
    available_at: datetime
    purge_after: datetime | None
    owner: str
    quarantined: bool
    path: list[int] | None  # of its folder
    access_root_id: int | None  # of its folder

    @property
    def permanent_id(self) -> UUID:
        return self.series or self.pk


@dataclass(slots=True)
class Page:
    """Folders first, then files. `next` is the cursor of the next page, None on the last page."""

    folders: list[Folder] = field(default_factory=list)
    more_folders: bool = False  # more folders match the search than are shown
    files: list[ListRow] = field(default_factory=list)
    next: Cursor | None = None
    column: str = "natural_name"  # the column that the files are sorted by

    def add_folders(self, rows: list[Folder]) -> None:
        """Add up to PAGE_SIZE folders; one more row means that there is a next page."""
        self.folders = rows[:PAGE_SIZE]
        if len(rows) > PAGE_SIZE:
            self.next = Cursor(self.folders[-1].natural_name, self.folders[-1].pk)

    def add_files(self, rows: list[tuple[Any, ...]], *, column: str, limit: int) -> None:
        """Add up to `limit` files from rows with the ROW_COLUMNS; one more row means that there is a next page."""
        self.column, self.files = column, [ListRow._make(row) for row in rows[:limit]]
        if len(rows) > limit:
            self.next = self.last_cursor()

    def last_cursor(self) -> Cursor | None:
        """Return the cursor of the last row on the page, None for an empty page."""
        if self.files:
            return Cursor(getattr(self.files[-1], self.column), self.files[-1].pk)
        return Cursor(self.folders[-1].natural_name, self.folders[-1].pk) if self.folders else None


def paginate(
    query: ListQuery,
    *,
    files: FileQuerySet,
    folders: FolderQuerySet | None,
    columns: Mapping[str, str],
    after: Cursor | None,
    candidates: Candidates | None = None,
) -> Page:
    """Return one page, in one query each for folders and files, or up to three for files with `candidates`.

    Raises SearchTooBroad when one takes too long.
    """
    page = Page()
    with search_timeout(query):
        if folders is not None and query.q:
            if after is None:
                _match_folders(page, folders)
        elif folders is not None and (after is None or after.among_folders):
            _list_folders(page, folders, query, after)
        if page.next is None:
            _list_files(page, files, candidates, query, columns[query.column], after)
    return page


class Neighbors(NamedTuple):
    """The permanent ids of the files before and after a file in a list, and its place there, counted from 1, with the
    number of files; 0 in searches, in the list of another folder, and with more than MAX_COUNTED_NEIGHBORS files before
    or after it."""

    before: UUID | None = None
    after: UUID | None = None
    position: int = 0
    total: int = 0


def neighbors(
    query: ListQuery, file: File, *, files: FileQuerySet, folder: Folder | None, columns: Mapping[str, str]
) -> Neighbors:
    """Return the files before and after `file` in the list of `folder`, or of the top level. Raises SearchTooBroad."""
    column = columns[query.column]
    cursor = Cursor(getattr(file, column), file.pk)
    # a filter can read the whole table for a second row, while plain lists are in the order of an index
    is_counted = not query.has_filters and not query.recursive and file.folder_id == (folder.pk if folder else None)
    limit = MAX_COUNTED_NEIGHBORS if is_counted else 0
    with search_timeout(query):
        before, after = (
            permanent_ids(after_cursor(files, column, descending=descending, after=cursor), limit=limit)
            for descending in (not query.descending, query.descending)
        )
    ids = Neighbors(before[0] if before else None, after[0] if after else None)
    if not is_counted or max(len(before), len(after)) > limit:
        return ids
    return ids._replace(position=len(before) + 1, total=len(before) + 1 + len(after))


@contextmanager
def search_timeout(query: ListQuery) -> Iterator[None]:
    """Raise SearchTooBroad when a query exceeds SEARCH_TIMEOUT_SECONDS, or the longer timeout of the connection.

    Plain lists, which an index answers, have that of the connection: another one needs a transaction, and with it
    three more statements.
    """
    limit = statement_timeout(SEARCH_TIMEOUT_SECONDS, using=router.db_for_read(File))
    try:
        with limit if query.has_filters else nullcontext():
            yield
    except OperationalError as error:
        if is_statement_timeout(error):
            raise SearchTooBroad from error
        raise


def _match_folders(page: Page, folders: FolderQuerySet) -> None:
    rows = list(folders.order_by("natural_name", "id")[: MAX_MATCHING_FOLDERS + 1])
    page.folders, page.more_folders = rows[:MAX_MATCHING_FOLDERS], len(rows) > MAX_MATCHING_FOLDERS


def _list_folders(page: Page, folders: FolderQuerySet, query: ListQuery, after: Cursor | None) -> None:
    """Add folders sorted by name, whatever the files are sorted by."""
    descending = query.sort == "-name"
    page.add_folders(list(after_cursor(folders, "natural_name", descending=descending, after=after)[: PAGE_SIZE + 1]))


def _list_files(
    page: Page, files: FileQuerySet, candidates: Candidates | None, query: ListQuery, column: str,
    after: Cursor | None,
) -> None:  # fmt: skip
    """Add the files among the first candidates, or among all files if these do not fill the page.

    Candidates come from an index alone. Reading the row of each file that is left out later takes many times longer.
    """
    cursor = after if after and not after.among_folders else None
    limit = PAGE_SIZE - (0 if query.q else len(page.folders))
    in_order = partial(after_cursor, column=column, descending=query.descending, after=cursor)
    if candidates is not None:
        ids = list(in_order(candidates.files).values_list("pk", flat=True)[:MAX_CANDIDATES])
        among = list(in_order(candidates.visible.filter(pk__in=ids)).values_list(*ROW_COLUMNS)[: limit + 1])
        if len(among) > limit or len(ids) < MAX_CANDIDATES:
            page.add_files(among, column=column, limit=limit)
            return
    rows = in_order(files)
    if query.has_filters:
        # else Postgres looks up the folder and the owner of each match before it sorts them, not of the page's rows
        rows = File.objects.filter(pk__in=rows.values("pk")[: limit + 1]).order_by(*rows.query.order_by)
    page.add_files(list(rows.values_list(*ROW_COLUMNS)[: limit + 1]), column=column, limit=limit)


def after_cursor(rows: Rows, column: str, *, descending: bool, after: Cursor | None) -> Rows:
    """Sort by the column, then by id in the same direction as in the indexes, and start after the cursor."""
    sign, lookup = ("-", "lt") if descending else ("", "gt")
    ordered: Rows = rows.order_by(f"{sign}{column}", f"{sign}id")
    if after is None:
        return ordered
    # redundant, but with it Postgres starts inside the index
    remaining = ordered.filter(**{f"{column}__{lookup}e": after.value})
    return remaining.filter(Q(**{f"{column}__{lookup}": after.value}) | Q(**{f"id__{lookup}": after.id}))


# --- the cursor ----------------------------------------------------------------------------------


class InvalidCursor(ValueError):
    """The cursor is malformed, or belongs to another sort order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The value that the list is sorted by, and the id that breaks ties: an integer for a folder."""

    value: Any
    id: UUID | int

    def __str__(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        return f"{value}_{self.id}"

    @property
    def among_folders(self) -> bool:
        return isinstance(self.id, int)

    @classmethod
    def decode(cls, text: str, column: str) -> Cursor | None:
        """Return the cursor encoded in `text`, or None if it is empty. Raises InvalidCursor."""
        if not text:
            return None
        value, underscore, row_id = text.rpartition("_")
        if not underscore or len(text) > MAX_CURSOR_CHARACTERS:
            raise InvalidCursor
        if row_id.isascii() and row_id.isdigit() and len(row_id) <= MAX_ID_DIGITS:
            return cls(value, int(row_id))
        try:
            return cls(_parse_value(value, column), UUID(row_id))
        except (ValueError, OverflowError) as error:
            raise InvalidCursor from error


def _parse_value(text: str, column: str) -> Any:
    if column == "natural_name":
        return text
    if column == "size":
        if not text.isascii() or not text.isdigit() or len(text) > MAX_ID_DIGITS + 1:
            raise InvalidCursor
        return min(int(text), 2**63 - 1)
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise InvalidCursor
    return time.astimezone(UTC)  # Postgres accepts fewer offsets than Python does
