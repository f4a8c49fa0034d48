"""The library: folders, tags and search results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.humanize.templatetags.humanize import intword
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from amalga.db import replica
from uploads import actions, listing, names
from uploads.actions.base import count_files, count_folders
from uploads.forms import read_list_query
from uploads.listing import Cursor, FolderRights, InvalidCursor, ListQuery, Page, SearchTooBroad, Sidebar
from uploads.models import (
    Category,
    Event,
    Favorite,
    FileContent,
    Folder,
    Statistic,
    StatisticDelta,
    StatisticKind,
    Tag,
)
from uploads.views.presenters import file_rows, folder_rows, rows_cache_keys
from uploads.views.responses import FieldError, render_page, request_user
from uploads.views.web_app import add_share_message

MAX_TAGS = 2_000
MAX_CHOICES = 100
MAX_START_DIGITS = 9
COOKIE_SECONDS = 365 * 24 * 3600
SORTABLE = ("name", "size", "added")


@require_safe
def library(request: HttpRequest) -> HttpResponse:
    """Show the top level: its folders and files, or the whole library for a search."""
    add_share_message(request)
    if not request_user(request).has_perm("uploads.view_file"):
        return render(request, "uploads/no_role.html")
    return library_page(request, None)


@require_safe
def folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the contents of a folder."""
    return library_page(request, get_object_or_404(Folder.objects.visible_to(request.user), pk=pk))


def library_page(request: HttpRequest, folder: Folder | None, field_error: FieldError | None = None) -> HttpResponse:
    """Return the page of the top level or of a folder that the user may see."""
    user = request_user(request)
    if folder is None:
        show_onboarding = (
            user.has_perm("uploads.manage_people") and settings.ONBOARDING_COOKIE_NAME not in request.COOKIES
        )
        may_add = user.has_perm("uploads.add_file")
        context = browse(request, ListScope(reverse("library"))) | {"may_add": may_add}
        context["title"] = listing.SHOW_FILTERS.get(context["list_query"].show, _("Library"))
        context |= {"show_onboarding": show_onboarding and not context["list_query"].has_filters}
    else:
        context = browse(request, ListScope(folder.get_absolute_url(), folder))
        rights = FolderRights(user, folder.path)
        context |= {"folder": folder, "title": folder.name, "crumbs": _fillable_crumbs(folder, rights)}
        context |= _folder_rights(user, folder, rights)
        context["is_favorite"] = Favorite.objects.of(user).filter(folder=folder).exists()
    response = render_page(request, "uploads/library.html", context, field_error)
    if request.GET.get("view") in {"grid", "table"}:
        _remember(response, settings.VIEW_COOKIE_NAME, request.GET["view"])
    query = context["list_query"]
    if request.GET.get("sort") in listing.SORTS and "after" not in request.GET and not query.has_filters:
        _remember(response, settings.SORT_COOKIE_NAME, query.sort)
    return response


@require_POST
def dismiss_onboarding(request: HttpRequest) -> HttpResponse:
    """Hide the card for administrators, in this browser."""
    response = redirect("library")
    _remember(response, settings.ONBOARDING_COOKIE_NAME, "dismissed")
    return response


def _remember(response: HttpResponse, name: str, value: str) -> None:
    response.set_cookie(name, value, COOKIE_SECONDS, secure=settings.HTTPS, httponly=True, samesite="Lax")


@require_safe
def tags(request: HttpRequest) -> HttpResponse:
    """List all tags with the current number of their files: the counters plus the changes not yet added."""
    if not request_user(request).has_perm("uploads.view_file"):
        return render(request, "uploads/no_role.html")
    counts: dict[str, int] = {}
    for model in (Statistic, StatisticDelta):
        for key, files in model.objects.filter(kind=StatisticKind.TAG).values_list("key").annotate(Sum("files")):
            counts[key] = counts.get(key, 0) + files
    tags = list(Tag.objects.all()[: MAX_TAGS + 1])
    rows = [(tag.name, max(0, counts.get(str(tag.pk), 0))) for tag in tags[:MAX_TAGS]]
    return render(request, "uploads/tags.html", {"tags": rows, "more": len(tags) > MAX_TAGS})


