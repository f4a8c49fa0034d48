"""The rows of a list, worded: a page has fifty of them, so nothing in here asks the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from uuid import UUID

from django.urls import reverse

from uploads.listing import UNTOLD, Entry
from uploads.models import Folder, Visibility
from uploads.templatetags.look import Teller, in_bytes

NOBODY = UUID(int=0)
STEP = " › "


@dataclass(slots=True)
class FileRow:
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
    files: list[Entry], *, column: str, folders: Mapping[int, list[tuple[int, str]]], thumbnails: Set[UUID]
) -> list[FileRow]:
    """`column` is the moment that counts in this list; `folders` the ways to those that are to be told."""
    address, teller = _addresses("file", NOBODY), Teller()
    return [_file_row(file, address, column, folders, file.pk in thumbnails, teller) for file in files]


def folder_rows(folders: list[Folder], *, ways: Mapping[int, list[tuple[int, str]]]) -> list[FolderRow]:
    address = _addresses("folder", 0)
    return [
        FolderRow(address(folder.pk), folder.name, way_in_words(ways.get(folder.pk, [])[:-1]), folder.restricted)
        for folder in folders
    ]


def way_in_words(way: list[tuple[int, str]]) -> str:
    return STEP.join(name or UNTOLD for _id, name in way)


def _file_row(
    file: Entry,
    address: Callable[[object], str],
    column: str,
    folders: Mapping[int, list[tuple[int, str]]],
    thumbnail: bool,
    teller: Teller,
) -> FileRow:
    moment = getattr(file, column)
    return FileRow(
        link=file.link,
        url=address(file.link),
        name=file.name,
        private=file.visibility == Visibility.PRIVATE,
        family=file.family,
        size=in_bytes(file.size),
        exact_size=teller.exact_bytes(file.size),
        added=teller.when(moment),
        exact=teller.exact_time(moment),
        iso=moment.isoformat() if moment else "",
        by=file.owner,
        folder=way_in_words(folders.get(file.folder_id or 0, [])),
        thumbnail=thumbnail,
    )


def _addresses(route: str, example: object) -> Callable[[object], str]:
    """Addresses of one route without asking the resolver fifty times."""
    before, after = reverse(route, args=[example]).split(str(example))
    return lambda pk: f"{before}{pk}{after}"
