"""The files that somebody chose on a list: ticked one by one, or all that the list holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.errors import ValidationFailed
from uploads.forms.listing import read_list_query
from uploads.listing import files_for, public_ids, trash_for
from uploads.models import Folder

MAX_SELECTED = 10_000
MAX_QUERY_CHARACTERS = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Permanent ids, and how many of what was sent are no ids at all."""

    links: list[UUID]
    unusable: int = 0

    @classmethod
    def read(cls, sent: Mapping[str, str], ticked: Iterable[str], user: User) -> Selection:
        """From the ticked ids, or, where `all` is set, from the `query`, `folder` and `place` of a list.

        Raises ValidationFailed for nothing, and for more than ten thousand.
        """
        choice = cls(_all(sent, user)) if sent.get("all") else _ticked(ticked)
        if not choice.links and not choice.unusable:
            raise ValidationFailed(_("No file is chosen. Tick some, and try again."))
        if len(choice.links) > MAX_SELECTED:
            raise ValidationFailed(
                _("More than %(most)s files match. Narrow the list, and go on in steps.")
                % {"most": f"{MAX_SELECTED:,}"}
            )
        return choice


def _ticked(texts: Iterable[str]) -> Selection:
    links: dict[UUID, None] = {}
    unusable = 0
    for text in texts:
        try:
            links[UUID(text)] = None
        except ValueError:
            unusable += 1
    return Selection(list(links), unusable)


def _all(sent: Mapping[str, str], user: User) -> list[UUID]:
    query = sent.get("query", "").removeprefix("?")
    if len(query) > MAX_QUERY_CHARACTERS:
        raise ValidationFailed(_("The list is not there any more. Open it again."))
    asked, notes = read_list_query(dict(parse_qsl(query)), user)
    if notes:  # a filter that fell away would choose more than was seen
        raise ValidationFailed(notes[0])
    if sent.get("place") == "trash":
        return public_ids(trash_for(user, asked), most=MAX_SELECTED)
    return public_ids(files_for(user, asked, _folder(sent.get("folder", ""), user)), most=MAX_SELECTED)


def _folder(text: str, user: User) -> Folder | None:
    if not text:
        return None
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    found = Folder.objects.visible_to(user).filter(pk=number).first()
    if found is None:
        raise ValidationFailed(_("The folder is not there any more. Open the library, and choose again."))
    return found
