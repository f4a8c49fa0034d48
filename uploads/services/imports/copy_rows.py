"""Write the rows of a batch of objects: by COPY into a table of their own, then into that of the files."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction

from amalga.db import without_statement_timeout
from uploads.models import Action, Event, Origin, Refusal, Usage, Visibility
from uploads.models.file import main_store
from uploads.names import normalize_for_search
from uploads.parts import part_size_for
from uploads.services.folders import restore_folder
from uploads.services.imports.key_mapping import ImportCandidate

NULL = r"\N"
ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})

STAGE = """
CREATE TEMPORARY TABLE brought (
    id uuid, key text COLLATE "C", size bigint, etag text, modified timestamptz, name text, folded text,
    folder_id bigint, claimed_type text, family text, part_size bigint, refusal text
) ON COMMIT DROP
"""
COPY = "COPY brought FROM STDIN"

# A row that is there is left as it is: somebody else imports too, or did. Keys come in order, so that of two imports
# none waits for the other in a circle.
INSERT = """
WITH added AS (
    INSERT INTO uploads_file (
        id, token, key, store, origin, owner_id, name, folded, folder_id, current, visibility, claimed_type,
        detected_type, family, modified, state, size, part_size, multipart_id, etag, checksum, checksum_algorithm,
        checksum_basis, available_at, refusal
    )
    SELECT id, id, key, %(store)s, %(origin)s, %(owner)s, name, folded, folder_id, true, %(visibility)s, claimed_type,
        '', family, modified, 'available', size, part_size, '', etag, '', 'sha256',
        'unread', statement_timestamp(), refusal
    FROM brought ORDER BY key
    ON CONFLICT (key, store) DO NOTHING
    RETURNING size
)
SELECT count(*), coalesce(sum(size), 0)::bigint FROM added
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What all rows of an import have alike."""

    prefix: str
    owner: User
    visibility: Visibility = Visibility.TEAM
    origin: Origin = Origin.IMPORTED


class Added(NamedTuple):
    files: int
    bytes: int


def existing_keys(keys: Sequence[str]) -> set[str]:
    """Those of the keys that have a file, in whatever state."""
    with connection.cursor() as cursor:  # by hand: as one parameter, a thousand keys cost a tenth
        cursor.execute("SELECT key FROM uploads_file WHERE store = %s AND key = ANY(%s)", [main_store(), list(keys)])
        return {key for (key,) in cursor.fetchall()}


def add(found: Sequence[ImportCandidate], folders: Mapping[str, int | None], owned: Owned) -> Added:
    """Make files of these objects, in one transaction, with their reservation and one event. Safe to repeat.

    `folders` has the folder of each path. The usage is locked last, so that several batches are written at once: no
    row that is added here is seen by anybody before, so nobody can hold one and wait for the usage.
    """
    parameters: dict[str, Any] = {
        "store": main_store(),
        "origin": owned.origin,
        "owner": owned.owner.pk,
        "visibility": owned.visibility,
    }
    with without_statement_timeout(), transaction.atomic(), connection.cursor() as cursor:
        _keep({pk for one in found if (pk := folders[one.folder])})
        cursor.execute(STAGE)
        # Django does not turn the errors of a COPY into its own
        with connection.wrap_database_errors, cursor.copy(COPY) as copy:
            copy.write(_lines(found, folders))
        cursor.execute(INSERT, parameters)
        added = Added(*cursor.fetchone())
        if added.files:
            Usage.objects.locked(owned.owner.pk).change(files=added.files, bytes=added.bytes)
            # no key is told: the activity is read by people who may not see the files
            told: dict[str, Any] = added._asdict()
            Event.objects.record(Action.IMPORT, by=owned.owner, name=owned.prefix, origin=owned.origin, **told)
    return added


def _keep(folders: set[int]) -> None:
    """Keep these folders from being removed until the transaction ends, and bring back those that are. Unlike
    `folders.hold`, several can do so at once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM uploads_folder WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [list(folders)])
    restore_folder(folders)


def _lines(found: Sequence[ImportCandidate], folders: Mapping[str, int | None]) -> str:
    """For COPY: every text is escaped (U+FF3C, for one, folds to a backslash). Ids begin with the time, so that
    the indexes grow at one end."""
    head, rest = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * len(found)).hex()
    smallest = settings.UPLOAD_PART_BYTES
    return "".join(
        f"{head}{rest[20 * at : 20 * at + 20]}\t{one.key.translate(ESCAPED)}\t{one.size}\t"
        f"{one.etag.translate(ESCAPED)}\t{one.modified.isoformat()}\t{one.name.translate(ESCAPED)}\t"
        f"{normalize_for_search(one.name).translate(ESCAPED)}\t"
        f"{folders[one.folder] or NULL}\t{one.claimed_type.translate(ESCAPED)}\t"
        f"{one.family}\t{part_size_for(one.size, smallest=smallest)}\t"
        f"{Refusal.ARCHIVED.value if one.archived else ''}\n"
        for at, one in enumerate(found)
    )
