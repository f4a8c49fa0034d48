"""Reserve rows for files that are about to be sent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import Gone, OverQuota, Problem, RefusedType, TooLarge
from uploads.models import File, State, Usage
from uploads.models.queries import in_seconds
from uploads.parts import part_size_for
from uploads.services.sign import sign_parts
from uploads.wanted import NewFile, WantedPart

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """The row of one announced file; `new` is False when the token was used before."""

    file: File
    new: bool
    signed: s3.Signed | None = None


def start(owner: User, wanted: Sequence[NewFile]) -> list[Started | Problem]:
    """One row for each file, or why not, in the order asked. Safe to repeat: a token gives its row again.

    Everything happens in one short transaction under the owner's usage row, so that any number of
    calls at once never exceed a quota. The store is not asked: nothing can be left there.
    """
    with transaction.atomic():
        usage = Usage.objects.locked(owner.pk)
        _release_overdue(owner, usage)
        known = File.objects.owned_by(owner).by_token(new.token for new in wanted)
        answers: list[Started | Problem] = []
        fresh: list[File] = []
        for new in wanted:
            answer = _admit(new, owner, usage, fresh, known)
            answers.append(answer)
            if isinstance(answer, Started):
                known[new.token] = answer.file
        File.objects.bulk_create(fresh)
        usage.change(files=len(fresh), bytes=sum(file.size for file in fresh))
    for file in fresh:
        logger.info("upload_started file=%s owner=%s size=%s", file.pk, owner.pk, file.size)
    return [_with_url(answer, new) for answer, new in zip(answers, wanted, strict=True)]


def refuse_type(*types: str, name: str) -> None:
    """Raise RefusedType when the name's extension or one of the media types is on the refused list."""
    found = {PurePosixPath(name).suffix.lower(), *(kind.lower() for kind in types)} - {""}
    found |= {f"{kind.partition('/')[0]}/*" for kind in found if "/" in kind}
    for kind in found & set(settings.UPLOAD_REFUSED_TYPES):
        raise RefusedType(_("Files of type %(type)s are not accepted here.") % {"type": kind})


def _admit(new: NewFile, owner: User, usage: Usage, fresh: list[File], known: dict[UUID, File]) -> Started | Problem:
    if new.token in known:
        file = known[new.token]
        return Gone() if file.state in {State.TRASHED, State.DELETING} else Started(file, new=False)
    try:
        _refuse_too_much(new, usage, fresh)
        refuse_type(new.claimed_type, name=new.name)
    except Problem as problem:
        return problem
    file = File(
        owner=owner,
        token=new.token,
        name=new.name,
        folder=new.folder,
        visibility=new.visibility,
        claimed_type=new.claimed_type,
        modified=new.modified,
        size=new.size,
        part_size=part_size_for(new.size, smallest=settings.UPLOAD_PART_BYTES),
        state=State.UPLOADING,
        expires_at=in_seconds(settings.UPLOAD_EXPIRY_HOURS * 3600),
        signed_until=in_seconds(s3.URL_SECONDS) if new.sha256 else None,
    )
    if file.part_count == 1:
        file.checksum = new.sha256 or ""  # announced; it counts once the file is available
    fresh.append(file)
    return Started(file, new=True)


def _refuse_too_much(new: NewFile, usage: Usage, fresh: list[File]) -> None:
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


def _with_url(answer: Started | Problem, new: NewFile) -> Started | Problem:
    """Add the URL of a file that fits one part and whose digest is known: it needs no other call."""
    if isinstance(answer, Problem) or new.sha256 is None:
        return answer
    file = answer.file
    if file.part_count > 1 or file.state != State.UPLOADING:
        return answer
    try:
        signed = (
            s3.sign_put(file.key, size=file.size, sha256=new.sha256)
            if answer.new
            else sign_parts(file, [WantedPart(1, new.sha256)])[0]
        )
    except Problem as problem:
        return problem
    return replace(answer, signed=signed)
