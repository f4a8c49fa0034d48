"""The selected files of a list: ticked one by one, or all files that match its query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.errors import ValidationFailed
from uploads.forms.fields import find_folder
from uploads.forms.listing import read_list_query
from uploads.listing import files_for, public_ids, trash_for

MAX_SELECTED = 10_000
MAX_QUERY_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Permanent ids of the selected files, and how many invalid ids were sent."""

    links: list[UUID]
    unusable: int = 0

    @classmethod
    def read(cls, data: Mapping[str, str], ticked: Iterable[str], user: User) -> Selection:
        """Return the selection of the ticked ids or, if `all` is set, of the `query`, `folder` and `place` of a list.

        Raises ValidationFailed for an empty selection and for more than MAX_SELECTED files.
        """
        selection = cls(_all(data, user)) if data.get("all") else _ticked(ticked)
        if not selection.links and not selection.unusable:
            raise ValidationFailed(_("No files selected. Select at least one file and try again."))
        if len(selection.links) > MAX_SELECTED:
            raise ValidationFailed(
                _("More than %(most)s files match. Narrow the list and work in smaller batches.")
                % {"most": f"{MAX_SELECTED:,}"}
            )
        return selection


def _ticked(texts: Iterable[str]) -> Selection:
    links: dict[UUID, None] = {}
    unusable = 0
    for text in texts:
        try:
            links[UUID(text)] = None
        except ValueError:
            unusable += 1
    return Selection(list(links), unusable)


def _all(data: Mapping[str, str], user: User) -> list[UUID]:
    query = data.get("query", "").removeprefix("?")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValidationFailed(_("This list is no longer available. Open it again."))
    list_query, notes = read_list_query(dict(parse_qsl(query)), user)
    if notes:  # without the ignored filter, more files would be selected than were shown
        raise ValidationFailed(notes[0])
    if data.get("place") == "trash":
        return public_ids(trash_for(user, list_query), limit=MAX_SELECTED)
    missing = _("This folder no longer exists. Open the library and select the files again.")
    folder = find_folder(data.get("folder"), user, missing=missing)
    return public_ids(files_for(user, list_query, folder), limit=MAX_SELECTED)
