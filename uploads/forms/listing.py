"""The address of a list, read kindly: what makes no sense is left out, and the page says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads import names
from uploads.listing import AGE_FILTERS, SIZE_FILTERS, SORTS, ListQuery
from uploads.models import Category, Tag

MAX_SEARCH_CHARACTERS = 200
MAX_WORDS = 10
MAX_ECHOED_CHARACTERS = 60

T = TypeVar("T")


def read_list_query(params: Mapping[str, str], user: User) -> tuple[ListQuery, list[str]]:
    """What the parameters ask for, and a sentence about each of them that could not be used. Names that this person may
    not know get the same message as names that do not exist."""
    reader = _Reader(params)
    asked = ListQuery(
        q=reader.search(),
        family=reader.one_of("type", Category.values),
        owner=reader.found("owner", partial(_owner, user), _("Nobody here is called “%(value)s”.")),
        tag=reader.found("tag", partial(_tag, user), _("There is no tag “%(value)s”.")),
        size=reader.one_of("size", SIZE_FILTERS),
        added=reader.one_of("added", AGE_FILTERS),
        below={"1": True, "0": False}.get(reader.one_of("below", ("0", "1"))),
        sort=reader.one_of("sort", SORTS) or SORTS[0],
        grid=reader.one_of("view", ("table", "grid")) == "grid",
    )
    return asked, reader.notes


class _Reader:
    def __init__(self, params: Mapping[str, str]) -> None:
        self.params = params
        self.notes: list[str] = []

    def text(self, name: str) -> str:
        return str(self.params.get(name) or "").replace("\x00", "").strip()

    def search(self) -> str:
        text = self.text("q")
        short = " ".join(text[:MAX_SEARCH_CHARACTERS].split()[:MAX_WORDS])
        if len(short) < len(" ".join(text.split())):
            self.notes.append(_("The search was too long: only its beginning counts."))
        return short

    def one_of(self, name: str, values: object) -> str:
        text = self.text(name)
        if not text or text in values:  # type: ignore[operator]
            return text
        self.notes.append(
            _("“%(value)s” is nothing that “%(name)s” can be; it was left out.")
            % {"value": text[:MAX_ECHOED_CHARACTERS], "name": name}
        )
        return ""

    def found(self, name: str, find: Callable[[str], T | None], complaint: str) -> T | None:
        text = self.text(name)
        if not text:
            return None
        if len(text) <= names.MAX_CHARACTERS and (thing := find(text)) is not None:
            return thing
        self.notes.append(complaint % {"value": text[:MAX_ECHOED_CHARACTERS]})
        return None


def _owner(user: User, text: str) -> User | None:
    rows = User.objects.filter(username=text)
    return (rows if user.has_perm("uploads.view_file") else rows.filter(pk=user.pk)).first()


def _tag(user: User, text: str) -> Tag | None:
    rows = Tag.objects.filter(folded=names.normalize_for_search(text))
    return (rows if user.has_perm("uploads.view_file") else rows.filter(taggings__file__owner=user)).first()
