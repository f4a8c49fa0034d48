"""Share links, for people without an account: the page, previews and downloads of what is shared."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from uploads.errors import Forbidden, Problem
from uploads.forms import SharePasswordForm
from uploads.listing import (
    COLUMNS,
    SORTS,
    Cursor,
    InvalidCursor,
    ListQuery,
    Neighbors,
    SearchTooBroad,
    load_marks,
    neighbors,
    paginate,
)
from uploads.middleware import client_ip
from uploads.models import File, Folder, LinkState, PreviewKind, ShareLink, display_name
from uploads.models.throttle import client_network
from uploads.services import share_links
from uploads.services.share_links import NoDownloadLeft
from uploads.views.downloads import deliver, redirect_to_page, redirect_to_preview, render_excerpt, zip_response
from uploads.views.file import preview_context
from uploads.views.links import ended, load_link, public_view, render_form, require_active
from uploads.views.presenters import file_rows, folder_rows, rows_cache_keys
from uploads.views.responses import in_own_frame

COOKIE_SALT = "amalga.share"
UNLOCKED_SECONDS = 12 * 3600
DOWNLOADS = {"shared_download", "shared_file_download"}  # routes whose responses can be resumed
# User agents that show a preview of a link in a chat, a mail or a search. CUBOT makes telephones.
LINK_PREVIEW = re.compile(
    r"(?<!cu)bot\b|facebookexternalhit|whatsapp/|skypeuripreview|zulipurlpreview|nextcloud server crawler|embedly",
    re.IGNORECASE,
)

View = Callable[..., HttpResponseBase]


class NotShared(Problem):
    """The link opens no such file or folder."""

    code = "not_found"
    status_code = 404

    def __init__(self) -> None:
        super().__init__(_("It was moved or deleted, or it wasn't shared with you."))


class Locked(Exception):
    """The link has a password, and the visitor has not entered it."""

    def __init__(self, link: ShareLink) -> None:
        super().__init__()
        self.link = link


def shared_view(view: View) -> View:
    """Decorate a view of what a share link opens: find the link, and show the password form if it is locked."""

    @csrf_exempt  # the views refuse POST themselves, with 405
    @public_view
    @functools.wraps(view)
    def guarded(request: HttpRequest, token: str, **kwargs: Any) -> HttpResponseBase:
        url_name = request.resolver_match.url_name if request.resolver_match else None
        is_resumed = url_name in DOWNLOADS and "Range" in request.headers
        try:
            return view(request, open_link(request, token, may_be_used_up=is_resumed), **kwargs)
        except Locked:
            status = 200 if url_name == "shared" else 403
            return _password_page(request, token, SharePasswordForm(), status=status)

    return guarded


def open_link(
    request: HttpRequest, token: str, *, may_be_locked: bool = False, may_be_used_up: bool = False
) -> ShareLink:
    """Return the link with this token. Raises LinkUnknown, LinkEnded, and Locked without its password.

    `may_be_used_up` is for a range of a file, which can belong to a download that was granted.
    """
    link = load_link(ShareLink, token, request)
    if not (may_be_used_up and link.state == LinkState.USED_UP):
        require_active(link)
    if not share_links.may_share(link):
        raise ended(link)
    if link.password and not may_be_locked and not _is_unlocked(request, link):
        raise Locked(link)
    return link


@require_safe
@shared_view
def shared(request: HttpRequest, link: ShareLink) -> HttpResponse:
    """Show what the link opens."""
    if link.folder_id:
        folder = share_links.shared_folder(link)
        if folder is None:
            raise ended(link)
        return _list_page(request, link, folder)
    if link.is_selection:
        return _list_page(request, link, None)
    file = share_links.shared_file(link)
    if file is None:
        raise ended(link)
    return _file_page(request, link, file, url="files/" + str(link.file) + "/", download_url="download")


@require_safe
@shared_view
def shared_folder(request: HttpRequest, link: ShareLink, pk: int) -> HttpResponse:
    """Show a subfolder of the shared folder."""
    folder = share_links.shared_folder(link, pk) if link.folder_id else None
    if folder is None:
        raise NotShared
    return _list_page(request, link, folder, base="../../")


@require_safe
@shared_view
def shared_file(request: HttpRequest, link: ShareLink, pk: UUID) -> HttpResponse:
    """Show one of the shared files, with links to the list it is in and to the files before and after it."""
    file = _require_file(link, pk)
    place: dict[str, object] = {"back_url": "../../", "back_name": link.name}
    if link.folder_id and file.folder_id != link.folder_id and file.folder:
        place = {"back_url": f"../../folders/{file.folder_id}/", "back_name": file.folder.name}
    if not link.file:
        place |= _neighbor_context(link, file)
    return _file_page(request, link, file, url="", download_url="download", place=place)


@require_safe
@shared_view
def shared_download(request: HttpRequest, link: ShareLink) -> HttpResponse:
    """Download the only file of the link."""
    if not link.file:
        raise NotShared
    file = share_links.shared_download(link)
    if file is None:
        raise ended(link)
    return _deliver(request, link, file)


@require_safe
@shared_view
def shared_file_download(request: HttpRequest, link: ShareLink, pk: UUID) -> HttpResponse:
    """Download one of the shared files; with `?inline` show it in the browser."""
    file = share_links.shared_download(link, pk)
    if file is None:
        raise NotShared
    return _deliver(request, link, file, inline="inline" in request.GET)


@require_safe
@shared_view
def shared_preview(request: HttpRequest, link: ShareLink, pk: UUID) -> HttpResponse:
    """Redirect to the picture, a page or the text excerpt of a shared file."""
    return redirect_to_page(request, File.objects.filter(pk=_require_file(link, pk).pk))


@require_safe
@in_own_frame
@shared_view
def shared_preview_page(request: HttpRequest, link: ShareLink, pk: UUID) -> HttpResponse:
    """Show a shared CSV file as a table, or a Markdown file as a page, in a frame of the file's page."""
    return render_excerpt(request, File.objects.filter(pk=_require_file(link, pk).pk))


