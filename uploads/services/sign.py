"""Presign URLs for the parts of an upload, list the parts that are stored, and check that its sender may continue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import (
    BadDigest,
    Expired,
    FolderNotWritable,
    Forbidden,
    Gone,
    InvalidTransition,
    MayNotUpload,
    Problem,
)
from uploads.failpoints import failpoint
from uploads.models import File, Folder, PartDigest, State
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_guard import require_own_bucket
from uploads.services.erase import urls_expired
from uploads.services.file_requests import guest_problems


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part to sign a URL for: its number, counted from 1, and the base64 SHA-256 of its bytes."""

    number: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part in the storage; `sha256` is the storage's, or else what the part was announced with."""

    number: int
    size: int
    sha256: str | None


def sign_parts(file: File, parts: Sequence[PartRequest]) -> list[s3.PresignedRequest]:
    """Return presigned requests for these parts, each valid for exactly the announced bytes. Safe to repeat.

    Extends the expiry of the upload. Raises Expired, Gone or InvalidTransition when it accepts no more bytes, and
    Forbidden when its sender may no longer add it to its folder.
    """
    if s3.needs_digests(file.store) and any(part.sha256 is None for part in parts):
        raise BadDigest(_("Send the SHA-256 of each part. Storage uses it to verify the upload."))
    if file.state == State.UPLOADING:
        require_permission(file)
    if file.part_count == 1 and s3.signs_payloads(file.store):
        for part in parts:
            _bind_digest(file, str(part.sha256))
    if not File.objects.filter(pk=file.pk).extend(signed_seconds=s3.URL_SECONDS):
        raise why_closed(File.objects.filter(pk=file.pk).first())
    failpoint("sign.1-extended")
    _save_announced_digests(file, parts)
    failpoint("sign.2-digests-saved")
    if file.part_count == 1:
        return [s3.sign_put(file.key, size=file.size, sha256=part.sha256, store=file.store) for part in parts]
    multipart_id = open_multipart(file)
    return [
        s3.sign_part(
            file.key, multipart_id, part.number,
            size=file.length_of(part.number), sha256=part.sha256, store=file.store,
        )
        for part in parts
    ]  # fmt: skip


def parts_of(file: File) -> list[StoredPart]:
    """Return the parts that are stored, from the storage's own list.

    Empty when the storage has lost the whole multipart upload (it expired there); the next part begins a new one.
    """
    if file.state != State.UPLOADING:
        return []
    if file.part_count == 1:
        return _single_part(file)
    if not file.multipart_id:
        return []
    listed = s3.list_parts(file.key, file.multipart_id, store=file.store)
    if listed is None:
        require_own_bucket(file.store)
        _forget_multipart(file)
        return []
    announced = _announced_digests(file)
    return [StoredPart(part.number, part.size, part.sha256 or announced.get(part.number)) for part in listed]


def open_multipart(file: File) -> str:
    """Return the id of the file's multipart upload, created if there is none. Of two racing callers one wins."""
    if file.multipart_id:
        return file.multipart_id
    multipart_id = s3.create_multipart(file.key, store=file.store)
    failpoint("sign.3-multipart-begun")
    rows = File.objects.filter(pk=file.pk, state=State.UPLOADING, multipart_id="")
    if rows.update(multipart_id=multipart_id):
        failpoint("sign.4-multipart-saved")
        file.multipart_id = multipart_id
        return multipart_id
    s3.abort_multipart(file.key, multipart_id, store=file.store)
    file.refresh_from_db()
    if file.state != State.UPLOADING:
        raise why_closed(file)
    return file.multipart_id


def _bind_digest(file: File, sha256: str) -> None:
    """Bind an upload of one part to this digest while a presigned URL for it is valid. Raises BadDigest for another.

    Such a URL stays valid after the finish, and this storage does not support If-None-Match, so other content must not
    get one.
    """
    rows = File.objects.filter(pk=file.pk, state=State.UPLOADING)
    unbound = rows.filter(urls_expired() | Q(checksum__in=["", sha256]))
    if not unbound.update(checksum=sha256, signed_until=seconds_from_now(s3.URL_SECONDS)) and rows.exists():
        raise BadDigest(_("The file has changed since this upload started. Cancel it and upload the file again."))


