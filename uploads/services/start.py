"""Create uploads: reserve a row for each file that is about to be sent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext as _

from amalga.db import CALL_SECONDS, deadline
from uploads import s3
from uploads.errors import Forbidden, Gone, OverQuota, OwnerOverQuota, Problem, RefusedType, TooLarge, ValidationFailed
from uploads.failpoints import failpoint
from uploads.humanize import humanize_bytes
from uploads.media_types import canonical, containers_of
from uploads.models import File, FileRequest, Folder, GuestSession, State, Usage, Visibility
from uploads.models.querysets import seconds_from_now
from uploads.names import extensions_of
from uploads.parts import MIN_PART_BYTES, part_size_for
from uploads.services import file_requests
from uploads.services.sign import PartRequest, sign_parts
from uploads.services.tree import ensure

logger = logging.getLogger(__name__)

MAX_VERSIONS = 1_000  # of one file: most changes of a file are made to each version


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """An upload to create: `name` and `folder` are clean, `size` is in bytes.

    `replaces` is the permanent id of the file that gets this as a new version.
    """

    token: UUID
    name: str
    size: int
    declared_type: str = ""
    folder: str = ""
    modified: datetime | None = None
    visibility: Visibility = Visibility.TEAM
    replaces: UUID | None = None
    sha256: str | None = None  # of the whole file, when it fits one part
    part_size: int | None = None  # that the sender prefers


@dataclass(frozen=True, slots=True)
class Started:
    """The row of a created upload; `new` is False when the token was used before."""

    file: File
    new: bool
    signed: s3.PresignedRequest | None = None


@dataclass(frozen=True, slots=True)
class _Guest:
    """The guest who sends the files of one call, and their request, whose row is locked."""

    session: GuestSession
    request: FileRequest

    def require_room(self, new: NewUpload, fresh: Sequence[File]) -> None:
        sizes = [file.size for file in fresh]
        file_requests.require_room(self.request, new.size, files=len(sizes), bytes=sum(sizes))
        file_requests.require_accepted(self.request, name=new.name, media_type=new.declared_type)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the files of one call go: the folder of each path, and the files that get a new version."""

    folders: Mapping[str, Folder | Problem | None]
    replaced: Mapping[UUID, File]
    usages: Mapping[int, Usage]  # by owner of these files
    versions: Counter[UUID]  # versions of each, including those of this call

    def require_room(self, file: File, size: int, fresh: Sequence[File]) -> None:
        """Raise OwnerOverQuota when the owner of the file to replace has no room for `size` bytes more.

        Nothing is reserved: the quota is checked again under the lock when the version is published.
        """
        sizes = [row.size for row in fresh if row.series and self.replaced[row.series].owner_id == file.owner_id]
        usage = self.usages.get(file.owner_id) or Usage(owner_id=file.owner_id)
        if not usage.has_room(sum(sizes) + size, files=len(sizes) + 1):
            raise OwnerOverQuota()


@deadline(CALL_SECONDS)
def start(
    owner: User, uploads: Sequence[NewUpload], *, into: Folder | None = None, guest: GuestSession | None = None
) -> list[Started | Problem]:
    """Create a row for each file, and return for each, in order, the upload or the problem. Safe to repeat: a token
    gives its row again.

    The files belong to `owner`, who sends them or, with `guest`, has requested them: then all of them become new files
    in `into`, within the limits of the request.

    `into` is the folder that the files' paths start in. Folders are created first, each by itself. The rest happens in
    one short transaction with the owner's usage row locked, so that concurrent calls never exceed a quota. The storage
    is not called, so nothing can be left there.
    """
    if guest is not None:
        uploads = [replace(new, folder="", replaces=None, visibility=Visibility.TEAM) for new in uploads]
    places = _places(owner, uploads, into)
    failpoint("start.1-folders-made")
    with transaction.atomic():
        usage = Usage.objects.locked(owner.pk)
        _release_overdue(owner, usage)
        sender = _lock_request(guest) if guest else None
        by_token = File.objects.uploads_of(owner, guest).by_token(new.token for new in uploads)
        outcomes: list[Started | Problem] = []
        fresh: list[File] = []
        for new in uploads:
            outcome = _create(new, owner, usage, fresh, by_token, places, sender)
            outcomes.append(outcome)
            if isinstance(outcome, Started):
                by_token[new.token] = outcome.file
        File.objects.bulk_create(fresh)
        usage.change(files=len(fresh), bytes=sum(file.size for file in fresh))
        failpoint("start.2-reserving")
    failpoint("start.3-reserved")
    for file in fresh:
        logger.info("upload_started file=%s owner=%s size=%s", file.pk, owner.pk, file.size)
    return [_presign(outcome, new) for outcome, new in zip(outcomes, uploads, strict=True)]


