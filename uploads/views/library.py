"""The library: folders, tags and search results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.humanize.templatetags.humanize import intword
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from amalga.db import replica
from uploads import listing
from uploads.forms import read_list_query
from uploads.listing import Cursor, InvalidCursor, ListQuery, Page, SearchTooBroad
from uploads.models import Category, Change, Figure, Folder, Kind, PreviewKind, Tag
from uploads.models.preview import ids_with_thumbnail
from uploads.models.sidebar import Sidebar, load_sidebar
from uploads.services import folders
from uploads.views.presenters import file_rows, folder_path, folder_rows
from uploads.views.responses import request_user

MAX_TAGS = 2_000


@require_safe
def library(request: HttpRequest) -> HttpResponse:
    """The top: its folders, the files that are in none, and the whole library for who looks for something."""
    user = request_user(request)
    if not user.has_perm("uploads.view_file"):
        return render(request, "uploads/no_role.html")
    may_add = user.has_perm("uploads.add_file")
    context = browse(request, ListScope(reverse("library"))) | {"may_add": may_add, "title": _("Library")}
    return render(request, "uploads/library.html", context)


@require_safe
def folder(request: HttpRequest, pk: int) -> HttpResponse:
    """What is in a folder."""
    user = request_user(request)
    found = get_object_or_404(Folder.objects.visible_to(user), pk=pk)
    context = browse(request, ListScope(found.get_absolute_url(), found))
    context |= {"folder": found, "title": found.name, "crumbs": breadcrumbs(user, found), **rights(user, found)}
    return render(request, "uploads/library.html", context)


@require_safe
def tags(request: HttpRequest) -> HttpResponse:
    """All tags with how many files have them, as of now: kept figures and what was noted since."""
    if not request_user(request).has_perm("uploads.view_file"):
        return render(request, "uploads/no_role.html")
    counts: dict[str, int] = {}
    for model in (Figure, Change):
        for key, files in model.objects.filter(kind=Kind.TAG).values_list("key").annotate(Sum("files")):
            counts[key] = counts.get(key, 0) + files
    tags = list(Tag.objects.all()[: MAX_TAGS + 1])
    told = [(tag.name, max(0, counts.get(str(tag.pk), 0))) for tag in tags[:MAX_TAGS]]
    return render(request, "uploads/tags.html", {"tags": told, "more": len(tags) > MAX_TAGS})


def rights(user: User, found: Folder) -> dict[str, Any]:
    """What this person may do with a folder."""
    manages = Folder.objects.managed_by(user).filter(pk=found.pk).exists()
    return {
        "may_add": Folder.objects.writable_by(user).filter(pk=found.pk).exists(),
        "can_edit": manages or folders.can_edit(found, user),
        "may_manage": manages,
    }


MAX_CHOICES = 100
SORTABLE = ("name", "size", "added")


@dataclass(frozen=True, slots=True)
class ListScope:
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


def browse(request: HttpRequest, place: ListScope) -> dict[str, Any]:
    """The context of a page with a list. A cursor that nobody made is a 404, any other nonsense is told."""
    user = request_user(request)
    asked, notes = read_list_query(request.GET, user)
    try:
        after = Cursor.read(request.GET.get("after", ""), place.columns[asked.column])
    except InvalidCursor as error:
        raise Http404 from error
    page, too_broad = _page(user, asked, place, after)
    first_url = place.url + asked.address() if after else None
    # whoever may not look around learns of no people and no tags
    most = MAX_CHOICES + 1 if user.has_perm("uploads.view_file") else 0
    around = load_sidebar(user, most, _format_count(asked, place))
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
        "said": _count_label(page, around.files, whole=not after and not page.next),
        **_rows(user, asked, place, page),
        **_tools(asked, place, around),
    }


def _page(user: User, asked: ListQuery, place: ListScope, after: Cursor | None) -> tuple[Page, bool]:
    """The page, or an empty one and that too much was asked for."""
    try:
        page, by_replica = replica.read_from_replica(partial(_read_page, user, asked, place, after))
    except SearchTooBroad:
        return Page(), True
    if by_replica:
        files = listing.trash_for(user, asked) if place.trash else listing.files_for(user, asked, place.folder)
        listing.recheck_on_primary(page, files=files, folders=Folder.objects.visible_to(user))
    return page, False


def _read_page(user: User, asked: ListQuery, place: ListScope, after: Cursor | None) -> Page:
    if not place.trash and listing.is_plain(asked, place.folder):
        return listing.plain_page(user, asked, place.folder, after)
    files = listing.trash_for(user, asked) if place.trash else listing.files_for(user, asked, place.folder)
    wanted = not place.trash and (asked.q or not asked.narrows) and not (asked.below and not asked.q)
    folders = listing.folders_for(user, asked, place.folder) if wanted else None
    return listing.paginate(asked, files=files, folders=folders, columns=place.columns, after=after)


def _rows(user: User, asked: ListQuery, place: ListScope, page: Page) -> dict[str, Any]:
    scattered = asked.deep or place.trash
    ids = {file.folder_id for file in page.files if file.folder_id} if scattered else set()
    found = {folder.pk for folder in page.folders} if asked.q else set()
    ways = listing.breadcrumbs_for(user, ids | found) if ids or found else {}
    column = place.columns["added"]
    shown = thumbnails([file.pk for file in page.files]) if not place.trash else set()
    return {
        "folders": folder_rows(page.folders, ways=ways),
        "files": file_rows(page.files, column=column, folders=ways, thumbnails=shown),
    }


def thumbnails(files: list[UUID]) -> set[UUID]:
    """Which of these files have a small picture."""
    return ids_with_thumbnail(files, PreviewKind.THUMBNAIL)


def _tools(asked: ListQuery, place: ListScope, around: Sidebar) -> dict[str, Any]:
    """The filters and the links that change the order, as the templates need them."""
    people, tags = around.people, around.tags
    return {
        "families": Category.choices,
        "sizes": [(value, told[0]) for value, told in listing.SIZE_FILTERS.items()],
        "times": [(value, told[0]) for value, told in listing.AGE_FILTERS.items()],
        "people": people if len(people) <= MAX_CHOICES else None,
        "tags": tags if len(tags) <= MAX_CHOICES else None,
        "sort_urls": {column: place.url + asked.address(sort=_toggle_sort(asked, column)) for column in SORTABLE},
        "other_view_url": place.url + asked.address(view="" if asked.grid else "grid"),
        "clear_url": place.url + ListQuery(sort=asked.sort, grid=asked.grid).address(),
        "deeper_url": place.url + asked.address(below="0" if asked.deep else "1"),
    }


def _toggle_sort(asked: ListQuery, column: str) -> str:
    """A second click turns the order; names begin with a, sizes and times with the largest."""
    if asked.column == column:
        return column if asked.descending else f"-{column}"
    return column if column == "name" else f"-{column}"


def breadcrumbs(user: User, folder: Folder | None) -> list[dict[str, str]]:
    """The way up; a folder above whose name this person may not know has no address."""
    if folder is None:
        return []
    way = listing.breadcrumbs_for(user, [folder.pk]).get(folder.pk, [])
    return [{"name": name, "url": reverse("folder", args=[pk]) if name else ""} for pk, name in way]


def full_name(user: User, folder: Folder) -> str:
    return folder_path(listing.breadcrumbs_for(user, [folder.pk]).get(folder.pk, []))


def _count_label(page: Page, kept: int | None, *, whole: bool) -> str:
    """How much there is: exactly where the page shows all of it, roughly where a figure is kept, else nothing."""
    if whole:
        folders = ngettext("%(count)s folder", "%(count)s folders", len(page.folders)) % {"count": len(page.folders)}
        files = ngettext("%(count)s file", "%(count)s files", len(page.files)) % {"count": len(page.files)}
        return ", ".join(text for text, some in ((folders, page.folders), (files, page.files)) if some)
    return _("about %(count)s files") % {"count": approximate(kept)} if kept and kept > len(page.files) else ""


def _format_count(asked: ListQuery, place: ListScope) -> tuple[str, str] | None:
    """The kept figure that tells how much this list holds, if there is one."""
    if asked.narrows or place.trash or (asked.deep and place.folder):
        return None
    return (Kind.TOTAL, "") if asked.deep else (Kind.FOLDER, str(place.folder.pk if place.folder else 0))


def approximate(count: int) -> str:
    """Two digits of it: “1.2 million”, “340”, “12,000”."""
    rounded = round(count, 2 - len(str(count)))
    return str(intword(rounded)) if rounded >= 1_000_000 else number_format(rounded, force_grouping=True)
