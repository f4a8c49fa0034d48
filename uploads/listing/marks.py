"""What the rows of a list show beside the facts of a file: its thumbnail, and whether it is shared by link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, router

from uploads.listing.pagination import ListRow
from uploads.models import Preview, PreviewKind, PreviewState

# One query for both: lists are the page that most requests are for. A link that expires, or whose creator is
# deactivated, is no mark any more.
SQL = """
    SELECT file_id, FALSE FROM uploads_preview WHERE file_id = ANY(%(files)s) AND kind = %(kind)s AND state = %(state)s
    UNION ALL
    SELECT shared.file, TRUE FROM (
        SELECT id, file FROM uploads_sharelink WHERE file = ANY(%(links)s)
        UNION ALL SELECT link_id, file FROM uploads_sharelinkfile WHERE file = ANY(%(links)s)
    ) AS shared (id, file)
    JOIN uploads_sharelink AS link ON link.id = shared.id
    JOIN auth_user AS creator ON creator.id = link.created_by_id AND creator.is_active
    WHERE link.revoked_at IS NULL AND (link.expires_at IS NULL OR link.expires_at > statement_timestamp())
        AND (link.max_downloads IS NULL OR link.use_count < link.max_downloads)
"""


class Marks(NamedTuple):
    thumbnails: set[UUID]  # ids of files
    shared: set[UUID]  # permanent ids


def load_marks(rows: Sequence[ListRow]) -> Marks:
    """Return which of these files have a thumbnail, and which a share link that works. One query, none for no rows."""
    marks = Marks(set(), set())
    if not rows:
        return marks
    parameters: dict[str, Any] = {
        "files": [row.pk for row in rows], "links": [row.link for row in rows],
        "kind": PreviewKind.THUMBNAIL, "state": PreviewState.READY,
    }  # fmt: skip
    with connections[router.db_for_read(Preview)].cursor() as cursor:
        cursor.execute(SQL, parameters)
        for file, is_shared in cursor.fetchall():
            (marks.shared if is_shared else marks.thumbnails).add(file)
    return marks