def validate_type(*types: str, name: str) -> None:
    """Raise RefusedType when the name's extension or one of the media types is on the refused list.

    A refused type is refused under all its aliases, and a refused container refuses types built on it, except
    documents.
    """
    if not settings.UPLOAD_REFUSED_TYPES:
        return
    media_types = {canonical(kind) for kind in types} - {""}
    media_types |= {container for kind in media_types for container in containers_of(kind)}
    wildcards = {f"{kind.partition('/')[0]}/*" for kind in media_types}
    refused = {canonical(entry): entry for entry in settings.UPLOAD_REFUSED_TYPES}
    for kind in (extensions_of(name) | media_types | wildcards) & refused.keys():
        raise RefusedType(_("Files of type %(type)s aren't accepted.") % {"type": kind})


def count_versions(file_ids: Collection[UUID]) -> Counter[UUID]:
    """Return how many rows each of these files has, unfinished uploads included."""
    rows = File.objects.exclude(state=State.DELETING).filter(series__in=file_ids).values_list("series")
    counts = dict(rows.annotate(Count("pk")).order_by())
    return Counter({pk: counts.get(pk, 1) for pk in file_ids})


def require_version_room(count: int) -> None:
    """Raise ValidationFailed when a file with `count` versions cannot have another."""
    if count >= MAX_VERSIONS:
        raise ValidationFailed(
            _("A file can have at most %(most)s versions. Upload it as a new file.") % {"most": f"{MAX_VERSIONS:,}"}
        )


def _places(owner: User, uploads: Sequence[NewUpload], into: Folder | None) -> _Places:
    folders = ensure({new.folder for new in uploads if new.replaces is None}, by=owner, into=into)
    file_ids = {new.replaces for new in uploads if new.replaces is not None}
    rows = File.objects.changeable_by(owner).listed().by_permanent_ids(file_ids) if file_ids else []
    replaced = {file.permanent_id: file for file in rows}
    others = {file.owner_id for file in replaced.values()} - {owner.pk}
    usages = Usage.objects.in_bulk(others) if others else {}
    return _Places(folders, replaced, usages, count_versions(replaced.keys()) if replaced else Counter())


def _create(
    new: NewUpload,
    owner: User,
    usage: Usage,
    fresh: list[File],
    by_token: dict[UUID, File],
    places: _Places,
    guest: _Guest | None,
) -> Started | Problem:
    if new.token in by_token:
        file = by_token[new.token]
        return Gone() if file.state in {State.TRASHED, State.DELETING} else Started(file, new=False)
    try:
        _require_room(new, usage, fresh, guest)
        validate_type(new.declared_type, name=new.name)
        place = _resolve_folder(new, owner, fresh, places)
    except Problem as problem:
        return problem
    file = File(
        owner=owner,
        guest_session=guest.session if guest else None,
        token=new.token,
        name=new.name,
        **place,
        declared_type=new.declared_type,
        modified=new.modified,
        size=new.size,
        part_size=part_size_for(new.size, smallest=_preferred_part_size(new)),
        state=State.UPLOADING,
        expires_at=seconds_from_now(settings.UPLOAD_EXPIRY_HOURS * 3600),
        signed_until=seconds_from_now(s3.URL_SECONDS) if new.sha256 else None,
    )
    if file.part_count == 1:
        file.checksum = new.sha256 or ""  # as announced; valid once the file is available
    fresh.append(file)
    return Started(file, new=True)


