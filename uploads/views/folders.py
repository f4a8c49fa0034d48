"""What people do to folders."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from uploads import listing
from uploads.errors import Forbidden, ValidationFailed
from uploads.forms import access_levels, folder_name, parse_id
from uploads.listing import ListQuery
from uploads.models import AccessLevel, Folder
from uploads.services import folders
from uploads.views.folder_picker import choose_folder, chosen_folder
from uploads.views.responses import html_errors, request_user

MAX_GROUPS = 200


@require_POST
@html_errors
def create_folder(request: HttpRequest) -> HttpResponse:
    """A new folder at the top, or in the folder `parent`; its page is next."""
    user = request_user(request)
    parent = None
    if text := request.POST.get("parent"):
        parent = Folder.objects.visible_to(user).filter(pk=parse_id(text) or 0).first()
        if parent is None:
            raise ValidationFailed(_("The folder to put it in is not there any more."))
    return redirect(folders.create(folder_name(request.POST.get("name", "")), parent=parent, by=user))


@require_POST
@html_errors
def rename_folder(request: HttpRequest, pk: int) -> HttpResponse:
    found = _get_folder(request, pk)
    folders.rename(found, folder_name(request.POST.get("name", "")), by=request_user(request))
    messages.success(request, _("The folder is called “%(name)s” now.") % {"name": found.name})
    return redirect(found)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def move_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask where to, then hang the folder there with all that is in it."""
    found, user = _get_folder(request, pk), request_user(request)
    if not folders.can_edit(found, user):
        raise Forbidden(_("You may not change this folder."))
    chosen, target = chosen_folder(request)
    if not chosen:
        title = _("Move the folder “%(name)s” to …") % {"name": found.name}
        return choose_folder(request, title=title, here=found.parent, without=found)
    folders.move(found, target, by=user)
    into = target.name if target else _("Library")
    messages.success(request, _("“%(name)s” is in “%(into)s” now.") % {"name": found.name, "into": into})
    return redirect(found)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def access_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Who may see, fill and manage the folder: everyone as their role says, or chosen groups."""
    found, user = _get_folder(request, pk), request_user(request)
    if not Folder.objects.managed_by(user).filter(pk=pk).exists():
        raise Forbidden(_("You may not change who sees this folder."))
    groups = list(Group.objects.order_by("name")[:MAX_GROUPS])
    if request.method == "POST":
        levels = access_levels(request.POST, groups)
        if levels is not None:  # what groups have that the page does not show, they keep
            unseen = found.grants.exclude(group__in=groups).select_related("group")
            levels |= {grant.group: AccessLevel(grant.level) for grant in unseen}
        folders.set_access(found, levels, by=user)
        messages.success(request, _("Who may do what in “%(name)s” is changed.") % {"name": found.name})
        seen = Folder.objects.visible_to(user).filter(pk=pk).exists()
        return redirect(found) if seen else redirect("library")
    held = dict(found.grants.values_list("group_id", "level"))
    context = {
        "folder": found,
        "groups": [(group, held.get(group.pk)) for group in groups],
        "levels": AccessLevel.choices,
    }
    return render(request, "uploads/access.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def remove_folder(request: HttpRequest, pk: int) -> HttpResponse:
    """Take an empty folder away; one that holds files says so, and offers to put them into the trash first."""
    found, user = _get_folder(request, pk), request_user(request)
    if not folders.can_edit(found, user):
        raise Forbidden(_("You may not change this folder."))
    asked = ListQuery(below=True)
    holds = listing.files_for(user, asked, found).exists()
    if request.method == "POST" and not holds:
        folders.remove(found, by=user)
        messages.success(request, _("The folder “%(name)s” is removed.") % {"name": found.name})
        return redirect(found.parent) if found.parent else redirect("library")
    return render(request, "uploads/remove_folder.html", {"folder": found, "holds": holds, "query": asked.address()})


def _get_folder(request: HttpRequest, pk: int) -> Folder:
    return get_object_or_404(Folder.objects.visible_to(request.user), pk=pk)