def _folder_rights(user: User, folder: Folder, rights: FolderRights) -> dict[str, bool]:
    """Return what this user may do with a folder."""
    may_add = rights.may_fill(folder.pk)
    return {
        "may_add": may_add,
        "may_request": may_add and user.has_perm("uploads.request_files"),
        "can_edit": rights.may_edit(folder),
        "may_manage": rights.may_manage(folder.pk),
    }


@dataclass(frozen=True, slots=True)
class ListScope:
    """What a list covers: the top level, a folder, or the trash."""

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


def browse(request: HttpRequest, scope: ListScope) -> dict[str, Any]:
    """Return the context of a page with a list. An invalid cursor is a 404; other invalid parameters show a note."""
    user = request_user(request)
    query, notes = read_list_query(request.GET, user)
    query = with_cookie_defaults(request, query, request.GET, trash=scope.trash)
    try:
        after = Cursor.decode(request.GET.get("after", ""), scope.columns[query.column])
    except InvalidCursor as error:
        raise Http404 from error
    page, too_broad = _page(user, query, scope, after)
    if after and not (page.files or page.folders or too_broad):  # all of them are gone: show the first page
        after = None
        page, too_broad = _page(user, query, scope, after)
    first_url = scope.url + pinned_querystring(request, query) if after else None
    start = _start(request.GET.get("start", "")) if after else 1
    # users without this permission see no people and no tags
    choices = MAX_CHOICES + 1 if user.has_perm("uploads.view_file") else 0
    statistic = _statistic_key(query, scope) if page.next else None  # the last page counts its own files
    sidebar = listing.load_sidebar(user, choices=choices, statistic=statistic)
    rows = _rows_context(user, query, scope, page, is_first=after is None)
    # the trash lists only what the user can restore
    may_change = _may_change_any(user, rows["row_rights"]) if not scope.trash else bool(page.files or page.folders)
    return {
        "list_query": query,
        "place": scope,
        "notes": notes,
        "too_broad": too_broad,
        "page": page,
        "page_url": _page_url(query, scope, after, start),
        "next_url": _page_url(query, scope, page.next, start + len(page.files) if start else 0) if page.next else None,
        "first_url": first_url,
        "many": bool(page.next or after),
        "has_rows": bool(page.files or page.folders or after),
        "bulk_actions": actions.page_actions(user, in_trash=scope.trash, may_change=may_change),
        "query": query.to_querystring(),
        "unfinished_count": sidebar.unfinished,
        "unseen_count": sidebar.unseen,
        "count_label": _count_label(page, sidebar.files, start),
        **rows,
        **_filter_context(query, scope, sidebar),
    }


def with_cookie_defaults(
    request: HttpRequest, query: ListQuery, params: Mapping[str, str], *, trash: bool = False
) -> ListQuery:
    """Return the query with the view and the sort order that were chosen last in this browser, where `params`, from
    which it was read, have none."""
    if "view" not in params and request.COOKIES.get(settings.VIEW_COOKIE_NAME) == "grid":
        query = replace(query, grid=True)
    sort = request.COOKIES.get(settings.SORT_COOKIE_NAME)
    if "sort" not in params and sort in listing.SORTS and not query.has_filters and not trash:
        query = replace(query, sort=sort)
    return query


def pinned_querystring(request: HttpRequest, query: ListQuery) -> str:
    """Return the query string of this list with its sort order, also where it is the default: another tab can change
    the cookie."""
    return (
        query.to_querystring(sort=query.sort)
        if settings.SORT_COOKIE_NAME in request.COOKIES
        else query.to_querystring()
    )


def _may_change_any(user: User, rights: str) -> bool:
    """Return whether this user can change some of the rows; people who add or change files can on other pages."""
    return user.has_perm("uploads.add_file") or user.has_perm("uploads.change_file") or bool(rights.strip(","))


def _page(user: User, query: ListQuery, scope: ListScope, after: Cursor | None) -> tuple[Page, bool]:
    """Return the page and False, or an empty page and True if the search is too broad."""
    try:
        return replica.read_from_replica(partial(_read_page, user, query, scope, after)), False
    except SearchTooBroad:
        return Page(), True


