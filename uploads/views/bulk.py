"""Bulk actions. Files that the user may not change are reported by name; none is dropped silently."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from uploads import services
from uploads.errors import ValidationFailed
from uploads.forms import Selection, parse_id, parse_tags
from uploads.models import Folder, Visibility
from uploads.services import BulkResult
from uploads.views.folder_picker import Hidden, choose_folder, chosen_folder
from uploads.views.redirects import flash_result, redirect_next
from uploads.views.responses import html_errors, request_user

HIDDEN_FIELDS = ("do", "all", "query", "folder", "place", "next")


@require_POST
@html_errors
def bulk(request: HttpRequest) -> HttpResponse:
    """Run the action `do` on the selected files. Moving and tagging first show a page for the folder or the tags."""
    user = request_user(request)
    selection = Selection.read(request.POST, request.POST.getlist("file"), user)
    action = ACTIONS.get(request.POST.get("do", ""))
    if action is None:
        raise ValidationFailed(_("Choose what to do with the files."))
    return action(request, user, selection)


def _move(request: HttpRequest, user: User, selection: Selection) -> HttpResponse:
    chosen, target = chosen_folder(request)
    if not chosen:
        count = len(selection.links)
        title = ngettext("Move %(count)s file to …", "Move %(count)s files to …", count) % {"count": count}
        here = Folder.objects.visible_to(user).filter(pk=parse_id(request.POST.get("folder")) or 0).first()
        return choose_folder(request, title=title, here=here, hidden=_hidden_fields(request))
    result = services.move_files(selection.links, target, by=user)
    into = target.name if target else _("Library")
    return _respond(request, selection, result, _moved_message(len(result.files), into))


def _moved_message(count: int, into: str) -> str:
    text = ngettext("%(count)s file is in “%(into)s” now.", "%(count)s files are in “%(into)s” now.", count)
    return text % {"count": count, "into": into}


def _tag(request: HttpRequest, user: User, selection: Selection) -> HttpResponse:
    add, remove = (parse_tags(request.POST.get(field, "")) for field in ("add", "remove"))
    if not add and not remove:
        context = {"count": len(selection.links), "hidden": _hidden_fields(request), "missing": "go" in request.POST}
        return render(request, "uploads/tag_files.html", context)
    result = services.tag_files(selection.links, add=add, remove=remove, by=user)
    count = len(result.files)
    text = ngettext("The tags of %(count)s file are changed.", "The tags of %(count)s files are changed.", count)
    return _respond(request, selection, result, text % {"count": count})


def _trash(request: HttpRequest, user: User, selection: Selection) -> HttpResponse:
    result = services.trash_many(selection.links, by=user)
    count = len(result.files)
    text = ngettext("%(count)s file is in the trash.", "%(count)s files are in the trash.", count)
    return _respond(request, selection, result, text % {"count": count}, undo=True)


def _restore(request: HttpRequest, user: User, selection: Selection) -> HttpResponse:
    result = services.restore_many(selection.links, by=user)
    count = len(result.files)
    text = ngettext("%(count)s file is back.", "%(count)s files are back.", count)
    return _respond(request, selection, result, text % {"count": count})


def _set_visibility(visibility: Visibility) -> Callable[[HttpRequest, User, Selection], HttpResponse]:
    def apply(request: HttpRequest, user: User, selection: Selection) -> HttpResponse:
        result = services.set_visibility(selection.links, visibility, by=user)
        count = len(result.files)
        if visibility == Visibility.PRIVATE:
            text = ngettext("%(count)s file is private now.", "%(count)s files are private now.", count)
        else:
            text = ngettext("The team sees %(count)s file now.", "The team sees %(count)s files now.", count)
        return _respond(request, selection, result, text % {"count": count})

    return apply


def _respond(
    request: HttpRequest, selection: Selection, result: BulkResult, message: str, *, undo: bool = False
) -> HttpResponse:
    flash_result(request, message, result, unusable=selection.unusable, undo=undo)
    return redirect_next(request)


def _hidden_fields(request: HttpRequest) -> Hidden:
    """Return the selection as hidden fields, so that the next page sends it again."""
    fields = [(name, request.POST[name]) for name in HIDDEN_FIELDS if request.POST.get(name)]
    ticked = [] if request.POST.get("all") else request.POST.getlist("file")
    return [*fields, *(("file", link) for link in ticked)]


ACTIONS: dict[str, Callable[[HttpRequest, User, Selection], HttpResponse]] = {
    "move": _move,
    "tag": _tag,
    "trash": _trash,
    "restore": _restore,
    "private": _set_visibility(Visibility.PRIVATE),
    "team": _set_visibility(Visibility.TEAM),
}