def why_closed(row: File | None) -> Problem:
    """Return the problem that explains why an upload accepts no more bytes, by its current row."""
    if row is None or row.state in {State.TRASHED, State.DELETING}:
        return Gone()
    if row.state == State.UPLOADING:
        return Expired()
    return InvalidTransition(_("This upload is already finished."))


def _single_part(file: File) -> list[StoredPart]:
    stored = s3.head_and_sniff(file.key, size=file.size, store=file.store)
    if stored is None or stored.size != file.size:
        return []
    return [StoredPart(1, stored.size, stored.checksum or file.checksum or None)]


def _forget_multipart(file: File) -> None:
    File.objects.filter(pk=file.pk, state=State.UPLOADING, multipart_id=file.multipart_id).update(multipart_id="")
    PartDigest.objects.filter(file=file).delete()
    file.multipart_id = ""


def _save_announced_digests(file: File, parts: Sequence[PartRequest]) -> None:
    """Save the announced digest of each part if the storage does not keep digests."""
    digests = [PartDigest(file=file, number=part.number, sha256=part.sha256) for part in parts if part.sha256]
    if s3.keeps_digests(file.store) or not digests:
        return
    if file.part_count == 1:
        File.objects.filter(pk=file.pk, state=State.UPLOADING).update(checksum=digests[-1].sha256)
        return
    PartDigest.objects.bulk_create(
        digests,
        update_conflicts=True,
        unique_fields=["file", "number"],
        update_fields=["sha256"],
    )


def _announced_digests(file: File) -> dict[int, str]:
    return dict(PartDigest.objects.filter(file=file).values_list("number", "sha256"))


# --- the permission of the sender, who can lose it during the days of an upload -----------------


def permission_problems(sender_id: int, files: Sequence[File]) -> dict[UUID, Problem]:
    """Return the problem of each of this sender's unfinished uploads that is refused now.

    Permissions are read again, since the user of a request may have been loaded minutes ago. At most five queries,
    however many files.
    """
    guests = [file for file in files if file.guest_session_id]
    files = [file for file in files if not file.guest_session_id]
    if guests:
        return guest_problems(guests) | permission_problems(sender_id, files)
    if not files:
        return {}
    sender = User.objects.filter(pk=sender_id, is_active=True).first()
    if sender is None or not sender.has_perm("uploads.add_file"):
        return {file.pk: MayNotUpload() for file in files}
    new = [file for file in files if file.current]
    versions = [file for file in files if not file.current]
    return _refuse_new_files(sender, new) | _refuse_versions(sender, versions)


def require_permission(file: File) -> None:
    """Raise Forbidden or Gone when this unfinished upload is refused now."""
    for problem in permission_problems(file.owner_id, [file]).values():
        raise problem


def _refuse_new_files(sender: User, files: Sequence[File]) -> dict[UUID, Problem]:
    folder_ids = {file.folder_id for file in files if file.folder_id is not None}
    writable: set[int | None] = {None}
    if folder_ids:
        rows = Folder.objects.writable_by(sender, with_removed=True).filter(pk__in=folder_ids)
        writable.update(rows.values_list("pk", flat=True))
    return {file.pk: FolderNotWritable() for file in files if file.folder_id not in writable}


def _refuse_versions(sender: User, files: Sequence[File]) -> dict[UUID, Problem]:
    if not files:
        return {}
    replaced = File.objects.by_permanent_ids({file.permanent_id for file in files})
    existing = {file.permanent_id for file in replaced}
    changeable = {file.permanent_id for file in replaced.changeable_by(sender)}
    problems: dict[UUID, Problem] = {}
    for file in files:
        if file.permanent_id not in existing:
            problems[file.pk] = Gone()
        elif file.permanent_id not in changeable:
            problems[file.pk] = Forbidden(
                _("The file to replace doesn't exist, or you don't have permission to change it.")
            )
    return problems
