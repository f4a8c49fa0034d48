"""Sign URLs for the parts of an upload, and tell which parts are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import BadDigest, Expired, Gone, InvalidTransition, Problem
from uploads.failpoints import failpoint
from uploads.models import File, PartDigest, State
from uploads.models.querysets import seconds_from_now
from uploads.services.bucket_owner import require_own_bucket
from uploads.services.erase import no_live_urls
from uploads.services.rights import require_right
from uploads.upload_requests import PartRequest


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has; `sha256` is the store's, or what the part was announced with."""

    number: int
    size: int
    sha256: str | None


def sign_parts(file: File, wanted: Sequence[PartRequest]) -> list[s3.PresignedRequest]:
    """URLs for these parts, each good for exactly the announced bytes. Safe to repeat.

    Gives the upload new time. Raises Expired, Gone or InvalidTransition when it takes no more bytes, Forbidden when
    its sender may no longer put it where it goes.
    """
    if s3.needs_digests(file.store) and any(part.sha256 is None for part in wanted):
        raise BadDigest(_("Each part needs its SHA-256: this store checks what arrives."))
    if file.state == State.UPLOADING:
        require_right(file)
    if file.part_count == 1 and s3.signs_payloads(file.store):
        for part in wanted:
            _bind(file, str(part.sha256))
    if not File.objects.filter(pk=file.pk).extend(signed_seconds=s3.URL_SECONDS):
        raise why_closed(File.objects.filter(pk=file.pk).first())
    failpoint("sign.1-extended")
    _save_claimed_digests(file, wanted)
    failpoint("sign.2-claims-kept")
    if file.part_count == 1:
        return [s3.sign_put(file.key, size=file.size, sha256=part.sha256, store=file.store) for part in wanted]
    multipart_id = open_multipart(file)
    return [
        s3.sign_part(
            file.key, multipart_id, part.number,
            size=file.length_of(part.number), sha256=part.sha256, store=file.store,
        )
        for part in wanted
    ]  # fmt: skip


def parts_of(file: File) -> list[StoredPart]:
    """The parts that are stored already, from the store's own list.

    When the store has lost the whole upload (it expired there), a new one is begun with the next
    part, and the answer is that nothing is stored.
    """
    if file.state != State.UPLOADING:
        return []
    if file.part_count == 1:
        return _the_only_part(file)
    if not file.multipart_id:
        return []
    listed = s3.list_parts(file.key, file.multipart_id, store=file.store)
    if listed is None:
        require_own_bucket(file.store)
        _forget_multipart(file)
        return []
    announced = _claimed_digests(file)
    return [StoredPart(part.number, part.size, part.sha256 or announced.get(part.number)) for part in listed]


def open_multipart(file: File) -> str:
    """The id of the file's multipart upload, begun now if there is none. Of two callers one's stays."""
    if file.multipart_id:
        return file.multipart_id
    begun = s3.create_multipart(file.key, store=file.store)
    failpoint("sign.3-multipart-begun")
    rows = File.objects.filter(pk=file.pk, state=State.UPLOADING, multipart_id="")
    if rows.update(multipart_id=begun):
        failpoint("sign.4-multipart-kept")
        file.multipart_id = begun
        return begun
    s3.abort_multipart(file.key, begun, store=file.store)
    file.refresh_from_db()
    if file.state != State.UPLOADING:
        raise why_closed(file)
    return file.multipart_id


def _bind(file: File, sha256: str) -> None:
    """A URL of a file of one part is good after the finish as well, and this store knows no If-None-Match: while one
    lives, no other content gets one. Raises BadDigest."""
    open_now = File.objects.filter(pk=file.pk, state=State.UPLOADING)
    free = open_now.filter(no_live_urls() | Q(checksum__in=["", sha256]))
    if not free.update(checksum=sha256, signed_until=seconds_from_now(s3.URL_SECONDS)) and open_now.exists():
        raise BadDigest(_("This upload was begun with other bytes. Cancel it and send the file anew."))


def why_closed(row: File | None) -> Problem:
    """Why an upload takes no more bytes, by its row as it is now."""
    if row is None or row.state in {State.TRASHED, State.DELETING}:
        return Gone()
    if row.state == State.UPLOADING:
        return Expired()
    return InvalidTransition(_("The upload is finished; nothing more can be sent to it."))


def _the_only_part(file: File) -> list[StoredPart]:
    stored = s3.head_and_sniff(file.key, size=file.size, store=file.store)
    if stored is None or stored.size != file.size:
        return []
    return [StoredPart(1, stored.size, stored.checksum or file.checksum or None)]


def _forget_multipart(file: File) -> None:
    File.objects.filter(pk=file.pk, state=State.UPLOADING, multipart_id=file.multipart_id).update(multipart_id="")
    PartDigest.objects.filter(file=file).delete()
    file.multipart_id = ""


def _save_claimed_digests(file: File, wanted: Sequence[PartRequest]) -> None:
    """Where the store keeps no digests, ours keep what each part was announced with."""
    claims = [PartDigest(file=file, number=p.number, sha256=p.sha256) for p in wanted if p.sha256]
    if s3.keeps_digests(file.store) or not claims:
        return
    if file.part_count == 1:
        File.objects.filter(pk=file.pk, state=State.UPLOADING).update(checksum=claims[-1].sha256)
        return
    PartDigest.objects.bulk_create(
        claims,
        update_conflicts=True,
        unique_fields=["file", "number"],
        update_fields=["sha256"],
    )


def _claimed_digests(file: File) -> dict[int, str]:
    return dict(PartDigest.objects.filter(file=file).values_list("number", "sha256"))