def _read_page(user: User, query: ListQuery, scope: ListScope, after: Cursor | None) -> Page:
    folders = listing.folders_for(user, query, scope.folder, trash=scope.trash)
    if scope.trash:
        files, candidates = listing.trash_for(user, query), None
    else:
        files, candidates = listing.matches_for(user, query, scope.folder)
    page = listing.paginate(
        query, files=files, candidates=candidates, folders=folders, columns=scope.columns, after=after
    )
    if query.by_last_use:
        places = {pk: place for place, pk in enumerate(Event.objects.recent_file_ids(user))}
        page.files.sort(key=lambda file: places.get(file.permanent_id, len(places)))
    return page


def _rows_context(user: User, query: ListQuery, scope: ListScope, page: Page, *, is_first: bool) -> dict[str, Any]:
    has_paths = query.recursive or scope.trash
    above = {file.folder_id: file.path for file in page.files if file.folder_id and file.path} if has_paths else {}
    if query.q or query.show or scope.trash:
        above |= {folder.pk: folder.path for folder in page.folders}
    steps = {step for path in above.values() for step in path}
    rights = FolderRights(user, steps if scope.trash else steps | listing.restricted_folders(page))
    paths = {pk: rights.steps(path, with_removed=scope.trash) for pk, path in above.items()}
    column = scope.columns["added"]
    marks = listing.load_marks(() if scope.trash else page.files, user)
    shown = [] if scope.trash or query.q or query.show else page.folders
    opened = scope.folder.pk if scope.folder and not query.has_filters else None
    sizes = listing.load_folder_sizes(user, [folder.pk for folder in shown], opened=opened)
    has_all = is_first and len(page.folders) < listing.PAGE_SIZE and all(folder.pk in sizes for folder in shown)
    if query.column == "size" and has_all:  # folders of several pages are in the order of their names
        shown.sort(key=lambda folder: sizes[folder.pk].bytes, reverse=query.descending)
    folders = folder_rows(page.folders, paths=paths, sizes=sizes, search=query.q)
    texts = _matched_texts(query, page)
    files = file_rows(page.files, column=column, paths=paths, marks=marks, search=query.q, texts=texts)
    context: dict[str, Any] = {"folders": folders, "files": files, **rows_cache_keys(folders, files)}
    context["folder_size"] = sizes.get(opened or 0)
    if scope.trash:
        return context
    return context | {"row_rights": ",".join(listing.row_rights(user, page, rights))}


def _matched_texts(query: ListQuery, page: Page) -> Mapping[UUID, str]:
    """Return the text of those files on the page that match the search by their text alone."""
    if not settings.CONTENT_SEARCH or not query.q:
        return {}
    ids = [file.pk for file in page.files if not names.contains_words(file.name, query.q)]
    return FileContent.objects.texts_of(ids) if ids else {}


def _filter_context(query: ListQuery, scope: ListScope, sidebar: Sidebar) -> dict[str, Any]:
    """Return the context of the filters, and of the links that change sort order and view."""
    people, tags = sidebar.people, sidebar.tags
    return {
        "chips": _chips(query, scope),
        "shows": listing.SHOW_FILTERS.items(),
        "categories": Category.choices,
        "sizes": [(value, label) for value, (label, *_bounds) in listing.SIZE_FILTERS.items()],
        "times": [(value, label) for value, (label, *_bounds) in listing.AGE_FILTERS.items()],
        "people": people if len(people) <= MAX_CHOICES else None,
        "tags": tags if len(tags) <= MAX_CHOICES else None,
        "sort_urls": {name: scope.url + query.to_querystring(sort=_toggle_sort(query, name)) for name in SORTABLE},
        "view_urls": {view: scope.url + query.to_querystring(view=view) for view in ("table", "grid")},
        "clear_url": scope.url + ListQuery(sort=query.sort, grid=query.grid).to_querystring(),
        "deeper_url": scope.url + query.to_querystring(subfolders="0" if query.recursive else "1"),
    }


