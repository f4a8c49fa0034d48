"""The page of one file, and what people do to it there."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads import delivery, services
from uploads.errors import BadInput, Forbidden, StoreUnavailable
from uploads.forms import UploadForm, read_file_name, tag_names
from uploads.models import Basis, Event, Family, File, Look, Preview, PreviewState, Tag, Visibility
from uploads.services import Outcome
from uploads.services.previews import REASONS
from uploads.views.activity import with_words
from uploads.views.answers import told_on_a_page
from uploads.views.browse import crumbs
from uploads.views.choosing import choose_folder, chosen_folder
from uploads.views.going_back import tell
from uploads.views.people import signed_in

MOST_VERSIONS = 100
MOST_EVENTS = 50
PLAYED = {Family.VIDEO.value, Family.AUDIO.value}


@require_safe
def file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What a file is and looks like, the link to hand on, its versions, and who did what with it."""
    user = signed_in(request)
    found = get_object_or_404(File.objects.listed_for(user).by_link(pk).select_related("owner", "folder"))
    with suppress(StoreUnavailable):  # the page says the rest without it
        services.learn_encoding(found)
    versions = File.objects.versions_of(found).available().select_related("owner", "uploaded_by")
    context = {
        "file": found,
        "crumbs": crumbs(user, found.folder),
        "permanent_url": request.build_absolute_uri(found.get_absolute_url()),
        "tags": list(Tag.objects.filter(taggings__file=found).values_list("name", flat=True)),
        "versions": list(versions.order_by("-available_at", "-id")[:MOST_VERSIONS]),
        "events": with_words(list(Event.objects.about(pk)[:MOST_EVENTS]), user),
        "is_owner": found.owner_id == user.pk,
        **_rights(user, found),
        **_look(found),
    }
    return render(request, "uploads/file.html", context)


@require_POST
@told_on_a_page
def rename_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = _found(request, pk)
    services.rename(found, read_file_name(request.POST.get("name", "")), by=signed_in(request))
    messages.success(request, _("The file is called “%(name)s” now.") % {"name": found.name})
    return redirect("file", pk=pk)


@require_http_methods(["GET", "HEAD", "POST"])
@told_on_a_page
def move_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask where to, then put the file there."""
    found, user = _found(request, pk), signed_in(request)
    if not _rights(user, found)["may_change"]:
        raise Forbidden(_("You may not change this file."))
    chosen, target = chosen_folder(request)
    if not chosen:
        return choose_folder(request, title=_("Move “%(name)s” to …") % {"name": found.name}, here=found.folder)
    outcome = services.move_files([pk], target, by=user)
    into = target.name if target else _("Library")
    tell(request, _("“%(name)s” is in “%(into)s” now.") % {"name": found.name, "into": into}, outcome)
    return redirect("file", pk=pk)


@require_POST
@told_on_a_page
def tag_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Put the tags of `add` on, take those of `remove` off."""
    _found(request, pk)
    add, remove = (tag_names(request.POST.get(field, "")) for field in ("add", "remove"))
    if not add and not remove:
        raise BadInput(_("Put in a tag."))
    _require(services.tag_files([pk], add=add, remove=remove, by=signed_in(request)))
    return redirect("file", pk=pk)


@require_POST
@told_on_a_page
def visibility_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the file to the team, or keep it to oneself; for its owner alone."""
    _found(request, pk)
    wanted = request.POST.get("visibility", "")
    if wanted not in Visibility.values:
        raise BadInput(_("Choose who sees the file: the team, or you alone."))
    _require(services.set_visibility([pk], Visibility(wanted), by=signed_in(request)))
    return redirect("file", pk=pk)


@require_safe
@told_on_a_page
def replace_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The form that takes a new version; what it sends goes to the upload form's own address."""
    found = _found(request, pk)
    if not _rights(signed_in(request), found)["may_replace"]:
        raise Forbidden(_("You may not change this file."))
    form = UploadForm(initial={"replaces": pk})
    return render(request, "uploads/replace.html", {"file": found, "form": form})


@require_POST
@told_on_a_page
def restore_version(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """Let an older version count again."""
    found = _found(request, pk)
    older = get_object_or_404(File.objects.versions_of(found).available(), pk=version)
    services.restore_version(found, older, by=signed_in(request))
    messages.success(request, _("The older version counts again. The one before it is kept."))
    return redirect("file", pk=pk)


def _found(request: HttpRequest, pk: UUID) -> File:
    return get_object_or_404(File.objects.listed_for(request.user).by_link(pk).select_related("folder"))


def _require(outcome: Outcome) -> None:
    if not outcome.files:
        raise Forbidden(_("You may not change this file."))


def _rights(user: User, found: File) -> dict[str, bool]:
    """Of somebody who sees the file. To ask for them takes long, and is spared where the answer is known: what is one's
    own one may change and remove, and who may do both or neither by role is asked about once."""
    own = found.owner_id == user.pk
    may_change = own or File.objects.changeable_by(user).filter(pk=found.pk).exists()
    alike = own or user.has_perm("uploads.change_file") == user.has_perm("uploads.delete_file")
    return {
        "may_change": may_change,
        "may_replace": may_change and user.has_perm("uploads.add_file"),
        "may_trash": may_change if alike else File.objects.removable_by(user).filter(pk=found.pk).exists(),
    }


def _look(found: File) -> dict[str, Any]:
    """What can be shown of the file on its page: a player, what the worker made, or why there is nothing."""
    shown = delivery.may_be_inline(found) and found.checksum_basis != Basis.MISSING and not found.refusal
    inline_url = reverse("download", args=[found.link]) + "?inline=1" if shown else None
    if inline_url and found.family in PLAYED:
        return {"inline_url": inline_url, "look": found.family}
    made = {preview.look: preview for preview in Preview.objects.filter(file=found)}
    for look in (Look.PICTURE, Look.EXCERPT):
        if (preview := made.get(look)) and preview.state == PreviewState.READY:
            return {"inline_url": inline_url, "look": look.value, "preview": preview}
    failed = next((preview.reason for preview in made.values() if preview.state == PreviewState.FAILED), "")
    failed = failed or (services.REASONS[found.refusal] if found.refusal else "")
    expected = bool(services.looks_of(found.family, found.type, size=found.size))
    return {
        "inline_url": inline_url,
        "look": "",
        "reason": failed and _(failed),
        "untouched": failed != REASONS["gone"] and found.checksum_basis not in {Basis.DAMAGED, Basis.MISSING},
        "making": expected and not failed,
    }
