"""The folders of many paths at once: found by one query, and made by one statement where they are missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils.translation import gettext as _

from uploads.errors import Conflict, Forbidden, OverQuota, Problem, ValidationFailed
from uploads.models import Action, Event, Folder, Usage
from uploads.models.audit import event
from uploads.models.folder import MAX_DEPTH
from uploads.names import normalize_for_search

MAX_NEW_FOLDERS = 200  # in one call
MAX_ATTEMPTS = 10

# Down from the base (0: the top), only to what is wanted; each step is looked up by the index of names.
FIND = """
WITH RECURSIVE wanted AS MATERIALIZED (
    SELECT * FROM unnest(%(above)s::int[], %(number)s::int[], %(name)s::text[]) AS step (above, number, name)
), found AS (
    SELECT 0 AS number, %(base)s::bigint AS id
    UNION ALL
    SELECT wanted.number, there.id
    FROM found JOIN wanted ON wanted.above = found.number
    CROSS JOIN LATERAL (
        SELECT id FROM uploads_folder WHERE coalesce(parent_id, 0) = found.id AND name = wanted.name LIMIT 1
    ) AS there
)
SELECT number, id FROM found WHERE number > 0
"""

# In the order of their numbers: the trigger that sets `path` and `governor` of a folder reads the one above.
MAKE = """
WITH wanted AS MATERIALIZED (
    SELECT step.*, nextval(pg_get_serial_sequence('uploads_folder', 'id')) AS id
    FROM unnest(%(above)s::int[], %(parent)s::bigint[], %(number)s::int[], %(name)s::text[], %(folded)s::text[])
        AS step (above, parent, number, name, folded)
), made AS (
    INSERT INTO uploads_folder (id, parent_id, name, folded, path, restricted, created_by_id)
    SELECT wanted.id, coalesce(above.id, wanted.parent), wanted.name, wanted.folded, '{}', false, %(by)s
    FROM wanted LEFT JOIN wanted AS above ON above.number = wanted.above
    ORDER BY wanted.number
)
SELECT number, id FROM wanted
"""


@dataclass(slots=True, eq=False)
class Step:
    """One folder on the way down a path; `folder` is None while it is not made. The first is the base."""

    number: int
    name: str
    above: Step | None
    folder: Folder | None = None

    def way(self) -> list[Step]:
        """From the step below the base down to this one."""
        found, step = [], self
        while step.above is not None:
            found.append(step)
            step = step.above
        return found[::-1]

    @property
    def place(self) -> tuple[int, str]:
        """The key by which all callers make folders in one order, so that they cannot deadlock."""
        names = [step.name for step in self.way()]
        return len(names), "/".join(names)


@dataclass(slots=True)
class Plan:
    """Which steps are to be made, which folders brought back, and which paths are refused."""

    new: dict[int, Step] = field(default_factory=dict)
    removed: set[int] = field(default_factory=set)
    refused: dict[str, Problem] = field(default_factory=dict)


class Tree:
    """The wanted paths under a folder (None: the top), and what of them is there."""

    def __init__(self, paths: Iterable[str], into: Folder | None) -> None:
        self.base = Step(0, "", None, into)
        self.steps: list[Step] = []
        self.ends: dict[str, Step] = {}
        known: dict[tuple[int, str], Step] = {}
        for path in sorted(set(paths)):
            step = self.base
            for name in path.split("/") if path else []:
                spot = (step.number, name)
                if spot not in known:
                    known[spot] = Step(len(known) + 1, name, step)
                    self.steps.append(known[spot])
                step = known[spot]
            self.ends[path] = step

    def read(self) -> None:
        """Find what is there: two queries, however many paths."""
        if not self.steps:
            return
        into = self.base.folder
        with connection.cursor() as cursor:
            cursor.execute(FIND, {
                "base": into.pk if into else 0,
                "above": [step.above.number for step in self.steps if step.above],
                "number": [step.number for step in self.steps],
                "name": [step.name for step in self.steps],
            })  # fmt: skip
            found = dict(cursor.fetchall())
        folders = Folder.objects.in_bulk(set(found.values()))
        for step in self.steps:
            step.folder = folders.get(found.get(step.number, 0))

    @property
    def is_complete(self) -> bool:
        folders = [step.folder for step in self.steps]
        return all(folder is not None and folder.removed_at is None for folder in folders)

    def too_deep(self) -> dict[str, Problem]:
        """Paths that are not all there, and would reach too far down."""
        found: dict[str, Problem] = {}
        for path, end in self.ends.items():
            if end.folder is None:
                try:
                    require_depth(path.count("/") + 1 + (self.base.folder.depth if self.base.folder else 0))
                except ValidationFailed as problem:
                    found[path] = problem
        return found

    def lock(self) -> None:
        """Keep the folders that others are made in, or that are brought back, from being moved, closed or removed until
        the transaction ends; a change that is under way ends first."""
        above = {step.above.folder.pk for step in self._changing() if step.above and step.above.folder}
        removed = {step.folder.pk for step in self._changing() if step.folder}
        rows = Folder.objects.filter(pk__in=above | removed).order_by("pk").select_for_update(no_key=True)
        locked = {folder.pk: folder for folder in rows}
        for step in [self.base, *self.steps]:
            if step.folder is not None:
                step.folder = locked.get(step.folder.pk, step.folder)

    def plan(self, by: User, usage: Usage | None, *, limited: bool) -> Plan:
        """What becomes of each path. `usage` may be None while all folders are there."""
        plan, rights = Plan(), _Rights(by, self)
        for path, end in self.ends.items():
            way = end.way()
            new = {step.number: step for step in way if step.folder is None and step.number not in plan.new}
            try:
                rights.require(way, end)
                if usage and limited:
                    _require_room(usage, len(plan.new) + len(new), len(new))
            except Problem as problem:
                plan.refused[path] = problem
            else:
                plan.new |= new
                plan.removed |= {step.folder.pk for step in [self.base, *way] if step.folder and step.folder.removed_at}
        return plan

    def make(self, plan: Plan, by: User) -> None:
        """Make what is planned, by one statement, and record it. Raises IntegrityError when it lost a race."""
        new = sorted(plan.new.values(), key=lambda step: step.place)
        order = {step.number: number for number, step in enumerate(new, start=1)}
        with connection.cursor() as cursor:
            cursor.execute(MAKE, {
                "above": [order.get(step.above.number) if step.above else None for step in new],
                "parent": [step.above.folder.pk if step.above and step.above.folder else None for step in new],
                "number": list(range(1, len(new) + 1)),
                "name": [step.name for step in new],
                "folded": [normalize_for_search(step.name) for step in new],
                "by": by.pk,
            })  # fmt: skip
            made = dict(cursor.fetchall())
        folders = Folder.objects.in_bulk(made.values())
        for step in new:
            step.folder = folders[made[order[step.number]]]
        Event.objects.bulk_create(event(Action.FOLDER, by=by, folder=step.folder, created=True) for step in new)

    def answers(self, plan: Plan) -> dict[str, Folder | Problem | None]:
        return {path: plan.refused.get(path) or end.folder for path, end in self.ends.items()}

    def _changing(self) -> list[Step]:
        return [step for step in self.steps if step.folder is None or step.folder.removed_at is not None]


class _Rights:
    """What this person may do on all these ways: at most two queries."""

    def __init__(self, by: User, tree: Tree) -> None:
        self.by = by
        folders = {step.folder for step in [tree.base, *tree.steps] if step.folder}
        ids, removed = {folder.pk for folder in folders}, {folder.pk for folder in folders if folder.removed_at}
        rows = Folder.objects.accepting(by).filter(pk__in=ids) if ids else Folder.objects.none()
        self.accepting = set(rows.values_list("pk", flat=True))
        gone = Folder.objects.closed_to(by).filter(pk__in=removed) if removed else Folder.objects.none()
        self.closed = set(gone.values_list("pk", flat=True))
        self.base = tree.base

    def require(self, way: list[Step], end: Step) -> None:
        """Raise Forbidden or Conflict where this way leads past what the person may do."""
        if not way or self.base.folder is not None:
            self._require_accepting(self.base)
        for step in way:
            if step.folder is None:
                self._require_accepting(step.above)
                if not self.by.has_perm("uploads.view_file"):
                    raise Forbidden(_("You may not put files into this folder."))
                return
            if step.folder.removed_at is not None:
                self._require_accepting(step.above)
                if step.folder.pk in self.closed:
                    raise Conflict(
                        _("“%(name)s” was the name of a folder that is not open to you.") % {"name": step.name}
                    )
        self._require_accepting(end)

    def _require_accepting(self, step: Step | None) -> None:
        if step is None or step.folder is None:
            if not self.by.has_perm("uploads.add_file"):
                raise Forbidden(_("Your account may not upload. Ask an administrator for a role."))
        elif step.folder.pk not in self.accepting:
            raise Forbidden(_("You may not put files into this folder."))


def ensure(
    paths: Iterable[str], *, by: User, into: Folder | None = None, limited: bool = True
) -> dict[str, Folder | Problem | None]:
    """The folder of each clean path like `Brand/Logos` under `into`, made where it is missing; the empty path
    is `into` itself. A path that leads where this person may not put files is answered with Forbidden, one that is too
    deep or more than one call may make with ValidationFailed, more than one person may make with OverQuota. An
    import is not `limited` in the number of its folders.

    Safe to repeat and to race: two people who make the same path at once get the same folders.
    """
    tree = Tree(paths, into)
    tree.read()
    if refused := tree.too_deep():  # thousands of steps that need not be looked for again
        return ensure(tree.ends.keys() - refused.keys(), by=by, into=into, limited=limited) | refused
    if tree.is_complete and (into is None or into.removed_at is None):
        return tree.answers(tree.plan(by, None, limited=False))
    for _attempt in range(MAX_ATTEMPTS):
        try:
            with transaction.atomic():
                return _ensure_missing(tree, by, limited=limited)
        except IntegrityError:  # one of them was made since they were looked for
            continue
    raise Conflict(_("Other people are making the same folders. Try again in a moment."))


def require_depth(depth: int) -> None:
    """Raise ValidationFailed for a new folder at this level, counted from 1 at the top."""
    if depth > MAX_DEPTH:
        raise ValidationFailed(_("Folders can be at most %(most)s levels deep.") % {"most": MAX_DEPTH})


def restore_folder(folder_ids: Iterable[int]) -> None:
    """Bring removed folders back, with those above them."""
    gone = Folder.objects.filter(pk__in=set(folder_ids), removed_at__isnull=False)
    steps = {step for path in gone.values_list("path", flat=True) for step in path}
    if steps:
        Folder.objects.filter(pk__in=steps).update(removed_at=None)


def _ensure_missing(tree: Tree, by: User, *, limited: bool) -> dict[str, Folder | Problem | None]:
    """The usage row is locked before any folder, as everywhere before any file."""
    usage = Usage.objects.locked(by.pk)
    tree.read()
    tree.lock()
    plan = tree.plan(by, usage, limited=limited)
    if plan.removed:
        restore_folder(plan.removed)
        tree.read()
    if plan.new:
        tree.make(plan, by)
    return tree.answers(plan)


def _require_room(usage: Usage, in_call: int, new: int) -> None:
    """`in_call` folders are new in this call, `new` of them by the path that is looked at."""
    if not new:
        return
    if in_call > MAX_NEW_FOLDERS:
        raise ValidationFailed(
            _("One call can make at most %(most)s new folders. Send the rest in another call.")
            % {"most": MAX_NEW_FOLDERS}
        )
    if usage.folders + in_call > settings.UPLOAD_QUOTA_FOLDERS:
        raise OverQuota(
            _("One person can make at most %(most)s folders. Use folders that are there, or ask for more.")
            % {"most": f"{settings.UPLOAD_QUOTA_FOLDERS:,}"}
        )
