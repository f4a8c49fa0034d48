"""Make a stored object a file that people see, and the current version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Now

from uploads.errors import OwnerOverQuota, Problem
from uploads.failpoints import failpoint
from uploads.models.audit import current_client_ip
from uploads.models.file import File, PartDigest
from uploads.models.states import Category, ChecksumStatus, State
from uploads.models.tag import Tagging
from uploads.models.usage import Usage

# Written by hand: the ORM has no UPDATE … FROM, and one UPDATE a row costs more than all else in a finish.
# Who published is the owner; the event stands in the same statement, so that neither is there alone. A folder
# that was removed while the bytes came is back with them.
PUBLISH = """
WITH published AS (
    UPDATE uploads_file AS file
    SET state = 'available', available_at = statement_timestamp(), updated_at = statement_timestamp(),
        lease_until = NULL, multipart_id = '',
        etag = found.etag, checksum_basis = found.checksum_basis, detected_type = found.detected_type,
        family = found.family
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
        AS found (id, checksum, etag, checksum_basis, detected_type, family)
    WHERE file.id = found.id AND file.checksum = found.checksum AND file.state = 'completing'
    RETURNING file.id, file.series, file.current, file.owner_id, file.name, file.size, file.folder_id
), told AS (
    INSERT INTO uploads_event (action, actor_id, actor, file_id, name, address, detail)
    SELECT CASE WHEN current THEN 'upload' ELSE 'version' END, owner_id, person.username,
        coalesce(series, published.id), name, %s::inet, jsonb_build_object('size', size)
    FROM published JOIN auth_user AS person ON person.id = owner_id
), revived AS (
    UPDATE uploads_folder SET removed_at = NULL
    WHERE removed_at IS NOT NULL AND id IN (
        SELECT unnest(folder.path) FROM published JOIN uploads_folder AS folder ON folder.id = folder_id
    )
)
SELECT id FROM published
"""


@dataclass(frozen=True, slots=True)
class ObjectMetadata:
    """What the store says of a finished object, as the row will keep it."""

    etag: str
    checksum: str
    checksum_basis: ChecksumStatus
    detected_type: str
    family: Category


class Published(NamedTuple):
    """Which files became available now, and which may not: new versions that their file's owner has no room for."""

    available: set[UUID]
    refused: dict[UUID, Problem]


def publish(found: Mapping[UUID, ObjectMetadata]) -> Published:
    """Make assembled files available, in one transaction.

    A file that another caller published meanwhile, that was claimed anew with other content, or that is
    going, stays as it is.
    """
    if not found:
        return Published(set(), {})
    with transaction.atomic(), connection.cursor() as cursor:
        versions, refused = _lock_versions(list(found))
        published = _make_available(cursor, {pk: facts for pk, facts in found.items() if pk not in refused})
        failpoint("finish.6-publishing")
        PartDigest.objects.filter(file__in=published).delete()
        for version in versions:
            if version.pk in published:
                failpoint("replace.1-published")
                promote_version(version)
                failpoint("replace.2-made-current")
    return Published(published, refused)


def _make_available(cursor: CursorWrapper, found: Mapping[UUID, ObjectMetadata]) -> set[UUID]:
    ids = sorted(found)
    facts = [found[pk] for pk in ids]
    columns: Any = [
        ids,
        [fact.checksum for fact in facts],
        [fact.etag for fact in facts],
        [fact.checksum_basis.value for fact in facts],
        [fact.detected_type for fact in facts],
        [fact.family.value for fact in facts],
        current_client_ip(),
    ]
    cursor.execute(PUBLISH, columns)
    return {pk for (pk,) in cursor.fetchall()}


def _lock_versions(ids: list[UUID]) -> tuple[list[File], dict[UUID, Problem]]:
    """Those of the rows that will replace another, with the usage rows that this may change, and those of them that
    the file's owner has no room for. Usage comes before any file row, in one order, as everywhere."""
    versions = list(File.objects.filter(pk__in=ids, current=False).order_by("pk"))
    if not versions:
        return [], {}
    replaced = {file.link: file.owner_id for file in File.objects.by_links(version.link for version in versions)}
    owners = {version.owner_id for version in versions} | set(replaced.values())
    usages = {owner_id: Usage.objects.locked(owner_id) for owner_id in sorted(owners)}
    refused: dict[UUID, Problem] = {}
    for version in versions:
        owner_id = replaced.get(version.link, version.owner_id)
        if owner_id == version.owner_id:
            continue  # it takes the room that it reserved
        usage = usages[owner_id]
        if usage.has_room(version.size):
            usage.files, usage.bytes = usage.files + 1, usage.bytes + version.size
        else:
            refused[version.pk] = OwnerOverQuota()
    return versions, refused


def promote_version(version: File) -> None:
    """Let this available version be the one that the link leads to; what it takes the place of stays as an
    older version.

    Name, folder, visibility, owner and tags are the file's, not the version's: they pass on. The caller is
    in a transaction and holds the usage rows of both owners.
    """
    link = version.link
    before = File.objects.by_link(link).exclude(pk=version.pk).select_for_update(no_key=True).first()
    kept: dict[str, Any] = {}
    if before is not None:
        File.objects.filter(pk=before.pk).update(current=False, series=link, updated_at=Now())
        kept = {
            "name": before.name,
            "folded": before.folded,
            "folder_id": before.folder_id,
            "visibility": before.visibility,
            "owner_id": before.owner_id,
        }
        if version.owner_id != before.owner_id:
            kept["uploaded_by_id"] = version.uploaded_by_id or version.owner_id
            _hand_over(version, to=before.owner_id)
        Tagging.objects.filter(file=before).update(file=version)
        if before.state == State.TRASHED:
            # the file was removed while the bytes came: it stays so, whole, and can be restored whole
            kept |= {"state": State.TRASHED, "purge_after": before.purge_after}
    File.objects.filter(pk=version.pk).update(current=True, series=link, updated_at=Now(), **kept)
    version.refresh_from_db()


def _hand_over(version: File, *, to: int) -> None:
    """A new version of somebody's file takes that person's space."""
    Usage.objects.locked(version.owner_id).change(files=-1, bytes=-version.size)
    Usage.objects.locked(to).change(files=1, bytes=version.size)
