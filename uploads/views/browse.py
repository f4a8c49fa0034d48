"""What the pages with lists show: the list itself, the way back up, the filters, and how much there is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.humanize.templatetags.humanize import intword
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from amalga import replica
from uploads import listing
from uploads.forms import read_list
from uploads.listing import Asked, BadSpot, Page, Spot, TooBroad
from uploads.models import Family, Folder, Kind, Look
from uploads.models.around import Around, look_around
from uploads.models.preview import with_picture
from uploads.views.people import signed_in
from uploads.views.rows import file_rows, folder_rows, way_in_words

MOST_OFFERED = 100
SORTABLE = ("name", "size", "added")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list stands: at the top, in a folder, or in the trash."""

    url: str
    folder: Folder | None = None
    trash: bool = False

    @property
    def columns(self) -> dict[str, str]:
        return listing.TRASH_COLUMNS if self.trash else listing.COLUMNS

    @property
    def linked(self) -> bool:
        """Whether its files have pages."""
        return not self.trash


def browse(request: HttpRequest, place: Place) -> dict[str, Any]:
    """The context of a page with a list. A cursor that nobody made is a 404, any other nonsense is told."""
    user = signed_in(request)
    asked, notes = read_list(request.GET, user)
    try:
        after = Spot.read(request.GET.get("after", ""), place.columns[asked.column])
    except BadSpot as error:
        raise Http404 from error
    page, too_broad = _page(user, asked, place, after)
    first_url = place.url + asked.address() if after else None
    # whoever may not look around learns of no people and no tags
    most = MOST_OFFERED + 1 if user.has_perm("uploads.view_file") else 0
    around = look_around(user, most, _figure(asked, place))
    return {
        "asked": asked,
        "place": place,
        "notes": notes,
        "too_broad": too_broad,
        "page": page,
        "next_url": place.url + asked.address(after=str(page.next)) if page.next else None,
        "first_url": first_url,
        "many": bool(page.next or after),
        "query": asked.address(),
        "unfinished_count": around.unfinished,
        "said": _said(page, around.files, whole=not after and not page.next),
        **_rows(user, asked, place, page),
        **_tools(asked, place, around),
    }


def _page(user: User, asked: Asked, place: Place, after: Spot | None) -> tuple[Page, bool]:
    """The page, or an empty one and that too much was asked for."""
    try:
        page, by_replica = replica.elsewhere(partial(_found, user, asked, place, after))
    except TooBroad:
        return Page(), True
    if by_replica:
        files = listing.trash_for(user, asked) if place.trash else listing.files_for(user, asked, place.folder)
        listing.confirm(page, files=files, folders=Folder.objects.visible_to(user))
    return page, False


def _found(user: User, asked: Asked, place: Place, after: Spot | None) -> Page:
    if not place.trash and listing.is_plain(asked, place.folder):
        return listing.plain_page(user, asked, place.folder, after)
    files = listing.trash_for(user, asked) if place.trash else listing.files_for(user, asked, place.folder)
    wanted = not place.trash and (asked.q or not asked.narrows) and not (asked.below and not asked.q)
    folders = listing.folders_for(user, asked, place.folder) if wanted else None
    return listing.page_of(asked, files=files, folders=folders, columns=place.columns, after=after)


def _rows(user: User, asked: Asked, place: Place, page: Page) -> dict[str, Any]:
    scattered = asked.deep or place.trash
    ids = {file.folder_id for file in page.files if file.folder_id} if scattered else set()
    found = {folder.pk for folder in page.folders} if asked.q else set()
    ways = listing.names_for(user, ids | found) if ids or found else {}
    column = place.columns["added"]
    shown = thumbnails([file.pk for file in page.files]) if not place.trash else set()
    return {
        "folders": folder_rows(page.folders, ways=ways),
        "files": file_rows(page.files, column=column, folders=ways, thumbnails=shown),
    }


def thumbnails(files: list[UUID]) -> set[UUID]:
    """Which of these files have a small picture."""
    return with_picture(files, Look.THUMBNAIL)


def _tools(asked: Asked, place: Place, around: Around) -> dict[str, Any]:
    """The filters and the links that change the order, as the templates need them."""
    people, tags = around.people, around.tags
    return {
        "families": Family.choices,
        "sizes": [(value, told[0]) for value, told in listing.SIZES.items()],
        "times": [(value, told[0]) for value, told in listing.ADDED.items()],
        "people": people if len(people) <= MOST_OFFERED else None,
        "tags": tags if len(tags) <= MOST_OFFERED else None,
        "sort_urls": {column: place.url + asked.address(sort=_turned(asked, column)) for column in SORTABLE},
        "other_view_url": place.url + asked.address(view="" if asked.grid else "grid"),
        "clear_url": place.url + Asked(sort=asked.sort, grid=asked.grid).address(),
        "deeper_url": place.url + asked.address(below="0" if asked.deep else "1"),
    }


def _turned(asked: Asked, column: str) -> str:
    """A second click turns the order; names begin with a, sizes and times with the largest."""
    if asked.column == column:
        return column if asked.descending else f"-{column}"
    return column if column == "name" else f"-{column}"


def crumbs(user: User, folder: Folder | None) -> list[dict[str, str]]:
    """The way up; a folder above whose name this person may not know has no address."""
    if folder is None:
        return []
    way = listing.names_for(user, [folder.pk]).get(folder.pk, [])
    return [{"name": name, "url": reverse("folder", args=[pk]) if name else ""} for pk, name in way]


def full_name(user: User, folder: Folder) -> str:
    return way_in_words(listing.names_for(user, [folder.pk]).get(folder.pk, []))


def _said(page: Page, kept: int | None, *, whole: bool) -> str:
    """How much there is: exactly where the page shows all of it, roughly where a figure is kept, else nothing."""
    if whole:
        folders = ngettext("%(count)s folder", "%(count)s folders", len(page.folders)) % {"count": len(page.folders)}
        files = ngettext("%(count)s file", "%(count)s files", len(page.files)) % {"count": len(page.files)}
        return ", ".join(text for text, some in ((folders, page.folders), (files, page.files)) if some)
    return _("about %(count)s files") % {"count": roughly(kept)} if kept and kept > len(page.files) else ""


def _figure(asked: Asked, place: Place) -> tuple[str, str] | None:
    """The kept figure that tells how much this list holds, if there is one."""
    if asked.narrows or place.trash or (asked.deep and place.folder):
        return None
    return (Kind.TOTAL, "") if asked.deep else (Kind.FOLDER, str(place.folder.pk if place.folder else 0))


def roughly(count: int) -> str:
    """Two digits of it: “1.2 million”, “340”, “12,000”."""
    rounded = round(count, 2 - len(str(count)))
    return str(intword(rounded)) if rounded >= 1_000_000 else number_format(rounded, force_grouping=True)
