"""The one move that is told to people as success, for many files in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from uploads.errors import OwnerOverQuota, Problem
from uploads.faultpoints import reached
from uploads.models.event import acting_address
from uploads.models.file import File, PartClaim
from uploads.models.states import Basis, Family
from uploads.models.usage import Usage
from uploads.models.versions import make_current

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
class Facts:
    """What the store says of a finished object, as the row will keep it."""

    etag: str
    checksum: str
    checksum_basis: Basis
    detected_type: str
    family: Family


class Published(NamedTuple):
    """Which files became available now, and which may not: new versions that their file's owner has no room for."""

    available: set[UUID]
    refused: dict[UUID, Problem]


def publish(found: Mapping[UUID, Facts]) -> Published:
    """Make assembled files available, in one transaction.

    A file that another caller published meanwhile, that was claimed anew with other content, or that is
    going, stays as it is.
    """
    if not found:
        return Published(set(), {})
    with transaction.atomic(), connection.cursor() as cursor:
        versions, refused = _lock_versions(list(found))
        published = _make_available(cursor, {pk: facts for pk, facts in found.items() if pk not in refused})
        reached("finish.6-publishing")
        PartClaim.objects.filter(file__in=published).delete()
        for version in versions:
            if version.pk in published:
                reached("replace.1-published")
                make_current(version)
                reached("replace.2-made-current")
    return Published(published, refused)


def _make_available(cursor: CursorWrapper, found: Mapping[UUID, Facts]) -> set[UUID]:
    ids = sorted(found)
    facts = [found[pk] for pk in ids]
    columns: Any = [
        ids,
        [fact.checksum for fact in facts],
        [fact.etag for fact in facts],
        [fact.checksum_basis.value for fact in facts],
        [fact.detected_type for fact in facts],
        [fact.family.value for fact in facts],
        acting_address(),
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
