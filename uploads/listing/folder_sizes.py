"""How many files are in a folder and its subfolders, and their size, as far as a user sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib.auth.models import User
from django.db import connections, router

from uploads.models import AccessLevel, Folder
from uploads.models.usage import MAX_DELTAS

# The team's files are counted by triggers, for each folder by itself: a counter of its whole branch would make all
# uploads wait for that of the top folder. A user's own private files are few, and an index has them. Folders that are
# closed to the user are left out, so that no size reveals what is in them. The walk down the tree ends at the limit,
# while the index of paths reads all subfolders of a large folder first. OFFSET 0 keeps Postgres from walking twice, and
# arrays of ids let it look up neighbors in an index together.
SIZES_SQL = """
WITH branch AS MATERIALIZED (
    SELECT root.id AS root, folder.id FROM unnest(%(roots)s::bigint[], %(limits)s::int[]) AS root (id, max_rows)
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            WITH RECURSIVE below (id, access_root_id) AS (
                SELECT root.id, NULL::bigint
                UNION ALL
                SELECT folder.id, folder.access_root_id FROM below
                JOIN uploads_folder AS folder ON folder.parent_id = below.id AND folder.removed_at IS NULL
            )
            SELECT id FROM below WHERE %(everything)s OR access_root_id IS NULL OR access_root_id IN (
                SELECT folder_id FROM uploads_grant AS access
                JOIN auth_user_groups AS membership ON membership.group_id = access.group_id
                WHERE membership.user_id = %(user)s AND access.level >= %(level)s
            ) LIMIT root.max_rows + 1
        ) AS ids OFFSET 0
    ) AS branches
    CROSS JOIN LATERAL unnest(branches.ids) AS folder (id)
    WHERE cardinality(branches.ids) <= root.max_rows
), counts (key, files, bytes) AS (
    SELECT key, files, bytes FROM uploads_statistic
    WHERE kind = 'team' AND status = 'stored' AND key = ANY(ARRAY(SELECT id::text FROM branch))
    UNION ALL
    SELECT key, files, bytes FROM (
        SELECT kind, key, files, bytes FROM uploads_statisticdelta ORDER BY id LIMIT %(changes)s
    ) AS changes WHERE kind = 'team'
    UNION ALL
    SELECT folder_id::text, 1, size FROM uploads_file
    WHERE owner_id = %(user)s AND state = 'available' AND current AND (visibility = 'private' OR quarantined)
        AND folder_id = ANY(ARRAY(SELECT id FROM branch))
)
SELECT root, coalesce(sum(files), 0)::bigint, coalesce(sum(bytes), 0)::bigint
FROM branch LEFT JOIN counts ON key = id::text
GROUP BY root
"""
MAX_SUBFOLDERS = 200  # of each folder in a list; of a larger one, its own page shows the size
MAX_SUBFOLDERS_OF_PAGE = 5_000


class FolderSize(NamedTuple):
    """Number and bytes of the files in a folder and its subfolders that a user sees."""

    files: int
    bytes: int


def load_folder_sizes(user: User, ids: Sequence[int], *, opened: int | None = None) -> dict[int, FolderSize]:
    """Return the size of each of these folders, and of the one whose page is open; the user sees all of them.

    Folders with more than MAX_SUBFOLDERS are left out, the open one with more than MAX_SUBFOLDERS_OF_PAGE. One query,
    none for no folders.
    """
    limits = dict.fromkeys(ids, MAX_SUBFOLDERS)
    if opened is not None:
        limits[opened] = MAX_SUBFOLDERS_OF_PAGE
    if not limits:
        return {}
    parameters: dict[str, Any] = {
        "roots": list(limits), "limits": list(limits.values()),
        "user": user.pk, "everything": user.is_superuser, "level": AccessLevel.VIEW.value,
        "changes": MAX_DELTAS,
    }  # fmt: skip
    with connections[router.db_for_read(Folder)].cursor() as cursor:
        cursor.execute(SIZES_SQL, parameters)
        rows = cursor.fetchall()
    return {root: FolderSize(max(0, files), max(0, size)) for root, files, size in rows}
