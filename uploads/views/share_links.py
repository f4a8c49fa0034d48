"""Share links, for members: create, list and revoke them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads.actions.base import count_files
from uploads.errors import Forbidden, ValidationFailed
from uploads.forms import Selection, ShareForm, parse_id
from uploads.models import File, Folder, ShareLink
from uploads.models.share_link import ShareLinkQuerySet
from uploads.services import share_links
from uploads.services.share_links import ShareOptions, qr_code
from uploads.views.bulk import hidden_fields
from uploads.views.library import breadcrumbs
from uploads.views.responses import html_errors, next_url, no_store, redirect_next, request_user

PAGE_SIZE = 50
MAX_LINKS_OF_TARGET = 100


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def share_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the form of a share link to a file with the links that it has, then create one."""
    user = request_user(request)
    share_links.require_sharing(user)
    file = get_object_or_404(File.objects.listed_for(user).by_permanent_id(pk).select_related("folder"))
    form = ShareForm(request.POST or None, pinned=file.pk)
    context: dict[str, Any] = {
        "name": file.name, "back_url": file.get_absolute_url(), "file": file,
        "crumbs": breadcrumbs(user, file.folder),
    }  # fmt: skip
    if form.is_valid():
        version = UUID(form.cleaned_data["version"]) if form.cleaned_data["version"] else None
        link, token = share_links.share_file(file, _options(form), by=user, version=version)
        return _created(request, link, token, context)
    return _form_page(request, form, share_links.links_of_file(file.permanent_id, user), context)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def share_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form of a share link to a folder with the links that it has, then create one."""
    user = request_user(request)
    share_links.require_sharing(user)
    folder = get_object_or_404(Folder.objects.visible_to(user), pk=pk)
    form = ShareForm(request.POST or None)
    context: dict[str, Any] = {
        "name": folder.name, "back_url": folder.get_absolute_url(), "folder": folder,
        "crumbs": breadcrumbs(user, folder),
    }  # fmt: skip
    if form.is_valid():
        link, token = share_links.share_folder(folder, _options(form), by=user)
        return _created(request, link, token, context)
    return _form_page(request, form, share_links.revocable_by(user).of_folder(folder), context)


@require_POST
@html_errors
def share_selection(request: HttpRequest) -> HttpResponse:
    """Show the form of a share link to the selected files, then create it."""
    user = request_user(request)
    share_links.require_sharing(user)
    selection = Selection.read(request.POST, user)
    if selection.unusable:
        raise _unreadable()
    if selection.folders and not request.POST.get("all"):
        if len(selection.folders) == 1 and not selection.file_ids:
            return redirect("share_folder", selection.folders[0])
        raise ValidationFailed(_("Share one folder at a time, or only files."))
    count = len(selection.file_ids)
    context: dict[str, Any] = {
        "name": count_files(count),
        "back_url": next_url(request),
        "hidden": hidden_fields(request),
    }
    form = ShareForm(request.POST if "go" in request.POST else None)
    if form.is_valid():
        link, token = share_links.share_selection(selection.file_ids, _options(form), by=user)
        return _created(request, link, token, context)
    return _form_page(request, form, ShareLink.objects.none(), context)


@require_POST
@html_errors
def folder_sharing(request: HttpRequest, pk: int) -> HttpResponse:
    """Allow or forbid share links in a folder and its subfolders."""
    user = request_user(request)
    folder = get_object_or_404(Folder.objects.visible_to(user), pk=pk)
    allowed = request.POST.get("sharing") == "on"
    share_links.set_folder_sharing(folder, allowed=allowed, by=user)
    messages.success(
        request,
        _("Turned on share links for “%(name)s”.") % {"name": folder.name}
        if allowed
        else _("Turned off share links for “%(name)s”. Existing links no longer work.") % {"name": folder.name},
    )
    return redirect(folder)


@require_safe
@html_errors
def links(request: HttpRequest) -> HttpResponse:
    """List the user's own share links."""
    return _list_page(request, ShareLink.objects.made_by(request_user(request)), reverse("links"))


