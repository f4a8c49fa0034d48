"""Reserve rows for files that are about to be sent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from amalga.db import CALL_SECONDS, deadline
from uploads import s3
from uploads.errors import Forbidden, Gone, OverQuota, OwnerOverQuota, Problem, RefusedType, TooLarge
from uploads.failpoints import failpoint
from uploads.media_types import canonical, containers_of
from uploads.models import File, Folder, State, Usage
from uploads.models.querysets import seconds_from_now
from uploads.names import extensions_of
from uploads.parts import part_size_for
from uploads.services.sign import sign_parts
from uploads.services.tree import ensure
from uploads.services.versions import count_versions, require_version_room
from uploads.upload_requests import NewUpload, PartRequest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """The row of one announced file; `new` is False when the token was used before."""

    file: File
    new: bool
    signed: s3.PresignedRequest | None = None


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the files of one call go: the folder of each path, and the files that are to be replaced."""

    folders: Mapping[str, Folder | Problem | None]
    replaced: Mapping[UUID, File]
    usages: Mapping[int, Usage]  # of the owners of these files
    versions: Counter[UUID]  # how many each of them has, those of this call included

    def require_room(self, file: File, size: int, fresh: Sequence[File]) -> None:
        """Raise OverQuota when the owner of the file that is to be replaced has no room for `size` bytes more.

        Not reserved: what counts is asked under the lock when the version ends.
        """
        taken = [one.size for one in fresh if one.series and self.replaced[one.series].owner_id == file.owner_id]
        usage = self.usages.get(file.owner_id) or Usage(owner_id=file.owner_id)
        if not Usage(files=usage.files + len(taken), bytes=usage.bytes + sum(taken)).has_room(size):
            raise OwnerOverQuota()


@deadline(CALL_SECONDS)
def start(owner: User, wanted: Sequence[NewUpload], *, into: Folder | None = None) -> list[Started | Problem]:
    """One row for each file, or why not, in the order asked. Safe to repeat: a token gives its row again.

    `into` is the folder that the files' own paths begin in. Folders are made first, each by itself. Then
    everything happens in one short transaction under the owner's usage row, so that any number of
    calls at once never exceed a quota. The store is not asked: nothing can be left there.
    """
    places = _places(owner, wanted, into)
    failpoint("start.1-folders-made")
    with transaction.atomic():
        usage = Usage.objects.locked(owner.pk)
        _release_overdue(owner, usage)
        known = File.objects.owned_by(owner).by_token(new.token for new in wanted)
        answers: list[Started | Problem] = []
        fresh: list[File] = []
        for new in wanted:
            answer = _create(new, owner, usage, fresh, known, places)
            answers.append(answer)
            if isinstance(answer, Started):
                known[new.token] = answer.file
        File.objects.bulk_create(fresh)
        usage.change(files=len(fresh), bytes=sum(file.size for file in fresh))
        failpoint("start.2-reserving")
    failpoint("start.3-reserved")
    for file in fresh:
        logger.info("upload_started file=%s owner=%s size=%s", file.pk, owner.pk, file.size)
    return [_with_url(answer, new) for answer, new in zip(answers, wanted, strict=True)]


def validate_type(*types: str, name: str) -> None:
    """Raise RefusedType when the name's extension or one of the media types is on the refused list.

    A type stands on it under each of its names, and with the container that it is made of, unless it is a document.
    """
    if not settings.UPLOAD_REFUSED_TYPES:
        return
    media_types = {canonical(kind) for kind in types} - {""}
    media_types |= {container for kind in media_types for container in containers_of(kind)}
    families = {f"{kind.partition('/')[0]}/*" for kind in media_types}
    refused = {canonical(word): word for word in settings.UPLOAD_REFUSED_TYPES}
    for kind in (extensions_of(name) | media_types | families) & refused.keys():
        raise RefusedType(_("Files of type %(type)s are not accepted here.") % {"type": kind})


