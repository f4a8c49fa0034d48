"""The rows of a list, as its templates show them. Nothing here queries the database."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from uploads import names
from uploads.listing import HIDDEN_NAME, FolderSize, ListRow, Marks
from uploads.models import Folder, Visibility

EXAMPLE_ID = UUID(int=0)
SEPARATOR = " › "
EXCERPT_CHARACTERS = 160
EMPTY: Mapping[int, FolderSize] = {}
NO_TEXTS: Mapping[UUID, str] = {}
MAX_SHORT_CHARACTERS = 32  # of a name that lists show in one piece
MAX_TAIL_EXTENSION_CHARACTERS = 10
TAIL_CHARACTERS = 4  # before the extension
RIGHT_TO_LEFT = {"R", "AL"}  # bidirectional classes (Unicode Standard Annex 9)
JOINERS = {"\u200d", "\ufe0e", "\ufe0f", *map(chr, range(0x1F3FB, 0x1F400))}


class FileRow(NamedTuple):
    """A file. `parts` is its name, in parts that match the search or do not; empty if nothing does."""

    permanent_id: UUID
    url: str
    name: str
    private: bool
    quarantined: bool
    category: str
    size: int
    time: datetime | None
    by: str
    folder: str
    folder_url: str
    parts: tuple[tuple[str, bool], ...]
    in_text: bool  # whether the search matches the text of the file and not its name
    excerpt: tuple[tuple[str, bool], ...]  # of that text, in parts like the name
    thumbnail: bool
    shared: bool
    favorite: bool

    @property
    def split(self) -> dict[str, str]:
        """The name in two, as in `split_name`: computed for rows that are rendered, not for those from the cache."""
        return split_name(self.name)


class FolderRow(NamedTuple):
    pk: int
    url: str
    name: str
    parts: tuple[tuple[str, bool], ...]
    above: str
    above_url: str
    restricted: bool
    favorite: bool
    size: FolderSize | None = None


def file_rows(
    files: list[ListRow],
    *,
    column: str,
    paths: Mapping[int, list[tuple[int, str]]],
    marks: Marks,
    search: str = "",
    texts: Mapping[UUID, str] = NO_TEXTS,
    urls: tuple[str, str] | None = None,
) -> list[FileRow]:
    """Describe files. `column` is the time that this list shows; `paths` are those of the folders to name, with links.

    `texts` are those of the files that match the search by their text alone. `urls` is what comes before and after the
    id in their URLs, if these are not the members' pages.
    """
    before, after = urls or _url_parts("file", EXAMPLE_ID)
    folder_urls = _url_parts("folder", 0)
    return [
        FileRow(
            permanent_id=file.permanent_id,
            url=f"{before}{file.permanent_id}{after}",
            name=file.name,
            private=file.visibility == Visibility.PRIVATE,
            quarantined=file.quarantined,
            category=file.category,
            size=file.size,
            time=getattr(file, column),
            by=file.owner,
            folder=folder_path(paths.get(file.folder_id or 0, [])),
            folder_url=_last_url(paths.get(file.folder_id or 0, []), folder_urls),
            parts=name_parts(file.name, search),
            in_text=file.pk in texts,
            excerpt=_excerpt_parts(texts.get(file.pk, ""), search),
            thumbnail=file.pk in marks.thumbnails,
            shared=file.permanent_id in marks.shared,
            favorite=file.permanent_id in marks.favorites,
        )
        for file in files
    ]


def folder_rows(
    folders: list[Folder],
    *,
    paths: Mapping[int, list[tuple[int, str]]],
    sizes: Mapping[int, FolderSize] = EMPTY,
    search: str = "",
    urls: tuple[str, str] | None = None,
) -> list[FolderRow]:
    folder_urls = _url_parts("folder", 0)
    before, after = urls or folder_urls
    return [
        FolderRow(
            pk=folder.pk,
            url=f"{before}{folder.pk}{after}",
            name=folder.name,
            parts=name_parts(folder.name, search),
            above=folder_path(paths.get(folder.pk, [])[:-1]),
            above_url=_last_url(paths.get(folder.pk, [])[:-1], folder_urls),
            restricted=folder.restricted,
            favorite=getattr(folder, "is_favorite", False),  # lists of the user have it
            size=sizes.get(folder.pk),
        )
        for folder in folders
    ]


def split_name(name: str) -> dict[str, str]:
    """Return the `stem` of a long name, which lists can shorten, and its `tail` with the extension, which they do not.

    Short names have no tail, and neither have names with letters from right to left: the order in which these are
    drawn depends on the whole name. Characters that are drawn as one stay together.
    """
    if len(name) <= MAX_SHORT_CHARACTERS or any(unicodedata.bidirectional(letter) in RIGHT_TO_LEFT for letter in name):
        return {"stem": name, "tail": ""}
    dot = name.rfind(".")
    cut = (dot if len(name) - dot <= MAX_TAIL_EXTENSION_CHARACTERS else len(name)) - TAIL_CHARACTERS
    while cut and (name[cut] in JOINERS or name[cut - 1] == "\u200d" or unicodedata.category(name[cut])[0] == "M"):
        cut -= 1
    return {"stem": name[:cut], "tail": name[cut:]} if cut else {"stem": name, "tail": ""}


def rows_cache_keys(*rows: object) -> dict[str, str]:
    """Return `rows_digest`, a digest of everything that the HTML of these rows depends on, and `local_date`, the time
    zone with its date, which is what a row alone does not have of that.

    They are keys in the fragment caches of lists and of rows: rendering them is most of a list's CPU time, and most
    people of a team see the same rows. Equal rows have equal HTML, so a cached part is never stale, and users
    only get rows that they may see.
    """
    local_date = f"{timezone.get_current_timezone_name()} {timezone.localdate()}"
    digest = hashlib.sha256(repr((local_date, rows)).encode()).hexdigest()
    return {"rows_digest": digest, "local_date": local_date}


def name_parts(name: str, search: str, *, words: bool = False) -> tuple[tuple[str, bool], ...]:
    """Return the name in parts, each with whether the search matches it; empty if no part does.

    With `words`, only the beginnings of words match.
    """
    parts, last = [], 0
    for start, end in names.matched_ranges(name, search, words=words) if search else ():
        parts += [(name[last:start], False), (name[start:end], True)]
        last = end
    return (*parts, (name[last:], False)) if parts else ()


def _excerpt_parts(text: str, search: str) -> tuple[tuple[str, bool], ...]:
    excerpt = names.matched_excerpt(text, search, characters=EXCERPT_CHARACTERS) if text else ""
    return name_parts(excerpt, search, words=True)


def _last_url(path: list[tuple[int, str]], urls: tuple[str, str]) -> str:
    """Return the URL of the folder that a path leads to; empty for one whose name the user may not see."""
    return f"{urls[0]}{path[-1][0]}{urls[1]}" if path and path[-1][1] else ""


def folder_path(path: list[tuple[int, str]]) -> str:
    return SEPARATOR.join(name or HIDDEN_NAME for _id, name in path)


def _url_parts(route: str, example: object) -> tuple[str, str]:
    """Return the URL of a route before and after the id, so that `reverse` runs once instead of fifty times."""
    before, after = reverse(route, args=[example]).split(str(example))
    return before, after
