"""What a list sends: its query string, and the files and folders that are selected in it.

Of a query string, invalid parameters are ignored, with a note for the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _

from uploads import names
from uploads.errors import ValidationFailed
from uploads.forms.fields import find_folder, parse_id
from uploads.listing import (
    AGE_FILTERS,
    SHOW_FILTERS,
    SIZE_FILTERS,
    SORTS,
    ListQuery,
    SearchTooBroad,
    files_for,
    folders_for,
    permanent_ids,
    search_timeout,
    trash_for,
)
from uploads.models import Category, Tag
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet

MAX_SEARCH_CHARACTERS = 200
MAX_WORDS = 10
MAX_ECHOED_CHARACTERS = 60
MAX_QUERY_CHARACTERS = 10_000
MAX_SELECTED = 10_000
MAX_SELECTED_FOLDERS = 500

T = TypeVar("T")


def read_list_query(params: Mapping[str, str], user: User) -> tuple[ListQuery, list[str]]:
    """Return the query, and a message about each invalid parameter. Users and tags that this user may not see get the
    same message as those that do not exist."""
    reader = _Reader(params)
    query = ListQuery(
        q=reader.search(),
        show=reader.choice("show", SHOW_FILTERS),
        category=reader.choice("type", Category.values),
        owner=reader.lookup("owner", partial(_owner, user), _("No user named “%(value)s”.")),
        tag=reader.lookup("tag", partial(_tag, user), _("No tag named “%(value)s”.")),
        size=reader.choice("size", SIZE_FILTERS),
        added=reader.choice("added", AGE_FILTERS),
        subfolders={"1": True, "0": False}.get(reader.choice("subfolders", ("0", "1"))),
        sort=reader.choice("sort", SORTS) or SORTS[0],
        grid=reader.choice("view", ("table", "grid")) == "grid",
    )
    return query, reader.notes


def parse_list_query(text: str, user: User) -> ListQuery:
    """Return the query of the list at an address with this query string.

    Raises ValidationFailed if a parameter is invalid: without it, the list would show more than the user has seen.
    """
    if len(text) > MAX_QUERY_CHARACTERS:
        raise ValidationFailed(_("This list is no longer available. Open it again."))
    query, notes = read_list_query(dict(parse_qsl(text.removeprefix("?"))), user)
    if notes:
        raise ValidationFailed(notes[0])
    return query


class _Reader:
    def __init__(self, params: Mapping[str, str]) -> None:
        self.params = params
        self.notes: list[str] = []

    def text(self, name: str) -> str:
        return str(self.params.get(name) or "").replace("\x00", "").strip()

    def search(self) -> str:
        text = self.text("q")
        search = " ".join(text[:MAX_SEARCH_CHARACTERS].split()[:MAX_WORDS])
        if len(search) < len(" ".join(text.split())):
            self.notes.append(_("Your search is too long. Only the first part was used."))
        return self._without_symbols(search)

    def _without_symbols(self, search: str) -> str:
        """Return the words with a letter or digit: the index of names has no others, so they would read all names."""
        words = search.split()
        usable = [word for word in words if any(map(str.isalnum, names.normalize_for_search(word)))]
        if len(usable) < len(words):
            ignored = " ".join(word for word in words if word not in usable)
            self.notes.append(
                _("Ignored “%(word)s” in your search. Search for words with letters or digits.")
                % {"word": ignored[:MAX_ECHOED_CHARACTERS]}
            )
        return " ".join(usable)

    def choice(self, name: str, values: object) -> str:
        text = self.text(name)
        if not text or text in values:  # type: ignore[operator]
            return text
        self.notes.append(
            _("Ignored invalid value “%(value)s” for “%(name)s”.")
            % {"value": text[:MAX_ECHOED_CHARACTERS], "name": name}
        )
        return ""

    def lookup(self, name: str, find: Callable[[str], T | None], message: str) -> T | None:
        text = self.text(name)
        if not text:
            return None
        if len(text) <= names.MAX_CHARACTERS and (match := find(text)) is not None:
            return match
        self.notes.append(message % {"value": text[:MAX_ECHOED_CHARACTERS]})
        return None


def _owner(user: User, text: str) -> User | None:
    rows = User.objects.filter(username=text)
    return (rows if user.has_perm("uploads.view_file") else rows.filter(pk=user.pk)).first()


def _tag(user: User, text: str) -> Tag | None:
    rows = Tag.objects.filter(normalized_name=names.normalize_for_search(text))
    return (rows if user.has_perm("uploads.view_file") else rows.filter(taggings__file__owner=user)).first()


# --- the selection: rows that are ticked one by one, or all that the query matches ----------------


@dataclass(frozen=True, slots=True)
class Selection:
    """Permanent ids of the selected files, ids of the selected folders, and how many invalid ids were sent."""

    file_ids: list[UUID]
    folders: list[int] = field(default_factory=list)
    unusable: int = 0

    @classmethod
    def read(cls, data: MultiValueDict[str, str], user: User) -> Selection:
        """Return the selection of the ids in `file` and `folders` or, if `all` is set, of the `query`, `folder` and
        `place` of a list.

        Raises ValidationFailed for an empty selection, for more than MAX_SELECTED files or folders, and for a search
        that takes too long.
        """
        selection = _all(data, user) if data.get("all") else _ticked(data.getlist("file"), data.getlist("folders"))
        if not selection.file_ids and not selection.folders and not selection.unusable:
            raise ValidationFailed(_("No files selected. Select at least one file and try again."))
        if len(selection.folders) > MAX_SELECTED_FOLDERS:
            raise ValidationFailed(
                _("You can select up to %(most)s folders at a time.") % {"most": MAX_SELECTED_FOLDERS}
            )
        if len(selection.file_ids) > MAX_SELECTED:
            raise ValidationFailed(
                _("More than %(most)s files match. Narrow the list and work in smaller batches.")
                % {"most": f"{MAX_SELECTED:,}"}
            )
        return selection


def _ticked(texts: Iterable[str], folders: Iterable[str]) -> Selection:
    file_ids: dict[UUID, None] = {}
    ids: dict[int, None] = {}
    unusable = 0
    for text in texts:
        try:
            file_ids[UUID(text)] = None
        except ValueError:
            unusable += 1
    for text in folders:
        if pk := parse_id(text):
            ids[pk] = None
        else:
            unusable += 1
    return Selection(list(file_ids), list(ids), unusable)


def _all(data: Mapping[str, str], user: User) -> Selection:
    list_query = parse_list_query(data.get("query", ""), user)
    files, folders = _all_rows(list_query, data, user)
    try:
        with search_timeout(list_query):
            return Selection(permanent_ids(files.order_by(), limit=MAX_SELECTED), _folder_ids(folders))
    except SearchTooBroad as error:
        raise ValidationFailed(_("This search takes too long. Add a word to it, or choose a filter.")) from error


def _all_rows(list_query: ListQuery, data: Mapping[str, str], user: User) -> tuple[FileQuerySet, FolderQuerySet | None]:
    if data.get("place") == "trash":
        return trash_for(user, list_query), folders_for(user, list_query, None, trash=True)
    missing = _("This folder no longer exists. Open the library and select the files again.")
    folder = find_folder(data.get("folder"), user, missing=missing)
    files = files_for(user, list_query, folder)
    # a search lists folders as a way to open them; “all” means its files
    return files, None if list_query.recursive else folders_for(user, list_query, folder)


def _folder_ids(rows: FolderQuerySet | None) -> list[int]:
    if rows is None:
        return []
    return list(rows.order_by("natural_name", "id").values_list("pk", flat=True)[: MAX_SELECTED_FOLDERS + 1])
