"""The way to a file's previews and to its older versions."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from uploads import delivery, s3
from uploads.models import File, Look, Preview, PreviewState
from uploads.models.queries import FileQuerySet
from uploads.views.answers import head_response, redirect_to_storage, told_on_a_page
from uploads.views.delivery import deliver

WEBP = "image/webp"


@require_safe
@told_on_a_page
def thumbnail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Send to the small picture that lists show. A file without one is a 404."""
    return _sent_to(request, _listed(request.user, pk), Look.THUMBNAIL)


@require_safe
@told_on_a_page
def preview(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Send to the picture, or the beginning of the text, that the file's page shows."""
    return _sent_to(request, _listed(request.user, pk), Look.PICTURE, Look.EXCERPT)


@require_safe
@told_on_a_page
def download_version(request: HttpRequest, pk: UUID, version: UUID) -> HttpResponse:
    """As a download of the file, but of one of its older versions."""
    current = get_object_or_404(_listed(request.user, pk))
    found = get_object_or_404(File.objects.versions_of(current).available(), pk=version)
    return deliver(request, found)


def _listed(user: User | AnonymousUser, pk: UUID) -> FileQuerySet:
    return File.objects.visible_to(user).listed().by_link(pk)


def _sent_to(request: HttpRequest, files: FileQuerySet, *looks: Look) -> HttpResponse:
    """The redirect is asked for every time, as the permission is; what it leads to stays in the browser."""
    found = get_object_or_404(Preview.objects.filter(file__in=files, look__in=looks, state=PreviewState.READY))
    content_type = delivery.TEXT if found.look == Look.EXCERPT else WEBP
    if request.method == "HEAD":
        return head_response(size=found.size, content_type=content_type, disposition="inline")
    return redirect_to_storage(s3.preview_url(found.key, content_type=content_type, store=found.store))
