"""The selected files and folders of a list: ticked one by one, or all that its query matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _

from uploads.errors import ValidationFailed
from uploads.forms.fields import find_folder, parse_id
from uploads.forms.listing import parse_list_query
from uploads.listing import ListQuery, SearchTooBroad, files_for, folders_for, public_ids, search_timeout, trash_for
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet

MAX_SELECTED = 10_000
MAX_SELECTED_FOLDERS = 500


@dataclass(frozen=True, slots=True)
class Selection:
    """Permanent ids of the selected files, ids of the selected folders, and how many invalid ids were sent."""

    links: list[UUID]
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
        if not selection.links and not selection.folders and not selection.unusable:
            raise ValidationFailed(_("No files selected. Select at least one file and try again."))
        if len(selection.folders) > MAX_SELECTED_FOLDERS:
            raise ValidationFailed(
                _("You can select up to %(most)s folders at a time.") % {"most": MAX_SELECTED_FOLDERS}
            )
        if len(selection.links) > MAX_SELECTED:
            raise ValidationFailed(
                _("More than %(most)s files match. Narrow the list and work in smaller batches.")
                % {"most": f"{MAX_SELECTED:,}"}
            )
        return selection


def _ticked(texts: Iterable[str], folders: Iterable[str]) -> Selection:
    links: dict[UUID, None] = {}
    ids: dict[int, None] = {}
    unusable = 0
    for text in texts:
        try:
            links[UUID(text)] = None
        except ValueError:
            unusable += 1
    for text in folders:
        if pk := parse_id(text):
            ids[pk] = None
        else:
            unusable += 1
    return Selection(list(links), list(ids), unusable)


def _all(data: Mapping[str, str], user: User) -> Selection:
    list_query = parse_list_query(data.get("query", ""), user)
    files, folders = _all_rows(list_query, data, user)
    try:
        with search_timeout(list_query):
            return Selection(public_ids(files.order_by(), limit=MAX_SELECTED), _folder_ids(folders))
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
