"""What a list shows beside the facts of its files: thumbnails, share links, favorites, where they are, and what the
user may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connections, router

from uploads.listing.pagination import ListRow, Page
from uploads.models import AccessLevel, Folder, Preview, PreviewKind, PreviewState, Visibility

# One query for all: lists are the page that most requests are for. A link that expires, or whose creator is
# deactivated, is no mark any more.
MARKS_SQL = """
    SELECT file_id, 'thumbnails' FROM uploads_preview
    WHERE file_id = ANY(%(files)s) AND kind = %(kind)s AND state = %(state)s
    UNION ALL
    SELECT shared.file, 'shared' FROM (
        SELECT id, file FROM uploads_sharelink WHERE file = ANY(%(file_ids)s)
        UNION ALL SELECT link_id, file FROM uploads_sharelinkfile WHERE file = ANY(%(file_ids)s)
    ) AS shared (id, file)
    JOIN uploads_sharelink AS link ON link.id = shared.id
    JOIN auth_user AS creator ON creator.id = link.created_by_id AND creator.is_active
    WHERE link.revoked_at IS NULL AND (link.expires_at IS NULL OR link.expires_at > statement_timestamp())
        AND (link.max_downloads IS NULL OR link.use_count < link.max_downloads)
    UNION ALL
    SELECT file, 'favorites' FROM uploads_favorite WHERE user_id = %(user)s AND file = ANY(%(file_ids)s)
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
        "files": [row.pk for row in rows], "file_ids": [row.permanent_id for row in rows],
        "kind": PreviewKind.THUMBNAIL, "state": PreviewState.READY, "user": user.pk if user else None,
    }  # fmt: skip
    with connections[router.db_for_read(Preview)].cursor() as cursor:
        cursor.execute(MARKS_SQL, parameters)
        for file, mark in cursor.fetchall():
            getattr(marks, mark).add(file)
    return marks


HIDDEN_NAME = "…"  # replaces a folder's name that this user may not see

FOLDERS_SQL = """
    SELECT folder.id, folder.name, folder.removed_at IS NOT NULL, folder.access_root_id, (
        SELECT max(level) FROM uploads_grant AS rule JOIN auth_user_groups AS own USING (group_id)
        WHERE rule.folder_id = folder.access_root_id AND own.user_id = %(user)s
    )
    FROM uploads_folder AS folder WHERE folder.id = ANY(%(folders)s)
"""


class FolderRights:
    """Which of some folders this user may see by name, fill, and manage, as in `visible_to`, `writable_by` and
    `managed_by`. The last two are about living folders, and those left out count as folders without access rules.

    One query, none for no folders.
    """

    def __init__(self, user: User, folders: Iterable[int]) -> None:
        self.user_id = user.pk
        self.sees_others = user.has_perm("uploads.view_file")
        self.fills_others = user.has_perm("uploads.add_file")
        self.manages_others = user.has_perm("uploads.change_file")
        self.names: dict[int, str] = {}
        self.removed: set[int] = set()
        self.levels: dict[int | None, int] = {}  # of folders with access rules
        ids = list(folders)
        for pk, name, removed, root, level in self._load(ids) if ids else ():
            self.names[pk] = name
            if removed:
                self.removed.add(pk)
            if root and not user.is_superuser:
                self.levels[pk] = (level or 0) if self.sees_others else 0

    def _load(self, ids: list[int]) -> list[tuple[Any, ...]]:
        with connections[router.db_for_read(Folder)].cursor() as cursor:
            cursor.execute(FOLDERS_SQL, {"user": self.user_id, "folders": ids})
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def name(self, pk: int, *, with_removed: bool = False) -> str:
        """Return the name of a folder, or nothing if this user may not see it, or if it is removed."""
        visible = self.sees_others and self.levels.get(pk, AccessLevel.VIEW) >= AccessLevel.VIEW
        return self.names.get(pk, "") if visible and (with_removed or pk not in self.removed) else ""

    def steps(self, path: Iterable[int], *, with_removed: bool = False) -> list[tuple[int, str]]:
        """Return the id and the `name` of each folder on a path."""
        return [(pk, self.name(pk, with_removed=with_removed)) for pk in path]

    def may_fill(self, pk: int | None) -> bool:
        return self.fills_others and self.levels.get(pk, AccessLevel.UPLOAD) >= AccessLevel.UPLOAD

    def may_manage(self, pk: int | None) -> bool:
        return self.levels[pk] >= AccessLevel.MANAGE if pk in self.levels else self.manages_others

    def may_edit(self, folder: Folder) -> bool:
        """Return whether the user may rename, move and remove the folder, as in `FolderQuerySet.editable_by`."""
        is_creator = folder.created_by_id == self.user_id and not folder.restricted
        return self.may_manage(folder.pk) or (is_creator and self.may_fill(folder.pk))


def breadcrumbs_for(user: User, ids: Iterable[int], *, with_removed: bool = False) -> dict[int, list[tuple[int, str]]]:
    """Return the path of each of these folders from the top level, as pairs of id and name. The name of a folder
    that this user may not see, or that is removed, is empty. Two queries.

    `with_removed` gives the names of removed folders too, for the trash.
    """
    paths = dict(Folder.objects.filter(pk__in=set(ids)).order_by().values_list("pk", "path"))
    rights = FolderRights(user, {step for path in paths.values() for step in path})
    return {pk: rights.steps(path, with_removed=with_removed) for pk, path in paths.items()}


def paths_for(user: User, ids: Iterable[int | None]) -> dict[int, str]:
    """Return the full path of each of these folders, such as `Brand/Logos`, with an ellipsis for hidden names."""
    breadcrumbs = breadcrumbs_for(user, (pk for pk in ids if pk is not None))
    return {pk: as_path(path) for pk, path in breadcrumbs.items()}


def as_path(path: Iterable[tuple[int, str]]) -> str:
    """Join a path of `breadcrumbs_for` with slashes."""
    return "/".join(name or HIDDEN_NAME for _step, name in path)


def restricted_folders(page: Page) -> set[int]:
    """Return the ids of those folders with access rules that the page lists, or whose files it lists."""
    folders = {row.pk for row in page.folders if row.access_root_id}
    return folders | {row.folder_id for row in page.files if row.folder_id and row.access_root_id}


# What a user may do with a row. Pages have this apart from the rows, whose HTML is cached for all users.
CHANGE, TRASH, OWN, MANAGE, FILL = "c", "d", "o", "m", "f"


def row_rights(user: User, page: Page, rights: FolderRights) -> list[str]:
    """Return what this user may do with each row of the page, folders first, as in `changeable_by`, `removable_by` and
    `can_edit`. With a right to change but not to remove, TRASH is left out for the files of others. `rights` are those
    in the `restricted_folders`.
    """
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
