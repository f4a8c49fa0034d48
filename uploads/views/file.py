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

from uploads import content_headers, services
from uploads.errors import Forbidden, StorageUnavailable, ValidationFailed
from uploads.forms import UploadForm, parse_tags, read_file_name
from uploads.models import Category, ChecksumStatus, Event, File, Preview, PreviewKind, PreviewState, Tag, Visibility
from uploads.services import BulkResult
from uploads.services.previews import REASONS
from uploads.views.activity import describe_events
from uploads.views.folder_picker import choose_folder, chosen_folder
from uploads.views.library import breadcrumbs
from uploads.views.redirects import flash_result
from uploads.views.responses import html_errors, request_user

MAX_VERSIONS = 100
MAX_EVENTS = 50
PLAYED = {Category.VIDEO.value, Category.AUDIO.value}


@require_safe
def file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What a file is and looks like, the link to hand on, its versions, and who did what with it."""
    user = request_user(request)
    found = get_object_or_404(File.objects.live_visible_to(user).by_link(pk).select_related("owner", "folder"))
    with suppress(StorageUnavailable):  # the page says the rest without it
        services.learn_encoding(found)
    versions = File.objects.versions_of(found).available().select_related("owner", "uploaded_by")
    context = {
        "file": found,
        "crumbs": breadcrumbs(user, found.folder),
        "permanent_url": request.build_absolute_uri(found.get_absolute_url()),
        "tags": list(Tag.objects.filter(taggings__file=found).values_list("name", flat=True)),
        "versions": list(versions.order_by("-available_at", "-id")[:MAX_VERSIONS]),
        "events": describe_events(list(Event.objects.about(pk)[:MAX_EVENTS]), user),
        "is_owner": found.owner_id == user.pk,
        **_rights(user, found),
        **_preview_context(found),
    }
    return render(request, "uploads/file.html", context)


@require_POST
@html_errors
def rename_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    found = _get_file(request, pk)
    services.rename(found, read_file_name(request.POST.get("name", "")), by=request_user(request))
    messages.success(request, _("The file is called “%(name)s” now.") % {"name": found.name})
    return redirect("file", pk=pk)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def move_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask where to, then put the file there."""
    found, user = _get_file(request, pk), request_user(request)
    if not _rights(user, found)["may_change"]:
        raise Forbidden(_("You may not change this file."))
    chosen, target = chosen_folder(request)
    if not chosen:
        return choose_folder(request, title=_("Move “%(name)s” to …") % {"name": found.name}, here=found.folder)
    outcome = services.move_files([pk], target, by=user)
    into = target.name if target else _("Library")
    flash_result(request, _("“%(name)s” is in “%(into)s” now.") % {"name": found.name, "into": into}, outcome)
    return redirect("file", pk=pk)


@require_POST
@html_errors
def tag_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Put the tags of `add` on, take those of `remove` off."""
    _get_file(request, pk)
    add, remove = (parse_tags(request.POST.get(field, "")) for field in ("add", "remove"))
    if not add and not remove:
        raise ValidationFailed(_("Put in a tag."))
    _require(services.tag_files([pk], add=add, remove=remove, by=request_user(request)))
    return redirect("file", pk=pk)


@require_POST
@html_errors
def visibility_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the file to the team, or keep it to oneself; for its owner alone."""
    _get_file(request, pk)
    wanted = request.POST.get("visibility", "")
    if wanted not in Visibility.values:
        raise ValidationFailed(_("Choose who sees the file: the team, or you alone."))
    _require(services.set_visibility([pk], Visibility(wanted), by=request_user(request)))
    return redirect("file", pk=pk)


@require_safe
@html_errors
def replace_file(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The form that takes a new version; what it sends goes to the upload form's own address."""
    found = _get_file(request, pk)
    if not _rights(request_user(request), found)["may_replace"]:
        raise Forbidden(_("You may not change this file."))
    form = UploadForm(initial={"replaces": pk})
    return render(request, "uploads/replace.html", {"file": found, "form": form})


@require_POST
@html_errors
def restore_version(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """Let an older version count again."""
    found = _get_file(request, pk)
    older = get_object_or_404(File.objects.versions_of(found).available(), pk=version)
    services.restore_version(found, older, by=request_user(request))
    messages.success(request, _("The older version counts again. The one before it is kept."))
    return redirect("file", pk=pk)


def _get_file(request: HttpRequest, pk: UUID) -> File:
    return get_object_or_404(File.objects.live_visible_to(request.user).by_link(pk).select_related("folder"))


def _require(outcome: BulkResult) -> None:
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


def _preview_context(found: File) -> dict[str, Any]:
    """What can be shown of the file on its page: a player, what the worker made, or why there is nothing."""
    shown = (
        content_headers.may_be_inline(found) and found.checksum_basis != ChecksumStatus.MISSING and not found.refusal
    )
    inline_url = reverse("download", args=[found.link]) + "?inline=1" if shown else None
    if inline_url and found.family in PLAYED:
        return {"inline_url": inline_url, "look": found.family}
    made = {preview.look: preview for preview in Preview.objects.filter(file=found)}
    for look in (PreviewKind.PICTURE, PreviewKind.EXCERPT):
        if (preview := made.get(look)) and preview.state == PreviewState.READY:
            return {"inline_url": inline_url, "look": look.value, "preview": preview}
    failed = next((preview.reason for preview in made.values() if preview.state == PreviewState.FAILED), "")
    failed = failed or (services.REASONS[found.refusal] if found.refusal else "")
    expected = bool(services.kinds_for(found.family, found.type, size=found.size))
    return {
        "inline_url": inline_url,
        "look": "",
        "reason": failed and _(failed),
        "untouched": failed != REASONS["gone"]
        and found.checksum_basis not in {ChecksumStatus.DAMAGED, ChecksumStatus.MISSING},
        "making": expected and not failed,
    }
