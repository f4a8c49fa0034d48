"""What a list shows beside the facts of its files: thumbnails, share links, favorites, and what the user may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connections, router

from uploads.listing.pagination import ListRow, Page
from uploads.models import AccessLevel, Folder, Grant, Preview, PreviewKind, PreviewState, Visibility

# One query for all: lists are the page that most requests are for. A link that expires, or whose creator is
# deactivated, is no mark any more.
SQL = """
    SELECT file_id, 'thumbnails' FROM uploads_preview
    WHERE file_id = ANY(%(files)s) AND kind = %(kind)s AND state = %(state)s
    UNION ALL
    SELECT shared.file, 'shared' FROM (
        SELECT id, file FROM uploads_sharelink WHERE file = ANY(%(links)s)
        UNION ALL SELECT link_id, file FROM uploads_sharelinkfile WHERE file = ANY(%(links)s)
    ) AS shared (id, file)
    JOIN uploads_sharelink AS link ON link.id = shared.id
    JOIN auth_user AS creator ON creator.id = link.created_by_id AND creator.is_active
    WHERE link.revoked_at IS NULL AND (link.expires_at IS NULL OR link.expires_at > statement_timestamp())
        AND (link.max_downloads IS NULL OR link.use_count < link.max_downloads)
    UNION ALL
    SELECT file, 'favorites' FROM uploads_favorite WHERE user_id = %(user)s AND file = ANY(%(links)s)
"""


class Marks(NamedTuple):
    thumbnails: set[UUID]  # ids of files
    shared: set[UUID]  # permanent ids
    favorites: set[UUID]  # permanent ids


def load_marks(rows: Sequence[ListRow], user: User | None = None) -> Marks:
    """Return which of these files have a thumbnail, which a share link that works, and which are favorites of the user.

    One query, none for no rows.
    """
    marks = Marks(set(), set(), set())
    if not rows:
        return marks
    parameters: dict[str, Any] = {
        "files": [row.pk for row in rows], "links": [row.link for row in rows],
        "kind": PreviewKind.THUMBNAIL, "state": PreviewState.READY, "user": user.pk if user else None,
    }  # fmt: skip
    with connections[router.db_for_read(Preview)].cursor() as cursor:
        cursor.execute(SQL, parameters)
        for file, mark in cursor.fetchall():
            getattr(marks, mark).add(file)
    return marks


# What a user may do with a row. Pages have this apart from the rows, whose HTML is cached for all users.
CHANGE, TRASH, OWN, MANAGE, FILL = "c", "d", "o", "m", "f"


class FolderRights:
    """Which of some living folders this user may fill, and which they manage, as in `writable_by` and `managed_by`.

    `roots` are the access roots of those that have access rules. One query, none if there are none.
    """

    def __init__(self, user: User, roots: Mapping[int, int]) -> None:
        roots = {} if user.is_superuser else roots
        granted = Grant.objects.levels(user, set(roots.values())) if roots else {}
        self.user_id = user.pk
        self.levels: dict[int | None, int] = {pk: granted.get(root, 0) for pk, root in roots.items()}
        self.fills_others = user.has_perm("uploads.add_file")
        self.manages_others = user.has_perm("uploads.change_file")

    def may_fill(self, pk: int | None) -> bool:
        return self.fills_others and self.levels.get(pk, AccessLevel.UPLOAD) >= AccessLevel.UPLOAD

    def may_manage(self, pk: int | None) -> bool:
        return self.levels[pk] >= AccessLevel.MANAGE if pk in self.levels else self.manages_others

    def may_edit(self, folder: Folder) -> bool:
        """Return whether the user may rename, move and remove the folder, as in `FolderQuerySet.editable_by`."""
        is_creator = folder.created_by_id == self.user_id and not folder.restricted
        return self.may_manage(folder.pk) or (is_creator and self.may_fill(folder.pk))


def load_rights(user: User, page: Page) -> list[str]:
    """Return what this user may do with each row of the page, folders first, as in `changeable_by`, `removable_by` and
    `can_edit`. With a right to change but not to remove, TRASH is left out for the files of others.
    """
    roots = {row.pk: row.access_root_id for row in page.folders if row.access_root_id}
    roots |= {row.folder_id: row.access_root_id for row in page.files if row.folder_id and row.access_root_id}
    rights = FolderRights(user, roots)
    removes = user.has_perm("uploads.delete_file") or not user.has_perm("uploads.change_file")
    others = CHANGE + TRASH if removes else CHANGE
    rows, username = [], user.get_username()
    for row in page.folders:
        edits, manages, fills = rights.may_edit(row), rights.may_manage(row.pk), rights.may_fill(row.pk)
        rows.append((CHANGE + TRASH) * edits + MANAGE * manages + FILL * fills)
    for file in page.files:
        if file.owner == username:
            rows.append(CHANGE + TRASH + OWN)
        else:
            team = file.visibility == Visibility.TEAM and not file.quarantined
            rows.append(others if team and rights.may_manage(file.folder_id) else "")
    return rows
