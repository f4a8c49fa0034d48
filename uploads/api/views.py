"""The upload protocol: JSON, session cookie and CSRF token, documented in docs/api/uploads.md."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from uploads import s3, services
from uploads.api.serializers import FinishUploadsSerializer, SignPartsSerializer, StartUploadsSerializer
from uploads.errors import Forbidden, Gone, NotFound, Problem, ValidationFailed
from uploads.listing import paths_for
from uploads.models import File, Folder, State
from uploads.views.responses import api_view, error_json, multi_status, no_store, request_user

MAX_LISTED = 1000


@api_view("GET", "POST", permission="uploads.add_file")
def uploads(request: HttpRequest) -> HttpResponse:
    """POST creates uploads; GET lists the user's unfinished uploads."""
    return _start(request) if request.method == "POST" else _unfinished(request)


@api_view("GET", "DELETE")
def upload_detail(request: HttpRequest, *, pk: UUID) -> HttpResponse:
    """GET returns the upload and its stored parts; DELETE cancels it."""
    file = _get_upload(request, pk)
    if request.method == "DELETE":
        services.cancel(file, by=request_user(request))
        return no_store(HttpResponse(status=204))
    if file.state in {State.TRASHED, State.DELETING}:
        raise Gone()
    stored = services.parts_of(file)
    paths = paths_for(request_user(request), [file.folder_id])
    return no_store(JsonResponse(_upload(file, paths) | {"parts": [_stored_part(p) for p in stored]}))


@api_view("POST", permission="uploads.add_file")
def sign_parts(request: HttpRequest, *, pk: UUID) -> HttpResponse:
    """Return presigned URLs for parts of an upload that has not expired."""
    file = _get_upload(request, pk)
    body = SignPartsSerializer.read(request.body, file)
    signed = services.sign_parts(file, body.parts)
    return no_store(JsonResponse({"parts": [_signed_part(part) for part in signed]}))


@api_view("POST")
def finish(request: HttpRequest) -> HttpResponse:
    """Complete uploads whose bytes are all sent. The service checks the permission for each file."""
    entries = FinishUploadsSerializer.read(request.body).files
    requests = [entry for _pk, entry in entries if not isinstance(entry, Problem)]
    outcomes = iter(services.finish(request_user(request), requests))
    if not request.user.has_perm("uploads.add_file"):  # the service has cancelled their uploads
        raise Forbidden(_("You don't have permission to upload. Ask an administrator for a role."))
    items: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for pk, entry in entries:
        outcome = entry if isinstance(entry, Problem) else next(outcomes)
        if isinstance(outcome, Problem):
            problems.append(outcome)
            items.append({"id": str(pk), **_unfinished_item(outcome)})
        else:
            items.append(_finished(outcome.file) if outcome.visible else _finished_hidden(outcome.file))
    return multi_status(items, problems)


def _start(request: HttpRequest) -> HttpResponse:
    body = StartUploadsSerializer.read(request.body)
    new_uploads = [entry for _token, entry in body.files if not isinstance(entry, Problem)]
    outcomes = iter(services.start(request_user(request), new_uploads, into=_folder(request, body.folder_id)))
    items: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for token, entry in body.files:
        outcome = entry if isinstance(entry, Problem) else next(outcomes)
        if isinstance(outcome, Problem):
            problems.append(outcome)
            items.append({"token": str(token), "error": error_json(outcome)})
        else:
            items.append({"token": str(token), **_started(outcome)})
    return multi_status(items, problems)


def _unfinished(request: HttpRequest) -> HttpResponse:
    rows = File.objects.owned_by(request.user).unfinished().order_by("-created_at")[:MAX_LISTED]
    files = list(rows)
    paths = paths_for(request_user(request), (file.folder_id for file in files))
    return no_store(JsonResponse({"uploads": [_upload(file, paths) for file in files]}))


def _get_upload(request: HttpRequest, pk: UUID) -> File:
    """Return the user's upload with this id. Another user's upload is NotFound, like a missing one."""
    file = File.objects.owned_by(request.user).filter(pk=pk).first()
    if file is None:
        raise NotFound()
    return file


def _started(started: services.Started) -> dict[str, Any]:
    file = started.file
    data: dict[str, Any] = {
        "id": str(file.pk),
        "state": file.state,
        "part_size": file.part_size,
        "part_count": file.part_count,
    }
    if file.state == State.AVAILABLE:
        data["url"] = file.get_absolute_url()
    if started.signed:
        data["parts"] = [_signed_part(started.signed)]
    return data


def _folder(request: HttpRequest, pk: int | None) -> Folder | None:
    if pk is None:
        return None
    folder = Folder.objects.visible_to(request.user).filter(pk=pk).first()
    if folder is None:
        raise ValidationFailed(
            _("The destination folder no longer exists. Open another folder and drop the files there.")
        )
    return folder


def _upload(file: File, paths: dict[int, str]) -> dict[str, Any]:
    return {
        "id": str(file.pk),
        "token": str(file.token),
        "state": file.state,
        "name": file.name,
        "folder": paths.get(file.folder_id, "") if file.folder_id else "",
        "size": file.size,
        "modified": round(file.modified.timestamp() * 1000) if file.modified else None,
        "part_size": file.part_size,
        "part_count": file.part_count,
        "expires_at": file.expires_at.isoformat() if file.expires_at else None,
    }


def _finished(file: File) -> dict[str, Any]:
    return {
        "id": str(file.pk),
        "state": file.state,
        "name": file.name,
        "size": file.size,
        "checksum": file.checksum,
        "checksum_status": file.checksum_status,
        "url": file.get_absolute_url(),
    }


def _finished_hidden(file: File) -> dict[str, Any]:
    return {"id": str(file.pk), "state": file.state}


def _unfinished_item(problem: Problem) -> dict[str, Any]:
    if problem.code == "completing":
        return {"state": State.COMPLETING, "retry_after": getattr(problem, "retry_after", 2)}
    return {"error": error_json(problem)}


def _signed_part(signed: s3.PresignedRequest) -> dict[str, Any]:
    return {"number": signed.number, "url": signed.url, "headers": signed.headers}


def _stored_part(part: services.StoredPart) -> dict[str, Any]:
    data: dict[str, Any] = {"number": part.number, "size": part.size}
    return data | ({"sha256": part.sha256} if part.sha256 else {})
