"""The one move that is told to people as success, for many files in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from uploads.models.file import PartClaim
from uploads.models.states import Basis

# Written by hand: the ORM has no UPDATE … FROM, and one UPDATE a row costs more than all else in a finish.
PUBLISH = """
UPDATE uploads_file AS file
SET state = 'available', available_at = statement_timestamp(), updated_at = statement_timestamp(),
    lease_until = NULL, multipart_id = '',
    etag = found.etag, checksum_basis = found.checksum_basis, detected_type = found.detected_type
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[])
    AS found (id, checksum, etag, checksum_basis, detected_type)
WHERE file.id = found.id AND file.checksum = found.checksum AND file.state = 'completing'
RETURNING file.id
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the store says of a finished object, as the row will keep it."""

    etag: str
    checksum: str
    checksum_basis: Basis
    detected_type: str


def publish(found: Mapping[UUID, Facts]) -> set[UUID]:
    """Make assembled files available, in one transaction. Which of them became so now.

    A file that another caller published meanwhile, that was claimed anew with other content, or that is
    going, stays as it is.
    """
    if not found:
        return set()
    ids = sorted(found)
    facts = [found[pk] for pk in ids]
    columns: Any = [
        ids,
        [fact.checksum for fact in facts],
        [fact.etag for fact in facts],
        [fact.checksum_basis.value for fact in facts],
        [fact.detected_type for fact in facts],
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PUBLISH, columns)
        published = {pk for (pk,) in cursor.fetchall()}
        PartClaim.objects.filter(file__in=published).delete()
    return published
