"""Write the file rows of a batch of objects: by COPY into a temporary table, then by INSERT."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection

from amalga.db import DAY_SECONDS, statement_timeout
from uploads.models import Action, Event, Origin, Refusal, Usage, Visibility
from uploads.models.file import main_store
from uploads.names import normalize_for_search
from uploads.parts import part_size_for
from uploads.services.folders import restore_folders
from uploads.services.imports.key_mapping import ImportCandidate

NULL = r"\N"
ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})

STAGE = """
CREATE TEMPORARY TABLE imported (
    id uuid, key text COLLATE "C", size bigint, etag text, modified timestamptz, name text, normalized_name text,
    folder_id bigint, declared_type text, category text, part_size bigint, refusal text
) ON COMMIT DROP
"""
COPY = "COPY imported FROM STDIN"

# Existing rows stay as they are: another import may run, or have run. Keys are inserted in order, so that two imports
# cannot deadlock.
INSERT = """
WITH added AS (
    INSERT INTO uploads_file (
        id, token, key, store, origin, owner_id, name, normalized_name, folder_id, current, visibility, declared_type,
        detected_type, category, modified, state, size, part_size, multipart_id, etag, checksum, checksum_algorithm,
        checksum_status, available_at, refusal
    )
    SELECT id, id, key, %(store)s, %(origin)s, %(owner)s, name, normalized_name, folder_id, true, %(visibility)s,
        declared_type, '', category, modified, 'available', size, part_size, '', etag, '', 'sha256',
        'unverified', statement_timestamp(), refusal
    FROM imported ORDER BY key
    ON CONFLICT (key, store) DO NOTHING
    RETURNING size
)
SELECT count(*), coalesce(sum(size), 0)::bigint FROM added
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What all rows of an import have in common."""

    prefix: str
    owner: User
    visibility: Visibility = Visibility.TEAM
    origin: Origin = Origin.IMPORTED


class ImportedTotals(NamedTuple):
    files: int
    bytes: int


def existing_keys(keys: Sequence[str]) -> set[str]:
    """Return the keys that already have a file, in any state."""
    with connection.cursor() as cursor:  # raw SQL: with all keys in one parameter, a query takes a tenth of the time
        cursor.execute("SELECT key FROM uploads_file WHERE store = %s AND key = ANY(%s)", [main_store(), list(keys)])
        return {key for (key,) in cursor.fetchall()}


def add_files(
    candidates: Sequence[ImportCandidate], folders: Mapping[str, int | None], options: ImportOptions
) -> ImportedTotals:
    """Add files for these objects in one transaction, with the owner's usage and one event. Safe to repeat.

    `folders` maps each path to its folder's ID. The usage is locked last, so that several batches can be written at
    once. This cannot deadlock, as no other transaction can see, or lock, the new rows before.
    """
    parameters: dict[str, Any] = {
        "store": main_store(),
        "origin": options.origin,
        "owner": options.owner.pk,
        "visibility": options.visibility,
    }
    with statement_timeout(DAY_SECONDS) as cursor:
        _lock_folders({pk for candidate in candidates if (pk := folders[candidate.folder])})
        cursor.execute(STAGE)
        # Django does not turn the errors of a COPY into its own
        with connection.wrap_database_errors, cursor.copy(COPY) as copy:
            copy.write(_lines(candidates, folders))
        cursor.execute(INSERT, parameters)
        added = ImportedTotals(*cursor.fetchone())
        if added.files:
            Usage.objects.locked(options.owner.pk).change(files=added.files, bytes=added.bytes)
            # without keys: people who cannot see the files may read the activity
            totals: dict[str, Any] = added._asdict()
            Event.objects.record(Action.IMPORT, by=options.owner, name=options.prefix, origin=options.origin, **totals)
    return added


def _lock_folders(folders: set[int]) -> None:
    """Lock these folders against deletion until the transaction ends, and restore those in the trash.

    Unlike with `folders.lock`, several transactions can do so at once.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM uploads_folder WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE", [list(folders)])
    restore_folders(folders)


def _lines(candidates: Sequence[ImportCandidate], folders: Mapping[str, int | None]) -> str:
    """Return the rows for COPY. All text is escaped (U+FF3C, for example, normalizes to a backslash).

    IDs begin with the time, so that the indexes grow at one end.
    """
    timestamp, random_hex = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10 * len(candidates)).hex()
    min_part_bytes = settings.UPLOAD_PART_BYTES
    return "".join(
        f"{timestamp}{random_hex[20 * index : 20 * index + 20]}\t{candidate.key.translate(ESCAPED)}\t{candidate.size}\t"
        f"{candidate.etag.translate(ESCAPED)}\t{candidate.modified.isoformat()}\t{candidate.name.translate(ESCAPED)}\t"
        f"{normalize_for_search(candidate.name).translate(ESCAPED)}\t"
        f"{folders[candidate.folder] or NULL}\t{candidate.declared_type.translate(ESCAPED)}\t"
        f"{candidate.category}\t{part_size_for(candidate.size, smallest=min_part_bytes)}\t"
        f"{Refusal.ARCHIVED.value if candidate.archived else ''}\n"
        for index, candidate in enumerate(candidates)
    )