def _places(owner: User, wanted: Sequence[NewUpload], into: Folder | None) -> _Places:
    folders = ensure({new.folder for new in wanted if new.replaces is None}, by=owner, into=into)
    links = {new.replaces for new in wanted if new.replaces is not None}
    rows = File.objects.changeable_by(owner).listed().by_links(links) if links else []
    replaced = {file.link: file for file in rows}
    others = {file.owner_id for file in replaced.values()} - {owner.pk}
    usages = Usage.objects.in_bulk(others) if others else {}
    return _Places(folders, replaced, usages, count_versions(replaced.keys()) if replaced else Counter())


def _create(
    new: NewUpload, owner: User, usage: Usage, fresh: list[File], known: dict[UUID, File], places: _Places
) -> Started | Problem:
    if new.token in known:
        file = known[new.token]
        return Gone() if file.state in {State.TRASHED, State.DELETING} else Started(file, new=False)
    try:
        _require_quota(new, usage, fresh)
        validate_type(new.claimed_type, name=new.name)
        place = _resolve_folder(new, owner, fresh, places)
    except Problem as problem:
        return problem
    file = File(
        owner=owner,
        token=new.token,
        name=new.name,
        **place,
        claimed_type=new.claimed_type,
        modified=new.modified,
        size=new.size,
        part_size=part_size_for(new.size, smallest=settings.UPLOAD_PART_BYTES),
        state=State.UPLOADING,
        expires_at=seconds_from_now(settings.UPLOAD_EXPIRY_HOURS * 3600),
        signed_until=seconds_from_now(s3.URL_SECONDS) if new.sha256 else None,
    )
    if file.part_count == 1:
        file.checksum = new.sha256 or ""  # announced; it counts once the file is available
    fresh.append(file)
    return Started(file, new=True)


def _resolve_folder(new: NewUpload, owner: User, fresh: Sequence[File], places: _Places) -> dict[str, Any]:
    """Where the row goes and who sees it: as announced, or as the file that it is to replace."""
    if new.replaces is not None:
        file = places.replaced.get(new.replaces)
        if file is None:
            raise Forbidden(_("The file to replace is not there, or not yours to change."))
        require_version_room(places.versions[file.link])
        if file.owner_id != owner.pk:
            places.require_room(file, new.size, fresh)
        places.versions[file.link] += 1
        return {"folder_id": file.folder_id, "visibility": file.visibility, "series": file.link, "current": False}
    folder = places.folders[new.folder]
    if isinstance(folder, Problem):
        raise folder
    return {"folder": folder, "visibility": new.visibility}


def _require_quota(new: NewUpload, usage: Usage, fresh: list[File]) -> None:
    if new.size > settings.UPLOAD_MAX_BYTES:
        raise TooLarge(
            _("The file is larger than the %(most)s bytes that are accepted here.")
            % {"most": f"{settings.UPLOAD_MAX_BYTES:,}"}
        )
    reserved = usage.bytes + sum(file.size for file in fresh)
    if reserved + new.size > settings.UPLOAD_QUOTA_BYTES:
        raise OverQuota(
            _("Your space is used up: %(left)s bytes are left. Remove files, or ask for more.")
            % {"left": f"{max(0, settings.UPLOAD_QUOTA_BYTES - reserved):,}"}
        )
    if usage.files + len(fresh) >= settings.UPLOAD_QUOTA_FILES:
        raise OverQuota(
            _("You may keep %(most)s files, and have as many. Remove some, or ask for more.")
            % {"most": f"{settings.UPLOAD_QUOTA_FILES:,}"}
        )


def _release_overdue(owner: User, usage: Usage) -> None:
    """Expiry gives the reservation back at once, not only when the next sweep comes."""
    if File.objects.overdue().discard(owner_id=owner.pk):
        usage.refresh_from_db()


def _with_url(answer: Started | Problem, new: NewUpload) -> Started | Problem:
    """Add the URL of a file that fits one part and whose digest is known: it needs no other call."""
    if isinstance(answer, Problem) or new.sha256 is None:
        return answer
    file = answer.file
    if file.part_count > 1 or file.state != State.UPLOADING:
        return answer
    try:
        signed = (
            s3.sign_put(file.key, size=file.size, sha256=new.sha256, store=file.store)
            if answer.new
            else sign_parts(file, [PartRequest(1, new.sha256)])[0]
        )
    except Problem as problem:
        return problem
    return replace(answer, signed=signed)
