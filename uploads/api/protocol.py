"""The upload protocol for any sender, documented in docs/api/uploads.md. The views say who the sender is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.http import HttpResponse, JsonResponse
from django.utils.translation import gettext as _

from uploads import s3, services
from uploads.api.serializers import (
    FindConflictsSerializer,
    FinishUploadsSerializer,
    SignPartsSerializer,
    StartUploadsSerializer,
)
from uploads.errors import Gone, Problem, UploadNotFound, ValidationFailed
from uploads.listing import paths_for
from uploads.models import File, Folder, GuestSession, State
from uploads.models.querysets import FileQuerySet
from uploads.views.responses import error_json, multi_status, no_store

MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends files: `owner`, whose files they become, or a guest through a file request of `owner`."""

    owner: User
    guest: GuestSession | None = None
    folder: Folder | None = None  # where a guest's files go

    def uploads(self) -> FileQuerySet:
        """Return what this sender has sent, in any state: all that they can list, continue and cancel."""
        return File.objects.uploads_of(self.owner, self.guest)

    def get_upload(self, pk: UUID) -> File:
        """Return the sender's upload with this id. Another sender's is UploadNotFound, like a missing one."""
        file = self.uploads().filter(pk=pk).first()
        if file is None:
            raise UploadNotFound()
        return file

    def start_folder(self, pk: int | None) -> Folder | None:
        """Return the folder that the files' paths start in. Guests cannot choose it."""
        if self.guest is not None or pk is None:
            return self.folder
        folder = Folder.objects.visible_to(self.owner).filter(pk=pk).first()
        if folder is None:
            raise ValidationFailed(
                _("The destination folder no longer exists. Open another folder and drop the files there.")
            )
        return folder

    def paths_of(self, files: list[File]) -> dict[int, str]:
        """Return the paths of the files' folders by id. Guests see none."""
        return {} if self.guest is not None else paths_for(self.owner, [file.folder_id for file in files])


def start(sender: Sender, body: StartUploadsSerializer) -> HttpResponse:
    """Create uploads."""
    new_uploads = [entry for _token, entry in body.files if not isinstance(entry, Problem)]
    into = sender.start_folder(body.folder_id)
    outcomes = iter(services.start(sender.owner, new_uploads, into=into, guest=sender.guest))
    items: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for token, entry in body.files:
        outcome = entry if isinstance(entry, Problem) else next(outcomes)
        if isinstance(outcome, Problem):
            problems.append(outcome)
            items.append({"token": str(token), "error": error_json(outcome)})
        else:
            items.append({"token": str(token), **_started(sender, outcome)})
    return multi_status(items, problems)


def conflicts(sender: Sender, body: FindConflictsSerializer) -> HttpResponse:
    """Return which names exist already. Only for people: guests must not learn what is in a folder."""
    outcomes = services.find_conflicts(sender.owner, body.names, into=sender.start_folder(body.folder_id))
    items = [{"name": name} | _conflict(item) for (_folder, name), item in zip(body.names, outcomes, strict=True)]
    return no_store(JsonResponse({"files": items}))


def unfinished(sender: Sender) -> HttpResponse:
    """List the sender's unfinished uploads."""
    files = list(sender.uploads().unfinished().order_by("-created_at")[:MAX_LISTED])
    paths = sender.paths_of(files)
    return no_store(JsonResponse({"uploads": [_upload(file, paths) for file in files]}))


def nothing_unfinished() -> HttpResponse:
    return no_store(JsonResponse({"uploads": []}))


def status(sender: Sender, pk: UUID) -> HttpResponse:
    """Return an upload and its stored parts."""
    file = sender.get_upload(pk)
    if file.state in {State.TRASHED, State.DELETING}:
        raise Gone()
    stored = services.parts_of(file)
    return no_store(JsonResponse(_upload(file, sender.paths_of([file])) | {"parts": [_stored_part(p) for p in stored]}))


def cancel(sender: Sender, pk: UUID) -> HttpResponse:
    services.cancel(sender.get_upload(pk), by=sender.guest or sender.owner)
    return no_store(HttpResponse(status=204))


def sign(sender: Sender, pk: UUID, body: bytes) -> HttpResponse:
    """Return presigned URLs for parts of an upload that has not expired."""
    file = sender.get_upload(pk)
    signed = services.sign_parts(file, SignPartsSerializer.read(body, file).parts)
    return no_store(JsonResponse({"parts": [_signed_part(part) for part in signed]}))


def finish(sender: Sender, body: bytes) -> HttpResponse:
    """Complete uploads whose bytes are all sent. The service checks the permission for each file."""
    entries = FinishUploadsSerializer.read(body).files
    requests = [entry for _pk, entry in entries if not isinstance(entry, Problem)]
    outcomes = iter(services.finish(sender.owner, requests, guest=sender.guest))
    items: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for pk, entry in entries:
        outcome = entry if isinstance(entry, Problem) else next(outcomes)
        if isinstance(outcome, Problem):
            problems.append(outcome)
            items.append({"id": str(pk), **_unfinished_item(outcome)})
        elif not outcome.visible:
            items.append({"id": str(outcome.file.pk), "state": outcome.file.state})
        else:
            items.append(_finished(sender, outcome.file))
    return multi_status(items, problems)


def _started(sender: Sender, started: services.Started) -> dict[str, Any]:
    file = started.file
    data: dict[str, Any] = {
        "id": str(file.pk),
        "state": file.state,
        "part_size": file.part_size,
        "part_count": file.part_count,
    }
    if file.state == State.AVAILABLE and sender.guest is None:
        data["url"] = file.get_absolute_url()
    if started.signed:
        data["parts"] = [_signed_part(started.signed)]
    return data


def _conflict(conflict: services.NameConflict | None) -> dict[str, Any]:
    if conflict is None:
        return {"exists": False}
    return {
        "exists": True,
        "id": str(conflict.file.permanent_id),
        "replaceable": conflict.replaceable,
        "free_name": conflict.free_name,
    }


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


def _finished(sender: Sender, file: File) -> dict[str, Any]:
    """Return a stored file. Guests get no address, and not the name, which members can change."""
    data = {
        "id": str(file.pk),
        "state": file.state,
        "size": file.size,
        "checksum": file.checksum,
        "checksum_status": file.checksum_status,
    }
    return data if sender.guest is not None else data | {"name": file.name, "url": file.get_absolute_url()}


def _unfinished_item(problem: Problem) -> dict[str, Any]:
    if problem.code == "completing":
        return {"state": State.COMPLETING, "retry_after": getattr(problem, "retry_after", 2)}
    return {"error": error_json(problem)}


def _signed_part(signed: s3.PresignedRequest) -> dict[str, Any]:
    return {"number": signed.number, "url": signed.url, "headers": signed.headers}


def _stored_part(part: services.StoredPart) -> dict[str, Any]:
    data: dict[str, Any] = {"number": part.number, "size": part.size}
    return data | ({"sha256": part.sha256} if part.sha256 else {})
