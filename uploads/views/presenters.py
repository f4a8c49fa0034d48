"""The rows of a list, formatted for templates. A page has fifty, so nothing here queries the database."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from uuid import UUID

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language

from uploads.listing import HIDDEN_NAME, ListRow
from uploads.models import Folder, Visibility
from uploads.templatetags.formatting import DateFormatter, filesize

EXAMPLE_ID = UUID(int=0)
SEPARATOR = " › "
CACHED_ROWS = 1_000  # of about 3 kB each

# Column, URL, language, day and time zone: what a formatted row depends on besides the file.
RowContext = tuple[str, tuple[str, str], str, date, str]


class FileRow(NamedTuple):
    link: UUID
    url: str
    name: str
    private: bool
    family: str
    size: str
    exact_size: str
    added: str
    exact: str
    iso: str
    by: str
    folder: str
    thumbnail: bool


@dataclass(slots=True)
class FolderRow:
    url: str
    name: str
    above: str
    restricted: bool


def file_rows(
    files: list[ListRow], *, column: str, paths: Mapping[int, list[tuple[int, str]]], thumbnails: Set[UUID]
) -> list[FileRow]:
    """Format files. `column` is the time that this list shows; `paths` are those of the folders to name."""
    row_context = (
        column,
        _url_parts("file", EXAMPLE_ID),
        get_language() or "",
        timezone.localdate(),
        timezone.get_current_timezone_name(),
    )
    return [
        _file_row(file, folder_path(paths.get(file.folder_id or 0, [])), file.pk in thumbnails, row_context)
        for file in files
    ]


def folder_rows(folders: list[Folder], *, paths: Mapping[int, list[tuple[int, str]]]) -> list[FolderRow]:
    before, after = _url_parts("folder", 0)
    return [
        FolderRow(
            f"{before}{folder.pk}{after}", folder.name, folder_path(paths.get(folder.pk, [])[:-1]), folder.restricted
        )
        for folder in folders
    ]


def folder_path(path: list[tuple[int, str]]) -> str:
    return SEPARATOR.join(name or HIDDEN_NAME for _id, name in path)


@functools.lru_cache(maxsize=CACHED_ROWS)
def _file_row(file: ListRow, folder: str, thumbnail: bool, row_context: RowContext) -> FileRow:
    """Format one file. Cached, because many users see the same first pages all day."""
    column, (before, after), _language, _day, _zone = row_context
    time, formatter = getattr(file, column), DateFormatter()
    return FileRow(
        link=file.link,
        url=f"{before}{file.link}{after}",
        name=file.name,
        private=file.visibility == Visibility.PRIVATE,
        family=file.family,
        size=filesize(file.size),
        exact_size=formatter.exact_bytes(file.size),
        added=formatter.when(time),
        exact=formatter.exact_time(time),
        iso=time.isoformat() if time else "",
        by=file.owner,
        folder=folder,
        thumbnail=thumbnail,
    )


def _url_parts(route: str, example: object) -> tuple[str, str]:
    """Return the URL of a route before and after the id, so that `reverse` runs once instead of fifty times."""
    before, after = reverse(route, args=[example]).split(str(example))
    return before, after
