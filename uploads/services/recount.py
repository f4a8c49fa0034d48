"""Recount the rows, and compare the stored counters and the usage of each person with them."""

from __future__ import annotations

from dataclasses import dataclass

from amalga.db import DAY_SECONDS, advisory_lock, statement_timeout
from uploads.models import apply_deltas

LOCK = 0x7265636F756E74  # one at a time: two would both add the difference

# Counts as the triggers do (migrations 0002 and 0016). One statement reads the counters, their pending changes and the
# rows, and so sees them at one moment, while uploads go on.
DIFFERENCES = """
WITH rows AS (
    SELECT size, owner_id, coalesce(folder_id, 0) AS folder_id, category, visibility, quarantined,
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
            WHEN grouping(category) = 0 THEN 'category'
            WHEN grouping(day) = 0 THEN 'day'
            ELSE 'total'
        END AS kind,
        coalesce(owner_id::text, folder_id::text, category, day::text, '') AS key,
        status, count(*) AS files, sum(size) AS bytes
    FROM rows
    GROUP BY GROUPING SETS ((status), (owner_id, status), (folder_id, status), (category, status), (day, status))
    UNION ALL
    SELECT 'team', folder_id::text, 'stored', count(*), sum(size) FROM rows
    WHERE status = 'stored' AND visibility = 'team' AND NOT quarantined GROUP BY folder_id
    UNION ALL
    SELECT 'tag', tag_id::text, 'stored', count(*), 0 FROM uploads_tagging GROUP BY tag_id
), stored AS (
    SELECT kind, key, status, sum(files) AS files, sum(bytes) AS bytes FROM (
        SELECT kind, key, status, files, bytes FROM uploads_statistic
        UNION ALL
        SELECT kind, key, status, files, bytes FROM uploads_statisticdelta
    ) AS combined GROUP BY kind, key, status
), differing AS (
    SELECT kind, key, status,
        coalesce(stored.files, 0)::bigint AS stored_files, coalesce(stored.bytes, 0)::bigint AS stored_bytes,
        coalesce(counted.files, 0)::bigint AS files, coalesce(counted.bytes, 0)::bigint AS bytes
    FROM stored FULL JOIN counted USING (kind, key, status)
    WHERE coalesce(stored.files, 0) <> coalesce(counted.files, 0)
        OR coalesce(stored.bytes, 0) <> coalesce(counted.bytes, 0)
){fix}
SELECT kind, key, status, stored_files, stored_bytes, files, bytes FROM differing ORDER BY kind, key, status
"""

# The usage of each person, in their usage row and by the files, folders and tags; in one statement as well.
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
    ) AS combined GROUP BY owner_id
), differing AS (
    SELECT owner_id,
        coalesce(stored.files, 0) AS stored_files, coalesce(counted.files, 0)::bigint AS files,
        coalesce(stored.bytes, 0) AS stored_bytes, coalesce(counted.bytes, 0)::bigint AS bytes,
        coalesce(stored.folders, 0) AS stored_folders, coalesce(counted.folders, 0)::bigint AS folders,
        coalesce(stored.tags, 0) AS stored_tags, coalesce(counted.tags, 0)::bigint AS tags
    FROM uploads_usage AS stored FULL JOIN counted USING (owner_id)
){fix}
SELECT 'usage', owner_id::text, of.status, of.stored_files, of.stored_bytes, of.files, of.bytes
FROM differing CROSS JOIN LATERAL (VALUES
    ('files', stored_files, stored_bytes, files, bytes),
    ('folders', stored_folders, 0, folders, 0),
    ('tags', stored_tags, 0, tags, 0)
) AS of (status, stored_files, stored_bytes, files, bytes)
WHERE of.stored_files <> of.files OR of.stored_bytes <> of.bytes
ORDER BY owner_id, of.status
"""

# Adds the difference to the current values, since people go on working.
USAGE_FIX_SQL = """, fixed AS (
    INSERT INTO uploads_usage AS usage (owner_id, files, bytes, folders, tags)
    SELECT owner_id, files, bytes, folders, tags FROM differing
    WHERE files <> stored_files OR bytes <> stored_bytes OR folders <> stored_folders OR tags <> stored_tags
    ON CONFLICT (owner_id) DO UPDATE SET (files, bytes, folders, tags) = (
        SELECT usage.files + files - stored_files, usage.bytes + bytes - stored_bytes,
            usage.folders + folders - stored_folders, usage.tags + tags - stored_tags
        FROM differing WHERE differing.owner_id = usage.owner_id
    )
)"""

# Adds the difference as a change like those of the triggers, so that nothing waits for a lock.
FIX_SQL = """, fixed AS (
    INSERT INTO uploads_statisticdelta (kind, key, status, files, bytes)
    SELECT kind, key, status, files - stored_files, bytes - stored_bytes FROM differing
)"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that differs: files and bytes as stored (`stored_…`), and by the rows."""

    kind: str
    key: str
    status: str
    stored_files: int
    stored_bytes: int
    files: int
    bytes: int


def recount(*, apply: bool = False) -> list[Difference]:
    """Return the counters that differ from the rows; with `apply`, correct them. Safe to repeat and during uploads.

    Reads the row of every file once: seconds for each million.
    """
    with statement_timeout(DAY_SECONDS) as cursor:
        advisory_lock(LOCK)
        cursor.execute(DIFFERENCES.format(fix=FIX_SQL if apply else ""))
        differences = [Difference(*row) for row in cursor.fetchall()]
        cursor.execute(USAGE_DIFFERENCES.format(fix=USAGE_FIX_SQL if apply else ""))
        differences += [Difference(*row) for row in cursor.fetchall()]
    if apply:
        apply_deltas()
    return differences
