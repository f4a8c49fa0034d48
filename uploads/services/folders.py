"""Make, rename, move, close and remove folders. The bucket is never touched: folders are rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import cast

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.db.models import Func, Max
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from amalga.db import CALL_SECONDS, deadline
from uploads.errors import Conflict, Forbidden, InvalidTransition, Problem, ValidationFailed
from uploads.failpoints import failpoint
from uploads.models import AccessLevel, Action, Event, File, Folder, Grant, State
from uploads.models.folder import MAX_DEPTH
from uploads.names import normalize_for_search
from uploads.services.tree import ensure, restore_folder

logger = logging.getLogger(__name__)

__all__ = [
    "can_edit",
    "create",
    "ensure",
    "lock",
    "move",
    "remove",
    "rename",
    "require_writable",
    "restore_folder",
    "set_access",
]

TREE_LOCK = 0x416D616C6761  # one move at a time: two at once could tie the tree into a ring

REPLANT = "UPDATE uploads_folder SET path = %s || path[%s:] WHERE path @> ARRAY[%s]::bigint[]"

# the nearest folder on the way up that has rules of its own
GOVERN = """
UPDATE uploads_folder AS folder SET governor_id = (
    SELECT above.id FROM unnest(folder.path) WITH ORDINALITY AS step (id, depth)
    JOIN uploads_folder AS above ON above.id = step.id AND above.restricted
    ORDER BY step.depth DESC LIMIT 1
) WHERE path @> ARRAY[%s]::bigint[]
"""


@deadline(CALL_SECONDS)
def create(name: str, *, parent: Folder | None, by: User) -> Folder:
    """A new folder of this clean name. Raises ValidationFailed, Forbidden, OverQuota; Conflict where there is one."""
    require_writable(parent, by)
    if Folder.objects.living().children_of(parent).filter(name=name).exists():
        raise _name_taken(name)
    folder = ensure([name], by=by, into=parent)[name]
    if isinstance(folder, Problem):
        raise folder
    return cast(Folder, folder)


@deadline(CALL_SECONDS)
def rename(folder: Folder, name: str, *, by: User) -> None:
    """Give the folder another clean name. Raises Conflict where a sibling has it, Forbidden."""
    _require_edit(folder, by)
    before = folder.name
    if before == name:
        return
    _write(folder, name=name, folded=normalize_for_search(name))
    folder.name = name
    Event.objects.record(Action.FOLDER, by=by, folder=folder, was=before)


@deadline(CALL_SECONDS)
def move(folder: Folder, target: Folder | None, *, by: User) -> None:
    """Hang the folder, with all that is in it, under another (None: at the top).

    Raises InvalidTransition for a move into itself or below itself, ValidationFailed where it would be too deep,
    Conflict where a folder of that name is, Forbidden.
    """
    _require_edit(folder, by)
    with transaction.atomic():
        _lock_tree()
        _lock_branch(folder)
        folder.refresh_from_db()
        above = _above(target, by)
        if folder.pk in above:
            raise InvalidTransition(_("“%(name)s” cannot be moved into itself.") % {"name": folder.name})
        _require_depth(folder, above)
        _require_same_rules(folder, target, by)
        _write(folder, parent=target)
        with connection.cursor() as cursor:
            cursor.execute(REPLANT, [above, len(folder.path), folder.pk])
            failpoint("move.3-folder-moving")
            cursor.execute(GOVERN, [folder.pk])
        Event.objects.record(Action.FOLDER, by=by, folder=folder, moved=target.pk if target else None)
    failpoint("move.4-folder-moved")
    folder.refresh_from_db()


@deadline(CALL_SECONDS)
def set_access(folder: Folder, levels: Mapping[Group, AccessLevel] | None, *, by: User) -> None:
    """Say who may do what in the folder and below it: these groups, or, by None, what is said further up.

    Nobody locks everyone out: one of the groups has to manage. Raises ValidationFailed, Forbidden.
    """
    _require_management(folder, by)
    if levels is not None and AccessLevel.MANAGE not in levels.values():
        raise ValidationFailed(_("Choose at least one group that may manage the folder."))
    with transaction.atomic():
        _lock_tree()
        _lock_branch(folder)
        folder.grants.all().delete()
        Grant.objects.bulk_create(
            Grant(folder=folder, group=group, level=level) for group, level in (levels or {}).items()
        )
        Folder.objects.filter(pk=folder.pk).update(restricted=levels is not None)
        with connection.cursor() as cursor:
            cursor.execute(GOVERN, [folder.pk])
        told = {group.name: int(level) for group, level in (levels or {}).items()}
        Event.objects.record(Action.ACCESS, by=by, folder=folder, groups=told if levels is not None else None)
    folder.refresh_from_db()


@deadline(CALL_SECONDS)
def remove(folder: Folder, *, by: User) -> None:
    """Take an emptied folder, with the empty folders below it, out of the tree. Safe to repeat.

    Raises InvalidTransition while files are in it that are not in the trash. It comes back when a file of it is
    restored, or when somebody makes a folder of its name.
    """
    _require_edit(folder, by)
    with transaction.atomic():
        _lock_tree()
        _lock_branch(folder)
        inside = File.objects.filter(
            folder__in=Folder.objects.below(folder).values("pk"),
            state__in=[State.AVAILABLE, State.UPLOADING, State.COMPLETING],
        )
        if inside.exists():
            raise InvalidTransition(_("“%(name)s” still holds files or uploads.") % {"name": folder.name})
        Folder.objects.below(folder).living().update(removed_at=Now())
        Event.objects.record(Action.FOLDER, by=by, folder=folder, removed=True)
    logger.info("folder_removed folder=%s by=%s", folder.pk, by.pk)


def can_edit(folder: Folder, user: User) -> bool:
    """Whether this person may rename, move and remove the folder: as a manager, or as who made it."""
    if Folder.objects.managed_by(user).filter(pk=folder.pk).exists():
        return True
    made = folder.created_by_id == user.pk and not folder.restricted
    return made and Folder.objects.writable_by(user).filter(pk=folder.pk).exists()


def require_writable(folder: Folder | None, user: User) -> None:
    """Raise Forbidden unless this person may put files into the folder (None: the top)."""
    if folder is None:
        if not user.has_perm("uploads.add_file"):
            raise Forbidden(_("Your account may not upload. Ask an administrator for a role."))
    elif not Folder.objects.writable_by(user).filter(pk=folder.pk).exists():
        raise Forbidden(_("You may not put files into this folder."))


def lock(folder_ids: Iterable[int]) -> None:
    """Keep these folders from being removed until the transaction ends, and bring back those that are."""
    ids = sorted(set(folder_ids))
    list(Folder.objects.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True).values_list("pk"))
    restore_folder(ids)


def _above(target: Folder | None, by: User) -> list[int]:
    """The way to where something is to go, asked once nothing in the tree moves any more."""
    if target is None:
        require_writable(None, by)
        return []
    lock([target.pk])
    require_writable(target, by)
    return Folder.objects.get(pk=target.pk).path


def _require_depth(folder: Folder, above: list[int]) -> None:
    """A branch that is deeper than may be, as a library of before may have, can still be moved up."""
    down = len(above) + 1 - len(folder.path)
    deepest = Folder.objects.below(folder).aggregate(most=Max(Func("path", function="cardinality")))["most"]
    if down > 0 and deepest + down > MAX_DEPTH:
        raise ValidationFailed(
            _("Folders can be at most %(most)s levels deep; “%(name)s” would reach down to level %(depth)s.")
            % {"most": MAX_DEPTH, "name": folder.name, "depth": deepest + down}
        )


def _require_same_rules(folder: Folder, target: Folder | None, by: User) -> None:
    """Who only made a folder does not decide who sees what others have put into it."""
    governor = Folder.objects.get(pk=target.pk).governor_id if target else None
    if governor != folder.governor_id and not Folder.objects.managed_by(by).filter(pk=folder.pk).exists():
        raise Forbidden(_("Other people see what lies there. Ask a manager to move this folder."))


def _require_edit(folder: Folder, user: User) -> None:
    if not can_edit(folder, user):
        raise Forbidden(_("You may not change this folder."))


def _require_management(folder: Folder, user: User) -> None:
    if not Folder.objects.managed_by(user).filter(pk=folder.pk).exists():
        raise Forbidden(_("You may not change who sees this folder."))


def _write(folder: Folder, **facts: object) -> None:
    try:
        with transaction.atomic():
            Folder.objects.filter(pk=folder.pk).update(**facts)
    except IntegrityError as error:
        raise _name_taken(str(facts.get("name", folder.name))) from error


def _name_taken(name: str) -> Conflict:
    return Conflict(_("There is a folder “%(name)s” here already.") % {"name": name})


def _lock_branch(folder: Folder) -> None:
    """The folder and all below it. Whoever is making a folder in there ends first; asked until nothing new is
    found, since a folder that was made while we waited could have got one of its own."""
    held: set[int] = set()
    while (found := set(Folder.objects.below(folder).select_for_update().values_list("pk", flat=True))) != held:
        held = found


def _lock_tree() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [TREE_LOCK])