@require_safe
@shared_view
def shared_thumbnail(request: HttpRequest, link: ShareLink, pk: UUID) -> HttpResponse:
    files = File.objects.filter(pk=_require_file(link, pk).pk)
    return redirect_to_preview(request, files, PreviewKind.THUMBNAIL)


@require_safe
@shared_view
def shared_zip(request: HttpRequest, link: ShareLink) -> HttpResponseBase:
    """Download all that the link opens as a zip, which counts as one download."""
    _require_downloads(link)
    require_active(link)  # no one resumes a zip
    bundle = share_links.shared_bundle(link)
    if bundle is None:
        raise ended(link)
    if request.method == "GET" and _is_link_preview(request):
        return HttpResponseRedirect("./")
    try:
        return zip_response(request, bundle, partial(share_links.open_shared_zip, link, bundle))
    except NoDownloadLeft:
        raise _no_download_left(link) from None


@require_POST
@public_view
def shared_password(request: HttpRequest, token: str) -> HttpResponse:
    """Check the password of a link, and remember in a cookie for its pages that it was right."""
    link = open_link(request, token, may_be_locked=True)
    form = SharePasswordForm(request.POST)
    page = HttpResponseRedirect(reverse("shared", args=[token]))
    if not link.password:
        return page
    if not form.is_valid():
        return _password_page(request, token, form, status=400)
    network = client_network(client_ip(request))
    if not share_links.is_password_correct(link, form.cleaned_data["password"], network=network):
        form.add_error("password", _("Incorrect password."))
        return _password_page(request, token, form, status=403)
    page.set_cookie(
        settings.SHARE_COOKIE_NAME,
        signing.dumps(_proof(link), salt=COOKIE_SALT),
        max_age=UNLOCKED_SECONDS,
        path=page.url,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
    return page


# --- downloads --------------------------------------------------------------------------------


def _deliver(request: HttpRequest, link: ShareLink, file: File, *, inline: bool = False) -> HttpResponse:
    """Return the response to GET or HEAD of the file. A GET counts, but for further ranges of a granted download.

    Programs that preview a link are sent to the page of the file.
    """
    _require_downloads(link)
    if inline and link.max_downloads is None:
        return deliver(request, file, inline=True, record=lambda: share_links.record_view(link, file))
    if request.method == "GET" and _is_link_preview(request):
        return HttpResponseRedirect("./")
    if "Range" in request.headers and share_links.was_granted(link, file):
        return deliver(request, file, record=lambda: None)
    require_active(link)
    try:
        return deliver(request, file, record=lambda: share_links.grant_download(link, file))
    except NoDownloadLeft:
        raise _no_download_left(link) from None


def _require_downloads(link: ShareLink) -> None:
    if link.view_only:
        raise Forbidden(_("This link is view only. Downloads are turned off."))


def _is_link_preview(request: HttpRequest) -> bool:
    return LINK_PREVIEW.search(request.headers.get("User-Agent", "")) is not None


def _no_download_left(link: ShareLink) -> Problem:
    """Return the error for a link that another client used up, or that ended, since this request began."""
    link.refresh_from_db()
    try:
        require_active(link)
    except Problem as problem:
        return problem
    return ended(link)


def _require_file(link: ShareLink, pk: UUID) -> File:
    file = share_links.shared_file(link, pk)
    if file is None:
        raise NotShared
    return file


# --- pages ------------------------------------------------------------------------------------


def _file_page(
    request: HttpRequest,
    link: ShareLink,
    file: File,
    *,
    url: str,
    download_url: str,
    place: Mapping[str, object] | None = None,
) -> HttpResponse:
    """Show a file. `url` is relative: what is rendered for one link holds no token.

    `place` has the links to other pages, if there are any.
    """
    can_download = not link.view_only and not file.is_missing and not file.refusal
    # what opens in the browser is the file itself, so it would be a download that no one counts
    inline_url = f"{url}download?inline=1" if can_download and link.max_downloads is None else None
    context = {
        **_page_context(link),
        "file": file,
        "name": file.name,
        **(place or {}),
        "download_url": download_url if can_download else "",
        "preview_url": f"{url}preview",
        **preview_context(file, inline_url=inline_url),
    }
    if context["kind"] == PreviewKind.PICTURE and not link.password:
        context["picture_url"] = request.build_absolute_uri(f"{url}preview")
    return render(request, "public/shared_file.html", context)


def _neighbor_context(link: ShareLink, file: File) -> dict[str, object]:
    """Return the URLs of the files before and after this one in its list by name, and its place in a folder's list."""
    folder = file.folder if link.folder_id else None
    files = share_links.listed_files(link, folder)
    try:
        near = neighbors(ListQuery(sort="name"), file, files=files, folder=folder, columns=COLUMNS)
    except SearchTooBroad:
        near = Neighbors()
    return {
        "previous_url": f"../{near.before}/" if near.before else "",
        "next_url": f"../{near.after}/" if near.after else "",
        "position": near.position,
        "total": near.total if folder else 0,
    }


def _list_page(request: HttpRequest, link: ShareLink, folder: Folder | None, *, base: str = "") -> HttpResponse:
    """Show a page of the files in a folder, or of a selection. `base` leads to the page of the link."""
    query = ListQuery(sort=request.GET["sort"] if request.GET.get("sort") in SORTS else "name")
    try:
        after = Cursor.decode(request.GET.get("after", ""), COLUMNS[query.column])
    except InvalidCursor:
        raise NotShared from None
    files, folders = share_links.listed_files(link, folder), None
    if folder:
        folders = share_links.shared_subfolders(link, folder)
    page = paginate(query, files=files, folders=folders, columns=COLUMNS, after=after)
    if folder is None and not page.files and not after:
        raise ended(link)
    rows = file_rows(
        page.files, column="available_at", paths={}, marks=load_marks(page.files), urls=(f"{base}files/", "/")
    )  # fmt: skip
    subfolders = folder_rows(page.folders, paths={}, urls=(f"{base}folders/", "/"))
    context = {
        **_page_context(link),
        "name": folder.name if folder else link.name,
        "crumbs": share_links.folders_above(link, folder) if folder else [],
        "base": base,
        "folders": subfolders,
        "files": rows,
        **rows_cache_keys(subfolders, rows),
        "zip_url": "" if link.view_only else f"{base}zip",
        "next_url": query.to_querystring(after=str(page.next)) if page.next else None,
        "first_url": query.to_querystring() or "?" if after else None,
    }
    return render(request, "public/shared_list.html", context)


def _page_context(link: ShareLink) -> dict[str, Any]:
    return {"link": link, "creator": display_name(link.created_by)}


# --- the password -----------------------------------------------------------------------------


def _password_page(request: HttpRequest, token: str, form: SharePasswordForm, *, status: int) -> HttpResponse:
    action = reverse("shared_password", args=[token])
    context = {"form": form, "action": action}
    return render_form(request, "public/share_password.html", context, status=status)


def _proof(link: ShareLink) -> list[Any]:
    """Return what a cookie must hold to open the link. Another password needs another proof."""
    return [link.pk, hashlib.sha256(link.password.encode()).hexdigest()[:32]]


def _is_unlocked(request: HttpRequest, link: ShareLink) -> bool:
    """Return whether the password was entered: in the form, or as HTTP Basic authentication by a program."""
    try:
        proof = signing.loads(
            request.COOKIES.get(settings.SHARE_COOKIE_NAME, ""), salt=COOKIE_SALT, max_age=UNLOCKED_SECONDS
        )
    except signing.BadSignature:
        proof = None
    if proof == _proof(link):
        return True
    password = _basic_password(request)
    network = client_network(client_ip(request))
    return password is not None and share_links.is_password_correct(link, password, network=network)


def _basic_password(request: HttpRequest) -> str | None:
    scheme, _space, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password if colon else None