def _chips(query: ListQuery, scope: ListScope) -> list[dict[str, Any]]:
    """Return label, value, and the URL of the list without it, for each filter that is set."""
    filters = [
        ("show", _("Show"), listing.SHOW_FILTERS[query.show] if query.show else ""),
        ("type", _("Type"), Category(query.category).label if query.category else ""),
        ("owner", _("Owner"), query.owner.get_username() if query.owner else ""),
        ("tag", _("Tag"), query.tag.name if query.tag else ""),
        ("size", _("Size"), listing.SIZE_FILTERS[query.size][0] if query.size else ""),
        ("added", _("Added"), listing.AGE_FILTERS[query.added][0] if query.added else ""),
    ]
    return [
        {"label": label, "value": value, "url": scope.url + query.to_querystring(**{name: ""})}
        for name, label, value in filters
        if value
    ]


def _toggle_sort(query: ListQuery, column: str) -> str:
    """Return the sort order for a click on a column: names start ascending, others descending; again reverses."""
    if query.column == column:
        return column if query.descending else f"-{column}"
    return column if column == "name" else f"-{column}"


def breadcrumbs(user: User, folder: Folder | None) -> list[dict[str, str]]:
    """Return name and URL of each folder on the path; both are empty for a folder that this user may not see."""
    return _crumbs(folder, FolderRights(user, folder.path)) if folder else []


def _crumbs(folder: Folder, rights: FolderRights) -> list[dict[str, str]]:
    return [
        {"name": name, "url": reverse("folder", args=[pk]) if name else ""} for pk, name in rights.steps(folder.path)
    ]


def _fillable_crumbs(folder: Folder, rights: FolderRights) -> list[dict[str, str]]:
    """Return the breadcrumbs with the ids of the folders that this user may move files to."""
    ids = [str(pk) if rights.may_fill(pk) else "" for pk in folder.path]
    return [crumb | {"fillable": pk} for crumb, pk in zip(_crumbs(folder, rights), ids, strict=True)]


def _start(text: str) -> int:
    """Return the number of the first file on the page, as the link to it says; 0 if it is unknown."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_START_DIGITS else 0


def _page_url(query: ListQuery, scope: ListScope, after: Cursor | None, start: int) -> str:
    """Return the URL of the page after this cursor, or of the first page. `start` is the number of its first file, 0 if
    it is unknown."""
    if after is None:
        return scope.url + query.to_querystring()
    # A cursor is for one sort order, and the cookie may change.
    return scope.url + query.to_querystring(after=str(after), start=str(start or ""), sort=query.sort)


def _count_label(page: Page, total: int | None, start: int) -> str:
    """Return exact counts if the page shows all rows, otherwise which files it shows, and of how many if that is known.

    `total` is from the statistics, which lag behind.
    """
    if start == 1 and not page.next:
        counts = (count_folders(len(page.folders)), page.folders), (count_files(len(page.files)), page.files)
        return ", ".join(text for text, rows in counts if rows)
    if not start or not page.files:
        return ""
    last = start + len(page.files) - 1
    numbers = {"first": number_format(start, force_grouping=True), "last": number_format(last, force_grouping=True)}
    if not page.next:
        return _("%(first)s–%(last)s of %(last)s files") % numbers
    if total and total > last:
        return _("%(first)s–%(last)s of about %(count)s files") % {**numbers, "count": approximate(total)}
    return f"{numbers['first']}–{numbers['last']}"


def _statistic_key(query: ListQuery, scope: ListScope) -> tuple[str, str] | None:
    """Return kind and key of the statistic that counts the files of this list, or None if there is none."""
    if query.has_filters or scope.trash or (query.recursive and scope.folder):
        return None
    if query.recursive:
        return StatisticKind.TOTAL, ""
    return StatisticKind.FOLDER, str(scope.folder.pk if scope.folder else 0)


def approximate(count: int) -> str:
    """Round to two significant digits: “1.2 million”, “340”, “12,000”."""
    rounded = round(count, 2 - len(str(count)))
    return str(intword(rounded)) if rounded >= 1_000_000 else number_format(rounded, force_grouping=True)
