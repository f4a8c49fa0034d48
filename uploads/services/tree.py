"""Find the folders of many paths with one query, and create the missing ones with one statement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from uploads.errors import Conflict, FolderNotWritable, MayNotUpload, OverQuota, Problem, ValidationFailed
from uploads.models import Action, Event, Folder, Usage
from uploads.models.audit import event
from uploads.models.folder import MAX_DEPTH
from uploads.names import normalize_for_search

MAX_NEW_FOLDERS = 200  # in one call
MAX_ATTEMPTS = 10

# Walks down from the base (0: the top level) along the paths only; each step uses the index of names.
FIND_FOLDERS = """
WITH RECURSIVE requested AS MATERIALIZED (
    SELECT * FROM unnest(%(above)s::int[], %(number)s::int[], %(name)s::text[]) AS step (above, number, name)
), existing AS (
    SELECT 0 AS number, %(base)s::bigint AS id
    UNION ALL
    SELECT requested.number, child.id
    FROM existing JOIN requested ON requested.above = existing.number
    CROSS JOIN LATERAL (
        SELECT id FROM uploads_folder WHERE coalesce(parent_id, 0) = existing.id AND name = requested.name LIMIT 1
    ) AS child
)
SELECT number, id FROM existing WHERE number > 0
"""

# Inserts in the order of numbers, since the trigger that sets `path` and `access_root` of a folder reads its parent.
CREATE_FOLDERS = """
WITH requested AS MATERIALIZED (
    SELECT step.*, nextval(pg_get_serial_sequence('uploads_folder', 'id')) AS id
    FROM unnest(%(above)s::int[], %(parent)s::bigint[], %(number)s::int[], %(name)s::text[],
            %(normalized_name)s::text[])
        AS step (above, parent, number, name, normalized_name)
), created AS (
    INSERT INTO uploads_folder (id, parent_id, name, normalized_name, path, restricted, created_by_id)
    SELECT requested.id, coalesce(above.id, requested.parent), requested.name, requested.normalized_name,
        '{}', false, %(by)s
    FROM requested LEFT JOIN requested AS above ON above.number = requested.above
    ORDER BY requested.number
)
SELECT number, id FROM requested
"""


@dataclass(slots=True, eq=False)
class Step:
    """One segment of a path; `folder` is None until it exists. The first step is the base."""

    number: int
    name: str
    above: Step | None
    folder: Folder | None = None

    def path_steps(self) -> list[Step]:
        """Return the steps from the one below the base down to this one."""
        steps, step = [], self
        while step.above is not None:
            steps.append(step)
            step = step.above
        return steps[::-1]

    @property
    def sort_key(self) -> tuple[int, str]:
        """The sort key with which all callers create folders in one order, so that they cannot deadlock."""
        names = [step.name for step in self.path_steps()]
        return len(names), "/".join(names)


@dataclass(slots=True)
class Plan:
    """The steps to create, the removed folders to restore, and the refused paths."""

    new: dict[int, Step] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    refused: dict[str, Problem] = field(default_factory=dict)


class Tree:
    """The requested paths under a folder (None: the top level), and their existing folders."""

    def __init__(self, paths: Iterable[str], into: Folder | None) -> None:
        self.base = Step(0, "", None, into)
        self.steps: list[Step] = []
        self.ends: dict[str, Step] = {}
        by_name: dict[tuple[int, str], Step] = {}
        for path in sorted(set(paths)):
            step = self.base
            for name in path.split("/") if path else []:
                key = (step.number, name)
                if key not in by_name:
                    by_name[key] = Step(len(by_name) + 1, name, step)
                    self.steps.append(by_name[key])
                step = by_name[key]
            self.ends[path] = step

    def read(self) -> None:
        """Find the existing folders, with two queries however many paths."""
        if not self.steps:
            return
        into = self.base.folder
        with connection.cursor() as cursor:
            cursor.execute(FIND_FOLDERS, {
                "base": into.pk if into else 0,
                "above": [step.above.number for step in self.steps if step.above],
                "number": [step.number for step in self.steps],
                "name": [step.name for step in self.steps],
            })  # fmt: skip
            ids = dict(cursor.fetchall())
        folders = Folder.objects.in_bulk(set(ids.values()))
        for step in self.steps:
            step.folder = folders.get(ids.get(step.number, 0))

    @property
    def is_complete(self) -> bool:
        folders = [step.folder for step in self.steps]
        return all(folder is not None and folder.removed_at is None for folder in folders)

    def too_deep(self) -> dict[str, Problem]:
        """Return the paths that are incomplete and would be too deep."""
        problems: dict[str, Problem] = {}
        for path, end in self.ends.items():
            if end.folder is None:
                try:
                    require_depth(path.count("/") + 1 + (self.base.folder.depth if self.base.folder else 0))
                except ValidationFailed as problem:
                    problems[path] = problem
        return problems

    def lock(self) -> None:
        """Lock the parents of new folders, and the folders to restore, against changes until the transaction ends."""
        parents = {step.above.folder.pk for step in self._changing() if step.above and step.above.folder}
        removed = {step.folder.pk for step in self._changing() if step.folder}
        rows = Folder.objects.filter(pk__in=parents | removed).order_by("pk").select_for_update(no_key=True)
        locked = {folder.pk: folder for folder in rows}
        for step in [self.base, *self.steps]:
            if step.folder is not None:
                step.folder = locked.get(step.folder.pk, step.folder)

    def plan(self, by: User, usage: Usage | None, *, limited: bool) -> Plan:
        """Return what to do for each path. `usage` may be None if all folders exist."""
        plan, rights = Plan(), _Rights(by, self)
        for path, end in self.ends.items():
            steps = end.path_steps()
            new = {step.number: step for step in steps if step.folder is None and step.number not in plan.new}
            try:
                rights.require(steps, end)
                if usage and limited:
                    _require_room(usage, len(plan.new) + len(new), len(new))
            except Problem as problem:
                plan.refused[path] = problem
            else:
                plan.new |= new
                folders = [step.folder for step in [self.base, *steps] if step.folder]
                plan.removed |= {folder.pk for folder in folders if folder.removed_at}
        return plan

    def create(self, plan: Plan, by: User) -> None:
        """Create the planned folders with one statement, and record them. Raises IntegrityError after a lost race."""
        new = sorted(plan.new.values(), key=lambda step: step.sort_key)
        order = {step.number: number for number, step in enumerate(new, start=1)}
        with connection.cursor() as cursor:
            cursor.execute(CREATE_FOLDERS, {
                "above": [order.get(step.above.number) if step.above else None for step in new],
                "parent": [step.above.folder.pk if step.above and step.above.folder else None for step in new],
                "number": list(range(1, len(new) + 1)),
                "name": [step.name for step in new],
                "normalized_name": [normalize_for_search(step.name) for step in new],
                "by": by.pk,
            })  # fmt: skip
            ids = dict(cursor.fetchall())
        folders = Folder.objects.in_bulk(ids.values())
        for step in new:
            step.folder = folders[ids[order[step.number]]]
        Event.objects.bulk_create(event(Action.FOLDER, by=by, folder=step.folder, created=True) for step in new)

    def results(self, plan: Plan) -> dict[str, Folder | Problem | None]:
        return {path: plan.refused.get(path) or end.folder for path, end in self.ends.items()}

    def _changing(self) -> list[Step]:
        return [step for step in self.steps if step.folder is None or step.folder.removed_at is not None]


class _Rights:
    """The permissions of this person for all these paths, with at most two queries."""

    def __init__(self, by: User, tree: Tree) -> None:
        self.by = by
        folders = {step.folder for step in [tree.base, *tree.steps] if step.folder}
        ids, removed = {folder.pk for folder in folders}, {folder.pk for folder in folders if folder.removed_at}
        rows = Folder.objects.writable_by(by, with_removed=True).filter(pk__in=ids) if ids else Folder.objects.none()
        self.writable = set(rows.values_list("pk", flat=True))
        closed = Folder.objects.closed_to(by).filter(pk__in=removed) if removed else Folder.objects.none()
        self.closed = set(closed.values_list("pk", flat=True))
        self.base = tree.base

    def require(self, steps: list[Step], end: Step) -> None:
        """Raise Forbidden or Conflict if the person may not use or create a folder of this path."""
        if not steps or self.base.folder is not None:
            self._require_writable(self.base)
        for step in steps:
            if step.folder is None:
                self._require_writable(step.above)
                if not self.by.has_perm("uploads.view_file"):
                    raise FolderNotWritable()
                return
            if step.folder.removed_at is not None:
                self._require_writable(step.above)
                if step.folder.pk in self.closed:
                    raise Conflict(
                        _(
                            "You can't use the name “%(name)s” here. A deleted folder that you can't access has that "
                            "name."
                        )
                        % {"name": step.name}
                    )
        self._require_writable(end)

    def _require_writable(self, step: Step | None) -> None:
        if step is None or step.folder is None:
            if not self.by.has_perm("uploads.add_file"):
                raise MayNotUpload()
        elif step.folder.pk not in self.writable:
            raise FolderNotWritable()


def ensure(
    paths: Iterable[str], *, by: User, into: Folder | None = None, limited: bool = True
) -> dict[str, Folder | Problem | None]:
    """Return the folder of each clean path like `Brand/Logos` under `into`, created if missing; the empty path is
    `into` itself.

    The result has Forbidden for a path that this person may not add files to, ValidationFailed for one that is too
    deep or above the limit of a call, and OverQuota for one above the limit of a person. Imports are not `limited` in
    the number of folders. Safe to repeat and to race: two people who create the same path get the same folders.
    """
    tree = Tree(paths, into)
    tree.read()
    if refused := tree.too_deep():  # saves another search for thousands of steps
        return ensure(tree.ends.keys() - refused.keys(), by=by, into=into, limited=limited) | refused
    if tree.is_complete and (into is None or into.removed_at is None):
        return tree.results(tree.plan(by, None, limited=False))
    for _attempt in range(MAX_ATTEMPTS):
        try:
            with transaction.atomic():
                return _ensure_missing(tree, by, limited=limited)
        except IntegrityError:  # one of them was created since
            continue
    raise Conflict(_("Other people are creating the same folders. Try again in a moment."))


def find(paths: Iterable[str], into: Folder | None = None) -> dict[str, Folder | None]:
    """Return the folder of each clean path under `into` that exists; the empty path is `into` itself."""
    tree = Tree(paths, into)
    tree.read()
    return {path: end.folder for path, end in tree.ends.items() if end is tree.base or end.folder is not None}


def require_depth(depth: int) -> None:
    """Raise ValidationFailed for a new folder at this depth, counted from 1 at the top level."""
    if depth > MAX_DEPTH:
        raise ValidationFailed(_("Folders can be at most %(most)s levels deep.") % {"most": MAX_DEPTH})


def restore_folders(folder_ids: Iterable[int]) -> None:
    """Restore removed folders, with their parents."""
    removed = Folder.objects.filter(pk__in=set(folder_ids), removed_at__isnull=False)
    ids = {pk for path in removed.values_list("path", flat=True) for pk in path}
    if ids:
        Folder.objects.filter(pk__in=ids).update(removed_at=None, purge_after=None)


def _ensure_missing(tree: Tree, by: User, *, limited: bool) -> dict[str, Folder | Problem | None]:
    """Create or restore the missing folders. Locks the usage row before any folder, as everywhere before any file."""
    usage = Usage.objects.locked(by.pk)
    tree.read()
    tree.lock()
    plan = tree.plan(by, usage, limited=limited)
    if plan.removed:
        restore_folders(plan.removed)
        tree.read()
    if plan.new:
        tree.create(plan, by)
    return tree.results(plan)


def _require_room(usage: Usage, in_call: int, new: int) -> None:
    """Raise OverQuota or ValidationFailed for `in_call` new folders in this call, `new` of them by this path."""
    if not new:
        return
    if in_call > MAX_NEW_FOLDERS:
        raise ValidationFailed(
            _("One request can create at most %(most)s folders. Send the rest in another request.")
            % {"most": MAX_NEW_FOLDERS}
        )
    if usage.folders + in_call > settings.UPLOAD_QUOTA_FOLDERS:
        raise OverQuota(
            _("You've reached your limit of %(most)s folders. Use existing folders, or ask for a higher limit.")
            % {"most": f"{settings.UPLOAD_QUOTA_FOLDERS:,}"}
        )
