"""The rows of a list, worded: a page has fifty of them, so nothing in here asks the database."""

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

NO_OWNER = UUID(int=0)
STEP = " › "
KEPT = 1_000  # rows, of some three kilobytes

# Column, address, language, day and zone: what the words of a row depend on beside the file.
Said = tuple[str, tuple[str, str], str, date, str]


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
    files: list[ListRow], *, column: str, folders: Mapping[int, list[tuple[int, str]]], thumbnails: Set[UUID]
) -> list[FileRow]:
    """`column` is the moment that counts in this list; `folders` the ways to those that are to be told."""
    said = (
        column,
        _addresses("file", NO_OWNER),
        get_language() or "",
        timezone.localdate(),
        timezone.get_current_timezone_name(),
    )
    return [
        _file_row(file, folder_path(folders.get(file.folder_id or 0, [])), file.pk in thumbnails, said)
        for file in files
    ]


def folder_rows(folders: list[Folder], *, ways: Mapping[int, list[tuple[int, str]]]) -> list[FolderRow]:
    before, after = _addresses("folder", 0)
    return [
        FolderRow(
            f"{before}{folder.pk}{after}", folder.name, folder_path(ways.get(folder.pk, [])[:-1]), folder.restricted
        )
        for folder in folders
    ]


def folder_path(way: list[tuple[int, str]]) -> str:
    return STEP.join(name or HIDDEN_NAME for _id, name in way)


@functools.lru_cache(maxsize=KEPT)
def _file_row(file: ListRow, folder: str, thumbnail: bool, said: Said) -> FileRow:
    """The first pages of a library are the same for many people, and say the same all day."""
    column, (before, after), _language, _day, _zone = said
    moment, teller = getattr(file, column), DateFormatter()
    return FileRow(
        link=file.link,
        url=f"{before}{file.link}{after}",
        name=file.name,
        private=file.visibility == Visibility.PRIVATE,
        family=file.family,
        size=filesize(file.size),
        exact_size=teller.exact_bytes(file.size),
        added=teller.when(moment),
        exact=teller.exact_time(moment),
        iso=moment.isoformat() if moment else "",
        by=file.owner,
        folder=folder,
        thumbnail=thumbnail,
    )


def _addresses(route: str, example: object) -> tuple[str, str]:
    """What stands before and after the id in the addresses of one route: the resolver is not asked fifty times."""
    before, after = reverse(route, args=[example]).split(str(example))
    return before, after
