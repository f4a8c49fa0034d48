"""Many files at once. What somebody may not change is told by name; nothing of a choice is dropped silently."""

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

KEPT_PARAMETERS = ("do", "all", "query", "folder", "place", "next")


@require_POST
@html_errors
def bulk(request: HttpRequest) -> HttpResponse:
    """Do to the chosen files what `do` says; moving and tagging ask where and what first."""
    user = request_user(request)
    choice = Selection.read(request.POST, request.POST.getlist("file"), user)
    verb = ACTIONS.get(request.POST.get("do", ""))
    if verb is None:
        raise ValidationFailed(_("Choose what to do with the files."))
    return verb(request, user, choice)


def _move(request: HttpRequest, user: User, choice: Selection) -> HttpResponse:
    chosen, target = chosen_folder(request)
    if not chosen:
        count = len(choice.links)
        title = ngettext("Move %(count)s file to …", "Move %(count)s files to …", count) % {"count": count}
        here = Folder.objects.visible_to(user).filter(pk=parse_id(request.POST.get("folder")) or 0).first()
        return choose_folder(request, title=title, here=here, hidden=_kept_parameters(request))
    outcome = services.move_files(choice.links, target, by=user)
    into = target.name if target else _("Library")
    done = _moved(len(outcome.files), into)
    return _ended(request, choice, outcome, done)


def _moved(count: int, into: str) -> str:
    text = ngettext("%(count)s file is in “%(into)s” now.", "%(count)s files are in “%(into)s” now.", count)
    return text % {"count": count, "into": into}


def _tag(request: HttpRequest, user: User, choice: Selection) -> HttpResponse:
    add, remove = (parse_tags(request.POST.get(field, "")) for field in ("add", "remove"))
    if not add and not remove:
        context = {"count": len(choice.links), "hidden": _kept_parameters(request), "missing": "go" in request.POST}
        return render(request, "uploads/tag_files.html", context)
    outcome = services.tag_files(choice.links, add=add, remove=remove, by=user)
    count = len(outcome.files)
    text = ngettext("The tags of %(count)s file are changed.", "The tags of %(count)s files are changed.", count)
    return _ended(request, choice, outcome, text % {"count": count})


def _trash(request: HttpRequest, user: User, choice: Selection) -> HttpResponse:
    outcome = services.trash_many(choice.links, by=user)
    count = len(outcome.files)
    text = ngettext("%(count)s file is in the trash.", "%(count)s files are in the trash.", count)
    return _ended(request, choice, outcome, text % {"count": count}, undo=True)


def _restore(request: HttpRequest, user: User, choice: Selection) -> HttpResponse:
    outcome = services.restore_many(choice.links, by=user)
    count = len(outcome.files)
    text = ngettext("%(count)s file is back.", "%(count)s files are back.", count)
    return _ended(request, choice, outcome, text % {"count": count})


def _show(visibility: Visibility) -> Callable[[HttpRequest, User, Selection], HttpResponse]:
    def show(request: HttpRequest, user: User, choice: Selection) -> HttpResponse:
        outcome = services.set_visibility(choice.links, visibility, by=user)
        count = len(outcome.files)
        if visibility == Visibility.PRIVATE:
            text = ngettext("%(count)s file is private now.", "%(count)s files are private now.", count)
        else:
            text = ngettext("The team sees %(count)s file now.", "The team sees %(count)s files now.", count)
        return _ended(request, choice, outcome, text % {"count": count})

    return show


def _ended(
    request: HttpRequest, choice: Selection, outcome: BulkResult, done: str, *, undo: bool = False
) -> HttpResponse:
    flash_result(request, done, outcome, unusable=choice.unusable, undo=undo)
    return redirect_next(request)


def _kept_parameters(request: HttpRequest) -> Hidden:
    """What the next page sends again: the choice, not what came of it."""
    told = [(name, request.POST[name]) for name in KEPT_PARAMETERS if request.POST.get(name)]
    ticked = [] if request.POST.get("all") else request.POST.getlist("file")
    return [*told, *(("file", link) for link in ticked)]


ACTIONS: dict[str, Callable[[HttpRequest, User, Selection], HttpResponse]] = {
    "move": _move,
    "tag": _tag,
    "trash": _trash,
    "restore": _restore,
    "private": _show(Visibility.PRIVATE),
    "team": _show(Visibility.TEAM),
}