@require_safe
@html_errors
def all_links(request: HttpRequest) -> HttpResponse:
    """List everyone's share links."""
    if not request_user(request).has_perm("uploads.view_all_links"):
        raise Forbidden(_("You don't have permission to see all share links."))
    return _list_page(request, ShareLink.objects.all(), reverse("all_links"), with_creators=True)


@require_POST
@html_errors
def revoke_link(request: HttpRequest, pk: int) -> HttpResponse:
    user = request_user(request)
    link = get_object_or_404(ShareLink, pk=pk)
    if not share_links.can_revoke(link, user):
        raise Http404
    share_links.revoke(ShareLink.objects.filter(pk=link.pk), by=user)
    messages.success(request, _("Revoked the link to “%(name)s”.") % {"name": link.name})
    return redirect_next(request, reverse("links"))


@require_POST
@html_errors
def revoke_links(request: HttpRequest) -> HttpResponse:
    """Revoke all links of the `file` or `folder` that the user may revoke; without one, all of their own."""
    user = request_user(request)
    rows = _links_to_revoke(request)
    count = share_links.revoke(rows, by=user)
    messages.success(
        request, ngettext("Revoked %(count)s link.", "Revoked %(count)s links.", count) % {"count": count}
    )  # fmt: skip
    return redirect_next(request, reverse("links"))


def _links_to_revoke(request: HttpRequest) -> ShareLinkQuerySet:
    user = request_user(request)
    if "file" in request.POST:
        try:
            return share_links.links_of_file(UUID(request.POST["file"]), user)
        except ValueError:
            raise _unreadable() from None
    if "folder" in request.POST:
        folder = get_object_or_404(Folder.objects.visible_to(user), pk=parse_id(request.POST["folder"]))
        return share_links.revocable_by(user).of_folder(folder)
    return ShareLink.objects.made_by(user)


def _unreadable() -> ValidationFailed:
    return ValidationFailed(_("The list of files couldn't be read. Go back and select the files again."))


def _options(form: ShareForm) -> ShareOptions:
    names = ("days", "password", "max_downloads", "view_only", "note")
    return ShareOptions(**{name: form.cleaned_data[name] for name in names})


def _form_page(
    request: HttpRequest, form: ShareForm, links: ShareLinkQuerySet, context: dict[str, Any]
) -> HttpResponse:  # fmt: skip
    rows = list(links.active().select_related("created_by").order_by("-id")[:MAX_LINKS_OF_TARGET])
    context = {**context, "form": form, "links": rows}
    return render(request, "uploads/share.html", context, status=400 if form.is_bound else 200)


def _created(request: HttpRequest, link: ShareLink, token: str, context: dict[str, Any]) -> HttpResponse:
    """Show the new link. Its token is in this response only, so there is no redirect to another page."""
    url = request.build_absolute_uri(reverse("shared", args=[token]))
    context = {**context, "link": link, "url": url, "qr_code": qr_code(url)}
    return no_store(render(request, "uploads/share_created.html", context))


def _list_page(
    request: HttpRequest, rows: ShareLinkQuerySet, url: str, *, with_creators: bool = False
) -> HttpResponse:  # fmt: skip
    before = parse_id(request.GET.get("before"))
    page = rows.filter(pk__lt=before) if before else rows
    matches = list(page.select_related("created_by").order_by("-id")[: PAGE_SIZE + 1])
    shown = matches[:PAGE_SIZE]
    context = {
        "links": shown,
        "with_creators": with_creators,
        "may_view_all": request_user(request).has_perm("uploads.view_all_links"),
        "can_share": settings.SHARE_LINKS,
        "first_url": url if before else None,
        "next_url": f"{url}?before={shown[-1].pk}" if len(matches) > PAGE_SIZE else None,
    }
    return render(request, "uploads/share_links.html", context)
