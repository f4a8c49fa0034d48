"""Pages of folders and files, by keyset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import OperationalError, connections, router, transaction
from django.db.models import Q, QuerySet

from uploads.listing.cursor import Cursor
from uploads.listing.query import ListQuery
from uploads.models import File, Folder
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet

PAGE_SIZE = 50
MAX_MATCHING_FOLDERS = 10
STATEMENT_TIMEOUT_MS = 3_000
CANCELED = "57014"  # Postgres, appendix A: query_canceled
# what a row of a list shows, and nothing else
SHOWN = (
    "id", "series", "name", "folded", "folder_id", "visibility", "family", "size", "available_at", "purge_after",
    "owner__username",
)  # fmt: skip

Rows = TypeVar("Rows", bound="QuerySet[Any]")


class SearchTooBroad(Exception):
    """The database could not answer in the time that a page may take."""


class ListRow(NamedTuple):
    """A file as lists show it: plain values, since making fifty models costs more than asking for them."""

    pk: UUID
    series: UUID | None
    name: str
    folded: str
    folder_id: int | None
    visibility: str
    family: str
    size: int
    available_at: datetime
    purge_after: datetime | None
    owner: str

    @property
    def link(self) -> UUID:
        return self.series or self.pk


@dataclass(slots=True)
class Page:
    """Folders first, then files; `next` is the spot to go on from, None on the last page."""

    folders: list[Folder] = field(default_factory=list)
    more_folders: bool = False  # found by their name, and not all shown
    files: list[ListRow] = field(default_factory=list)
    next: Cursor | None = None
    column: str = "folded"  # by which the files are in order

    def take_folders(self, found: list[Folder]) -> None:
        """The first of these that fit; one more than fits tells that the list goes on."""
        self.folders = found[:PAGE_SIZE]
        if len(found) > PAGE_SIZE:
            self.next = Cursor(self.folders[-1].folded, self.folders[-1].pk)

    def take_files(self, found: list[tuple[Any, ...]], *, column: str, most: int) -> None:
        """Likewise, of rows with the columns of SHOWN."""
        self.column, self.files = column, [ListRow._make(row) for row in found[:most]]
        if len(found) > most:
            self.next = self.end()

    def end(self) -> Cursor | None:
        """The spot of the last row that the page shows."""
        if self.files:
            return Cursor(getattr(self.files[-1], self.column), self.files[-1].pk)
        return Cursor(self.folders[-1].folded, self.folders[-1].pk) if self.folders else None


def paginate(
    asked: ListQuery,
    *,
    files: FileQuerySet,
    folders: FolderQuerySet | None,
    columns: Mapping[str, str],
    after: Cursor | None,
) -> Page:
    """At most three queries. Raises SearchTooBroad when they take longer than a page may."""
    page = Page()
    with _statement_timeout():
        if folders is not None and asked.q:
            if after is None:
                _find_folders(page, folders)
        elif folders is not None and (after is None or after.among_folders):
            _list_folders(page, folders, asked, after)
        if page.next is None:
            _list_files(page, files, asked, columns[asked.column], after)
    return page


def _find_folders(page: Page, folders: FolderQuerySet) -> None:
    found = list(folders.order_by("folded", "id")[: MAX_MATCHING_FOLDERS + 1])
    page.folders, page.more_folders = found[:MAX_MATCHING_FOLDERS], len(found) > MAX_MATCHING_FOLDERS


def _list_folders(page: Page, folders: FolderQuerySet, asked: ListQuery, after: Cursor | None) -> None:
    """In the order of names, whatever the files are sorted by."""
    down = asked.sort == "-name"
    page.take_folders(list(after_cursor(folders, "folded", down=down, after=after)[: PAGE_SIZE + 1]))


def _list_files(page: Page, files: FileQuerySet, asked: ListQuery, column: str, after: Cursor | None) -> None:
    spot = after if after and not after.among_folders else None
    left = PAGE_SIZE - (0 if asked.q else len(page.folders))
    rows = after_cursor(files, column, down=asked.descending, after=spot)
    page.take_files(list(rows.values_list(*SHOWN)[: left + 1]), column=column, most=left)


def after_cursor(rows: Rows, column: str, *, down: bool, after: Cursor | None) -> Rows:
    """Ids run the same way as the column, as they do in the indexes."""
    sign, beyond = ("-", "lt") if down else ("", "gt")
    ordered: Rows = rows.order_by(f"{sign}{column}", f"{sign}id")
    if after is None:
        return ordered
    # the first condition alone lets Postgres start inside the index
    started = ordered.filter(**{f"{column}__{beyond}e": after.value})
    return started.filter(Q(**{f"{column}__{beyond}": after.value}) | Q(**{f"id__{beyond}": after.id}))


@contextmanager
def _statement_timeout() -> Iterator[None]:
    try:
        using = router.db_for_read(File)
        with transaction.atomic(using=using):
            with connections[using].cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}")
            yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != CANCELED:
            raise
        raise SearchTooBroad from error


def recheck_on_primary(page: Page, *, files: FileQuerySet, folders: FolderQuerySet) -> None:
    """Let the primary have the last word on every row of the page: what is gone by now, or closed to this person, is
    left out, and the rest told as it is. The replica had the search and the order; this costs two looks by key.

    The link to the next page tells of its last row, so it goes too when that row does."""
    rows = files.filter(pk__in=[file.pk for file in page.files]).values_list(*SHOWN) if page.files else []
    entries = {row[0]: ListRow(*row) for row in rows}
    known = folders.in_bulk([folder.pk for folder in page.folders]) if page.folders else {}
    end = page.end()
    page.files = [file for file in page.files if file.pk in entries]
    page.folders = [folder for folder in page.folders if folder.pk in known]
    if page.next and page.end() != end:
        page.next = page.end()
    page.files = [entries[file.pk] for file in page.files]
    page.folders = [known[folder.pk] for folder in page.folders]
