"""Publish stored objects: make their files available, and new versions current."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Now

from uploads.errors import OwnerOverQuota, Problem
from uploads.failpoints import failpoint
from uploads.models.audit import current_client_ip
from uploads.models.file import File, PartDigest, Tagging
from uploads.models.states import Category, ChecksumStatus, State
from uploads.models.usage import Usage

# Raw SQL: the ORM has no UPDATE … FROM, and one UPDATE per row costs more than the rest of a completion.
# The owner is the actor, except of what a guest has sent: then the detail has the name that the guest gave. The event
# is written in the same statement, so that neither exists without the other. A folder that was removed during the
# upload is restored. Files of one call are a microsecond apart, so that the newest first are also in the order of their
# names.
PUBLISH = """
WITH published AS (
    UPDATE uploads_file AS file
    SET state = 'available', available_at = statement_timestamp() - object.place * interval '1 microsecond',
        updated_at = statement_timestamp(),
        lease_until = NULL, multipart_id = '',
        etag = object.etag, checksum_status = object.checksum_status, detected_type = object.detected_type,
        category = object.category,
        scan_status = CASE WHEN %s OR %s AND file.guest_session_id IS NOT NULL THEN 'pending' ELSE '' END,
        quarantined = %s OR %s AND file.guest_session_id IS NOT NULL
    FROM (
        SELECT item.*, row_number() OVER (ORDER BY natural_name) - 1 AS place
        FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
            AS item (id, checksum, etag, checksum_status, detected_type, category)
        JOIN uploads_file AS named ON named.id = item.id
    ) AS object
    WHERE file.id = object.id AND file.checksum = object.checksum AND file.state = 'completing'
    RETURNING file.id, file.series, file.current, file.owner_id, file.name, file.size, file.folder_id,
        file.guest_session_id
), recorded AS (
    INSERT INTO uploads_event (action, actor_id, actor, file_id, name, address, detail)
    SELECT CASE WHEN guest.id IS NOT NULL THEN 'guest_upload' WHEN current THEN 'upload' ELSE 'version' END,
        CASE WHEN guest.id IS NULL THEN owner_id END, CASE WHEN guest.id IS NULL THEN person.username ELSE '' END,
        coalesce(series, published.id), published.name, %s::inet,
        jsonb_build_object('size', size) || CASE WHEN guest.id IS NULL THEN '{}' ELSE jsonb_build_object(
            'guest', guest.name, 'guest_address', guest.address, 'request', guest.request_id) END
    FROM published JOIN auth_user AS person ON person.id = owner_id
    LEFT JOIN uploads_guestsession AS guest ON guest.id = published.guest_session_id
), restored AS (
    UPDATE uploads_folder SET removed_at = NULL
    WHERE removed_at IS NOT NULL AND id IN (
        SELECT unnest(folder.path) FROM published JOIN uploads_folder AS folder ON folder.id = folder_id
    )
)
SELECT id FROM published
"""


@dataclass(frozen=True, slots=True)
class ObjectMetadata:
    """The metadata of a completed object that its row stores."""

    etag: str
    checksum: str
    checksum_status: ChecksumStatus
    detected_type: str
    category: Category


class Published(NamedTuple):
    """The files that became available, and the new versions that exceed the quota of their file's owner."""

    available: set[UUID]
    refused: dict[UUID, Problem]


def publish(metadata: Mapping[UUID, ObjectMetadata]) -> Published:
    """Make assembled files available, in one transaction.

    Files that another caller has published, whose lease was acquired again for other content, or that are being
    deleted stay as they are. Safe to repeat.
    """
    if not metadata:
        return Published(set(), {})
    with transaction.atomic(), connection.cursor() as cursor:
        versions, refused = _lock_versions(list(metadata))
        published = _make_available(cursor, {pk: item for pk, item in metadata.items() if pk not in refused})
        failpoint("finish.6-publishing")
        PartDigest.objects.filter(file__in=published).delete()
        for version in versions:
            if version.pk in published:
                failpoint("replace.1-published")
                promote_version(version)
                failpoint("replace.2-made-current")
    return Published(published, refused)


def _make_available(cursor: CursorWrapper, metadata: Mapping[UUID, ObjectMetadata]) -> set[UUID]:
    ids = sorted(metadata)
    items = [metadata[pk] for pk in ids]
    scanned = [settings.MALWARE_SCAN == "all", settings.MALWARE_SCAN == "requests"]
    parameters: Any = [
        *scanned,
        *scanned,
        ids,
        [item.checksum for item in items],
        [item.etag for item in items],
        [item.checksum_status.value for item in items],
        [item.detected_type for item in items],
        [item.category.value for item in items],
        current_client_ip(),
    ]
    cursor.execute(PUBLISH, parameters)
    return {pk for (pk,) in cursor.fetchall()}


def _lock_versions(ids: list[UUID]) -> tuple[list[File], dict[UUID, Problem]]:
    """Lock the usage rows that publishing new versions can change. Return these versions, and the error for each
    one that exceeds the quota of the file's owner.

    Usage rows are locked before any file row and in one order, as everywhere, so that callers cannot deadlock.
    """
    versions = list(File.objects.filter(pk__in=ids, current=False).order_by("pk"))
    if not versions:
        return [], {}
    replaced = {
        file.permanent_id: file.owner_id
        for file in File.objects.by_permanent_ids(version.permanent_id for version in versions)
    }
    owners = {version.owner_id for version in versions} | set(replaced.values())
    usages = {owner_id: Usage.objects.locked(owner_id) for owner_id in sorted(owners)}
    refused: dict[UUID, Problem] = {}
    for version in versions:
        owner_id = replaced.get(version.permanent_id, version.owner_id)
        if owner_id == version.owner_id:
            continue  # it uses the space that it reserved
        usage = usages[owner_id]
        if usage.has_room(version.size):
            usage.files, usage.bytes = usage.files + 1, usage.bytes + version.size
        else:
            refused[version.pk] = OwnerOverQuota()
    return versions, refused


def promote_version(version: File) -> None:
    """Make this available version the current one; the one before it becomes a previous version.

    Name, folder, visibility, owner and tags belong to the file, so they pass to the new version. The caller is
    in a transaction and has locked the usage rows of both owners.
    """
    permanent_id = version.permanent_id
    previous = File.objects.by_permanent_id(permanent_id).exclude(pk=version.pk).select_for_update(no_key=True).first()
    inherited: dict[str, Any] = {}
    if previous is not None:
        File.objects.filter(pk=previous.pk).update(current=False, series=permanent_id, updated_at=Now())
        inherited = {
            "name": previous.name,
            "normalized_name": previous.normalized_name,
            "folder_id": previous.folder_id,
            "visibility": previous.visibility,
            "owner_id": previous.owner_id,
        }
        if version.owner_id != previous.owner_id:
            inherited["uploaded_by_id"] = version.uploaded_by_id or version.owner_id
            _charge_owner(version, to=previous.owner_id)
        Tagging.objects.filter(file=previous).update(file=version)
        if previous.state == State.TRASHED:
            # the file was moved to the trash during the upload: it stays there, and can be restored with all versions
            inherited |= {"state": State.TRASHED, "purge_after": previous.purge_after}
    File.objects.filter(pk=version.pk).update(current=True, series=permanent_id, updated_at=Now(), **inherited)
    version.refresh_from_db()


def _charge_owner(version: File, *, to: int) -> None:
    """Count a new version against the quota of the file's owner."""
    Usage.objects.locked(version.owner_id).change(files=-1, bytes=-version.size)
    Usage.objects.locked(to).change(files=1, bytes=version.size)