def _preferred_part_size(new: NewUpload) -> int:
    """Return the part size that the sender prefers, within what the storage accepts and the setting."""
    default = settings.UPLOAD_PART_BYTES
    return default if new.part_size is None else min(default, max(MIN_PART_BYTES, new.part_size))


def version_fields(file: File) -> dict[str, Any]:
    """Return the fields of a new version of this file until it is published."""
    return {"folder_id": file.folder_id, "visibility": file.visibility, "series": file.permanent_id, "current": False}


def _resolve_folder(new: NewUpload, owner: User, fresh: Sequence[File], places: _Places) -> dict[str, Any]:
    """Return the fields for folder and visibility: as announced, or those of the file to replace."""
    if new.replaces is not None:
        file = places.replaced.get(new.replaces)
        if file is None:
            raise Forbidden(_("The file to replace doesn't exist, or you don't have permission to change it."))
        require_version_room(places.versions[file.permanent_id])
        if file.owner_id != owner.pk:
            places.require_room(file, new.size, fresh)
        places.versions[file.permanent_id] += 1
        return version_fields(file)
    folder = places.folders[new.folder]
    if isinstance(folder, Problem):
        raise folder
    return {"folder": folder, "visibility": new.visibility}


def _lock_request(session: GuestSession) -> _Guest:
    """Lock the guest's request, whose limits concurrent calls must not exceed together. Raises LinkEnded."""
    rows = FileRequest.objects.select_related("created_by").filter(sessions=session)
    request = rows.select_for_update(no_key=True, of=("self",)).first()
    if request is None:
        raise file_requests.deleted()
    file_requests.require_open(request)
    return _Guest(session, request)


def _require_room(new: NewUpload, usage: Usage, fresh: list[File], guest: _Guest | None) -> None:
    if guest is None:
        _require_quota(new, usage, fresh)
        return
    guest.require_room(new, fresh)
    try:
        _require_quota(new, usage, fresh)
    except OverQuota as problem:
        raise file_requests.owner_is_full(guest.request) from problem


def _require_quota(new: NewUpload, usage: Usage, fresh: list[File]) -> None:
    if new.size > settings.UPLOAD_MAX_BYTES:
        raise TooLarge(
            _("The file is too large. The limit is %(most)s.") % {"most": humanize_bytes(settings.UPLOAD_MAX_BYTES)}
        )
    reserved = usage.bytes + sum(file.size for file in fresh)
    if reserved + new.size > usage.max_bytes:
        raise OverQuota(
            _("Not enough storage: you have %(left)s left. Delete files, or ask for a higher limit.")
            % {"left": humanize_bytes(max(0, usage.max_bytes - reserved))}
        )
    if usage.files + len(fresh) >= usage.max_files:
        raise OverQuota(
            _("You've reached your limit of %(most)s files. Delete some, or ask for a higher limit.")
            % {"most": f"{usage.max_files:,}"}
        )


def _release_overdue(owner: User, usage: Usage) -> None:
    """Discard the owner's expired uploads, so that their reservations are free before the next sweep."""
    if File.objects.overdue().discard(owner_id=owner.pk):
        usage.refresh_from_db()


def _presign(outcome: Started | Problem, new: NewUpload) -> Started | Problem:
    """Add the presigned URL of a file with a single part and a known digest, which saves another call."""
    if isinstance(outcome, Problem) or new.sha256 is None:
        return outcome
    file = outcome.file
    if file.part_count > 1 or file.state != State.UPLOADING:
        return outcome
    try:
        signed = (
            s3.sign_put(file.key, size=file.size, sha256=new.sha256, store=file.store)
            if outcome.new
            else sign_parts(file, [PartRequest(1, new.sha256)])[0]
        )
    except Problem as problem:
        return problem
    return replace(outcome, signed=signed)
