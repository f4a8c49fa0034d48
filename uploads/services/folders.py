"""Create, rename, move, restrict and remove folders. Folders are rows only: no object changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, Func, Max, OuterRef
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from amalga.db import CALL_SECONDS, advisory_lock, deadline
from uploads.errors import (
    Conflict,
    FolderNotWritable,
    Forbidden,
    InvalidTransition,
    MayNotUpload,
    Problem,
    ValidationFailed,
)
from uploads.failpoints import failpoint
from uploads.models import AccessLevel, Action, Event, File, Folder, Grant, State
from uploads.models.audit import event
from uploads.models.folder import MAX_DEPTH
from uploads.names import normalize_for_search
from uploads.services.tree import ensure, restore_folders

logger = logging.getLogger(__name__)

__all__ = [
    "can_edit",
    "create",
    "ensure",
    "lock",
    "lock_branches",
    "lock_target",
    "move",
    "remove_empty",
    "rename",
    "require_writable",
    "restore_branch",
    "restore_folders",
    "set_access",
]

TREE_LOCK = 0x416D616C6761  # one move at a time: two at once could make a cycle

UPDATE_PATHS = "UPDATE uploads_folder SET path = %s || path[%s:] WHERE path @> ARRAY[%s]::bigint[]"

# The nearest ancestor (or the folder itself) with access rules.
UPDATE_ACCESS_ROOTS = """
UPDATE uploads_folder AS folder SET access_root_id = (
    SELECT above.id FROM unnest(folder.path) WITH ORDINALITY AS step (id, depth)
    JOIN uploads_folder AS above ON above.id = step.id AND above.restricted
    ORDER BY step.depth DESC LIMIT 1
) WHERE path @> ARRAY[%s]::bigint[]
"""


@deadline(CALL_SECONDS)
def create(name: str, *, parent: Folder | None, by: User) -> Folder:
    """Create a folder with this clean name. Raises ValidationFailed, Forbidden, OverQuota, or Conflict if it exists."""
    require_writable(parent, by)
    if Folder.objects.living().children_of(parent).filter(name=name).exists():
        raise _name_taken(name)
    folder = ensure([name], by=by, into=parent)[name]
    if isinstance(folder, Problem):
        raise folder
    return cast(Folder, folder)


@deadline(CALL_SECONDS)
def rename(folder: Folder, name: str, *, by: User) -> int | None:
    """Rename the folder to another clean name. Return the id of the event, with which it can be undone.

    Raises Forbidden, or Conflict if a sibling has the name.
    """
    _require_edit(folder, by)
    old_name = folder.name
    if old_name == name:
        return None
    with transaction.atomic():
        _update(folder, name=name, normalized_name=normalize_for_search(name))
        folder.name = name
        return Event.objects.record(Action.FOLDER, by=by, folder=folder, old_name=old_name, new_name=name)


def move(folder: Folder, target: Folder | None, *, by: User) -> Event:
    """Move a folder that this person may change, with its contents, into another (None: to the top level).

    Call it after `lock_branches`, with the target that `lock_target` returns. Returns the event to save. Raises
    InvalidTransition for a move into itself or its subfolders, ValidationFailed if it would be too deep, Conflict if
    the target has a folder of that name, and Forbidden if it would change who can see the files.
    """
    folder.refresh_from_db()
    path = target.path if target else []
    if folder.pk in path:
        raise InvalidTransition(_("“%(name)s” can't be moved into itself.") % {"name": folder.name})
    _require_depth(folder, path)
    _require_same_access(folder, target, by)
    before = folder.parent_id
    _update(folder, parent=target)
    with connection.cursor() as cursor:
        cursor.execute(UPDATE_PATHS, [path, len(folder.path), folder.pk])
        failpoint("move.3-folder-moving")
        cursor.execute(UPDATE_ACCESS_ROOTS, [folder.pk])
    logger.info("folder_moved folder=%s by=%s", folder.pk, by.pk)
    return event(Action.FOLDER, by=by, folder=folder, parent_id=target.pk if target else None, from_id=before)


@deadline(CALL_SECONDS)
def set_access(folder: Folder, levels: Mapping[Group, AccessLevel] | None, *, by: User) -> None:
    """Set the access rules of the folder and its subfolders: levels of groups, or None to inherit from above.

    One of the groups must manage the folder, so that someone can change the rules again. Raises ValidationFailed,
    Forbidden.
    """
    _require_management(folder, by)
    if levels is not None and AccessLevel.MANAGE not in levels.values():
        raise ValidationFailed(_("Select at least one role or team that can manage the folder."))
    with transaction.atomic():
        lock_branches([folder])
        folder.grants.all().delete()
        Grant.objects.bulk_create(
            Grant(folder=folder, group=group, level=level) for group, level in (levels or {}).items()
        )
        Folder.objects.filter(pk=folder.pk).update(restricted=levels is not None)
        with connection.cursor() as cursor:
            cursor.execute(UPDATE_ACCESS_ROOTS, [folder.pk])
        groups = None if levels is None else {group.name: int(level) for group, level in levels.items()}
        Event.objects.record(Action.ACCESS, by=by, folder=folder, groups=groups)
    folder.refresh_from_db()


def remove_empty(folder: Folder, *, purge_after: datetime | None = None) -> bool:
    """Remove the folder and its subfolders after `lock_branches`, except those that hold files outside the trash, or
    uploads. Return whether the folder itself was removed: then it is in the trash until `purge_after`."""
    branch = Folder.objects.below(folder)
    states = [State.AVAILABLE, State.UPLOADING, State.COMPLETING]
    paths = branch.filter(Exists(File.objects.filter(folder=OuterRef("pk"), state__in=states)))
    in_use = {pk for path in paths.values_list("path", flat=True) for pk in path}
    branch.living().exclude(pk__in=in_use).update(removed_at=Now(), purge_after=None)
    if folder.pk not in in_use:
        Folder.objects.filter(pk=folder.pk).update(purge_after=purge_after)
    return folder.pk not in in_use


def restore_branch(folder: Folder, *, by: User) -> None:
    """Restore a folder from the trash after `lock_branches`, with the subfolders that were removed with it."""
    Folder.objects.below(folder).filter(removed_at=folder.removed_at).update(removed_at=None)
    restore_folders(folder.path)
    logger.info("folder_restored folder=%s by=%s", folder.pk, by.pk)


def can_edit(folder: Folder, user: User) -> bool:
    """Return whether this person may rename, move and remove the folder: as a manager, or as its creator."""
    return Folder.objects.living().editable_by(user).filter(pk=folder.pk).exists()


def require_writable(folder: Folder | None, user: User) -> None:
    """Raise Forbidden unless this person may add files to the folder (None: the top level)."""
    if folder is None:
        if not user.has_perm("uploads.add_file"):
            raise MayNotUpload()
    elif not Folder.objects.writable_by(user).filter(pk=folder.pk).exists():
        raise FolderNotWritable()


def lock(folder_ids: Iterable[int]) -> None:
    """Lock these folders against removal until the transaction ends, and restore those that are removed."""
    ids = sorted(set(folder_ids))
    list(Folder.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True).values_list("pk"))
    restore_folders(ids)


def lock_target(target: Folder | None, by: User) -> Folder | None:
    """Lock the folder that others are moved to, and return it as it is now. Raises Forbidden.

    Requires the tree lock of `lock_branches`, so that its place cannot change.
    """
    if target is None:
        require_writable(None, by)
        return None
    lock([target.pk])
    require_writable(target, by)
    return Folder.objects.get(pk=target.pk)


def _require_depth(folder: Folder, path: list[int]) -> None:
    """Raise ValidationFailed if the move makes a branch too deep. One that already is can still be moved up."""
    levels_down = len(path) + 1 - len(folder.path)
    current_depth = Folder.objects.below(folder).aggregate(most=Max(Func("path", function="cardinality")))["most"]
    if levels_down > 0 and current_depth + levels_down > MAX_DEPTH:
        raise ValidationFailed(
            _("Folders can be at most %(most)s levels deep. “%(name)s” would reach level %(depth)s.")
            % {"most": MAX_DEPTH, "name": folder.name, "depth": current_depth + levels_down}
        )


def _require_same_access(folder: Folder, target: Folder | None, by: User) -> None:
    """Require a manager if the move changes the access rules: a creator must not decide who sees others' files."""
    access_root = target.access_root_id if target else None
    if access_root != folder.access_root_id and not Folder.objects.managed_by(by).filter(pk=folder.pk).exists():
        raise Forbidden(_("This move would change who can see the files in the folder. Ask a manager to move it."))


def _require_edit(folder: Folder, user: User) -> None:
    if not can_edit(folder, user):
        raise Forbidden(_("You don't have permission to change this folder."))


def _require_management(folder: Folder, user: User) -> None:
    if not Folder.objects.managed_by(user).filter(pk=folder.pk).exists():
        raise Forbidden(_("You don't have permission to change access to this folder."))


def _update(folder: Folder, **fields: object) -> None:
    try:
        with transaction.atomic():
            Folder.objects.filter(pk=folder.pk).update(**fields)
    except IntegrityError as error:
        raise _name_taken(str(fields.get("name", folder.name))) from error


def _name_taken(name: str) -> Conflict:
    return Conflict(_("A folder named “%(name)s” already exists here.") % {"name": name})


def lock_branches(folders: Sequence[Folder]) -> None:
    """Lock the tree against other moves, and these folders with all their subfolders, until the transaction ends.

    They are locked after any transaction that is creating one of them: again until the set is stable, since a folder
    that was created while we waited can have got subfolders.
    """
    advisory_lock(TREE_LOCK)
    branches, locked = Folder.objects.below_any(folders).order_by("pk"), set[int]()
    while (rows := set(branches.select_for_update().values_list("pk", flat=True))) != locked:
        locked = rows
