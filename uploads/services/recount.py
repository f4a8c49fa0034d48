"""Count the rows, and say where the kept totals and what people have used differ from them."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction

from amalga.db import without_statement_timeout
from uploads.models import apply_deltas

LOCK = 0x7265636F756E74  # one at a time: two would both add what is missing

# As the triggers count (migration 0005). Figures with the notes that are not folded yet, and the rows, are seen by
# one statement, and so at one moment, while uploads go on.
DIFFERENCES = """
WITH rows AS (
    SELECT size, owner_id, coalesce(folder_id, 0) AS folder_id, family,
        (coalesce(available_at, created_at) AT TIME ZONE 'UTC')::date AS day,
        CASE
            WHEN state = 'available' AND current THEN 'stored'
            WHEN state = 'available' THEN 'version'
            WHEN state = 'trashed' THEN 'trashed'
            ELSE 'unfinished'
        END AS status
    FROM uploads_file WHERE state <> 'deleting'
), counted AS (
    SELECT
        CASE
            WHEN grouping(owner_id) = 0 THEN 'owner'
            WHEN grouping(folder_id) = 0 THEN 'folder'
            WHEN grouping(family) = 0 THEN 'family'
            WHEN grouping(day) = 0 THEN 'day'
            ELSE 'total'
        END AS kind,
        coalesce(owner_id::text, folder_id::text, family, day::text, '') AS key,
        status, count(*) AS files, sum(size) AS bytes
    FROM rows
    GROUP BY GROUPING SETS ((status), (owner_id, status), (folder_id, status), (family, status), (day, status))
    UNION ALL
    SELECT 'tag', tag_id::text, 'stored', count(*), 0 FROM uploads_tagging GROUP BY tag_id
), kept AS (
    SELECT kind, key, status, sum(files) AS files, sum(bytes) AS bytes FROM (
        SELECT kind, key, status, files, bytes FROM uploads_figure
        UNION ALL
        SELECT kind, key, status, files, bytes FROM uploads_change
    ) AS noted GROUP BY kind, key, status
), differing AS (
    SELECT kind, key, status,
        coalesce(kept.files, 0)::bigint AS kept_files, coalesce(kept.bytes, 0)::bigint AS kept_bytes,
        coalesce(counted.files, 0)::bigint AS files, coalesce(counted.bytes, 0)::bigint AS bytes
    FROM kept FULL JOIN counted USING (kind, key, status)
    WHERE coalesce(kept.files, 0) <> coalesce(counted.files, 0)
        OR coalesce(kept.bytes, 0) <> coalesce(counted.bytes, 0)
){mend}
SELECT kind, key, status, kept_files, kept_bytes, files, bytes FROM differing ORDER BY kind, key, status
"""

# What people have stored and made, as their usage rows tell and as the rows have it; in one statement as well.
USAGE_DIFFERENCES = """
WITH counted AS (
    SELECT owner_id, sum(files) AS files, sum(bytes) AS bytes, sum(folders) AS folders, sum(tags) AS tags FROM (
        SELECT owner_id, count(*) AS files, sum(size) AS bytes, 0 AS folders, 0 AS tags
        FROM uploads_file WHERE state <> 'deleting' GROUP BY owner_id
        UNION ALL
        SELECT created_by_id, 0, 0, count(*), 0 FROM uploads_folder WHERE created_by_id IS NOT NULL
        GROUP BY created_by_id
        UNION ALL
        SELECT created_by_id, 0, 0, 0, count(*) FROM uploads_tag WHERE created_by_id IS NOT NULL GROUP BY created_by_id
    ) AS noted GROUP BY owner_id
), differing AS (
    SELECT owner_id,
        coalesce(kept.files, 0) AS kept_files, coalesce(counted.files, 0)::bigint AS files,
        coalesce(kept.bytes, 0) AS kept_bytes, coalesce(counted.bytes, 0)::bigint AS bytes,
        coalesce(kept.folders, 0) AS kept_folders, coalesce(counted.folders, 0)::bigint AS folders,
        coalesce(kept.tags, 0) AS kept_tags, coalesce(counted.tags, 0)::bigint AS tags
    FROM uploads_usage AS kept FULL JOIN counted USING (owner_id)
){mend}
SELECT 'usage', owner_id::text, of.status, of.kept_files, of.kept_bytes, of.files, of.bytes
FROM differing CROSS JOIN LATERAL (VALUES
    ('files', kept_files, kept_bytes, files, bytes),
    ('folders', kept_folders, 0, folders, 0),
    ('tags', kept_tags, 0, tags, 0)
) AS of (status, kept_files, kept_bytes, files, bytes)
WHERE of.kept_files <> of.files OR of.kept_bytes <> of.bytes
ORDER BY owner_id, of.status
"""

# Added to what is kept by now, since people go on working.
USAGE_FIX_SQL = """, mended AS (
    INSERT INTO uploads_usage AS usage (owner_id, files, bytes, folders, tags)
    SELECT owner_id, files, bytes, folders, tags FROM differing
    WHERE files <> kept_files OR bytes <> kept_bytes OR folders <> kept_folders OR tags <> kept_tags
    ON CONFLICT (owner_id) DO UPDATE SET (files, bytes, folders, tags) = (
        SELECT usage.files + files - kept_files, usage.bytes + bytes - kept_bytes,
            usage.folders + folders - kept_folders, usage.tags + tags - kept_tags
        FROM differing WHERE differing.owner_id = usage.owner_id
    )
)"""

# What is missing is added as a note like any other, so that nothing has to wait for it.
FIX_SQL = """, mended AS (
    INSERT INTO uploads_change (kind, key, status, files, bytes)
    SELECT kind, key, status, files - kept_files, bytes - kept_bytes FROM differing
)"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure as it is kept, and as the rows have it: files and bytes."""

    kind: str
    key: str
    status: str
    kept_files: int
    kept_bytes: int
    files: int
    bytes: int


def recount(*, apply: bool = False) -> list[Difference]:
    """Every figure that differs from the rows; with `apply` they agree afterwards. Safe to repeat, and while people
    work. Reads every file's row once: seconds for each million."""
    with without_statement_timeout(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute(DIFFERENCES.format(mend=FIX_SQL if apply else ""))
        found = [Difference(*row) for row in cursor.fetchall()]
        cursor.execute(USAGE_DIFFERENCES.format(mend=USAGE_FIX_SQL if apply else ""))
        found += [Difference(*row) for row in cursor.fetchall()]
    if apply:
        apply_deltas()
    return found
