"""The base class of bulk actions, and the registry that the pages and the admin read.

A task continues an action on a folder with more files than one request changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_tasks import task

from amalga.db import CALL_SECONDS, deadline
from uploads.errors import Problem
from uploads.failpoints import failpoint
from uploads.forms import UserForm
from uploads.models import Action, Event, File, Folder
from uploads.models.audit import event
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet
from uploads.services.files import lock_rows
from uploads.services.folders import lock_branches

logger = logging.getLogger(__name__)

MAX_FILES_INSIDE = 10_000  # of the folders of one call; a task changes the rest

REGISTRY: dict[str, BulkAction] = {}
FOLDER_BATCH_SIZE = 1_000  # files of a transaction
TASK_SECONDS = 5.0  # then the rest goes to the end of the queue, so that a worker can stop


@dataclass(slots=True)
class BulkResult:
    """The result of a bulk action: the changed files and folders, the names of those that the person can see but not
    change, and the number of ids without a file or folder that the person can see."""

    files: list[File] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: int = 0
    in_use: list[Folder] = field(default_factory=list)  # they stay, since they hold what the person may not change
    unfinished: list[Folder] = field(default_factory=list)  # a background task changes the rest of their files
    events: list[Event] = field(default_factory=list)

    @property
    def file_ids(self) -> list[UUID]:
        return [file.permanent_id for file in self.files]

    def add(self, other: BulkResult) -> None:
        """Add what another call changed."""
        self.files += other.files
        self.folders += other.folders

    @property
    def has_changes(self) -> bool:
        return bool(self.files or self.folders)


class BulkAction:
    """A change of many files at once. A subclass in this package that is registered appears in the bar below lists, in
    the admin, and with its events in the activity.

    It changes rows, never objects. Files that the person may not change are left as they are and reported.
    """

    name: ClassVar[str]
    label: ClassVar[Any]
    order: ClassVar[int] = 100  # of the buttons, ascending
    menu: ClassVar[Any] = ""  # the label of the menu that this button is in, beside those of the same label
    button_class: ClassVar[str] = ""
    icon: ClassVar[str] = ""  # on narrow screens, above the label; actions of one menu have the same
    in_trash: ClassVar[bool] = False  # offered in the trash instead of the library
    in_admin: ClassVar[bool] = True
    row_right: ClassVar[str] = ""  # what a selected row must permit: a letter of uploads/listing/marks.py
    changes_files: ClassVar[bool] = True  # not offered to people who can change none of the files
    takes_folders: ClassVar[bool] = False
    url_name: ClassVar[str] = ""  # the button posts to this view instead of the bulk view
    can_undo: ClassVar[bool] = False  # the message offers to undo it
    undo_detail: ClassVar[str] = ""  # what its events need for that; those of earlier releases can lack it
    description: ClassVar[Any] = ""  # on the admin's confirmation page

    form_class: ClassVar[type[UserForm]] = UserForm  # its cleaned_data are the parameters
    page_form_class: ClassVar[type[UserForm] | None] = None  # on pages, instead of form_class
    submit_label: ClassVar[Any] = ""  # of the page with that form
    template: ClassVar[str] = "uploads/bulk_form.html"  # of that page

    audit_action: ClassVar[str]
    audit_label: ClassVar[Any] = ""  # required if `audit_action` is not in models.Action
    log_event: ClassVar[str]

    def is_offered_to(self, user: User) -> bool:
        """Whether pages show the button to this person."""
        return True

    def permitted(self, user: User) -> FileQuerySet:
        """Return the files to which this user may do this."""
        return File.objects.changeable_by(user).listed()

    def prepare(self, file_ids: Collection[UUID], data: Mapping[str, Any], *, by: User) -> None:
        """Check permissions beside those on files, and lock the rows that come before files. Raises Problem."""

    def form_context(self, file_ids: Collection[UUID], *, by: User) -> dict[str, Any]:
        """Return what the template shows beside the form."""
        return {}

    def permitted_folders(self, user: User) -> FolderQuerySet:
        """Return the folders to which this user may do this."""
        return Folder.objects.living().editable_by(user)

    def inside(self, folders: Sequence[Folder], *, by: User) -> FileQuerySet:
        """Return the files that change together with these folders, apart from their place."""
        return File.objects.none()

    def count_inside(self, folders: Sequence[Folder], *, by: User) -> int:
        """Count them, up to MAX_FILES_INSIDE and one more."""
        return self.inside(folders, by=by)[: MAX_FILES_INSIDE + 1].count()

    def change_folders(self, result: BulkResult, data: Mapping[str, Any], *, by: User) -> list[Event]:
        """Change the locked folders of the result, after its files; return the events to save. Raises Problem.

        Folders that stay as they are move from `folders` to `in_use` or `unfinished`.
        """
        raise NotImplementedError

    def change(self, files: list[File], data: Mapping[str, Any], *, by: User) -> dict[str, Any]:
        """Change the locked files inside the transaction; return the detail of their events. Raises Problem."""
        raise NotImplementedError

    def previous(self, files: list[File], data: Mapping[str, Any]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return for each file, by its id, what its event needs so that the action can be undone. Called before
        `change`."""
        return {}

    def can_undo_event(self, row: Event) -> bool:
        """Whether this action did what the event says, with what is needed to undo it."""
        return self.can_undo and row.action == self.audit_action and self.undo_detail in {"", *row.detail}

    def undo(self, events: Sequence[Event], *, by: User) -> BulkResult:
        """Restore what these events of one action changed, where it is still as the action left it. Raises Problem."""
        raise NotImplementedError

    def undo_message(self, result: BulkResult) -> str:
        raise NotImplementedError

    def title(self, count: int) -> str:
        """Return the heading of the page that asks for the parameters, or for confirmation."""
        text = ngettext("%(action)s (%(count)s file)", "%(action)s (%(count)s files)", count)
        return text % {"action": self.label, "count": count}

    def question(self, count: int, folders: Sequence[Folder], *, by: User) -> str:
        """Like `title`, for this many files beside these folders."""
        return self.title(count) if not folders else str(self.label)

    def needs_confirmation(self, folders: Sequence[Folder], *, by: User) -> bool:
        """Whether to ask before the action changes these folders."""
        return False

    def success_message(self, count: int, data: Mapping[str, Any]) -> str:
        raise NotImplementedError

    def folder_message(self, result: BulkResult, data: Mapping[str, Any]) -> str:
        """Return the message of a result with folders."""
        raise NotImplementedError

    def message(self, result: BulkResult, data: Mapping[str, Any]) -> str:
        return self.folder_message(result, data) if result.folders else self.success_message(len(result.files), data)

    def target_url(self, data: Mapping[str, Any]) -> str:
        """Return the URL of the page to which this action brings files; '' if they stay where they are."""
        return ""

    def describe(self, detail: Mapping[str, Any]) -> str:
        """Describe an event by its detail, without actor and time; '' for the name of its audit action."""
        return ""

    @deadline(CALL_SECONDS)
    def execute(
        self, file_ids: Iterable[UUID], data: Mapping[str, Any], *, by: User, folders: Iterable[int] = ()
    ) -> BulkResult:
        """Do this to the files with these permanent ids and to these folders, in one transaction, and record it in the
        audit log.

        `data` is the form's `cleaned_data`. Raises Problem if nothing can be changed.
        """
        selected, folder_ids = set(file_ids), set(folders) if self.takes_folders else set[int]()
        with transaction.atomic():
            chosen = self._lock_folders(folder_ids, by=by)  # before any file, as everywhere
            if chosen.folders:
                inside = self.inside(chosen.folders, by=by)[:MAX_FILES_INSIDE]
                selected.update(series or pk for series, pk in inside.values_list("series", "pk"))
            self.prepare(selected, data, by=by)
            result = _lock_selection(selected, self.permitted(by), by=by)
            result.folders, result.refused = chosen.folders, [*chosen.refused, *result.refused]
            result.unknown += chosen.unknown
            previous = self.previous(result.files, data)
            detail = self.change(result.files, data, by=by)
            failpoint("bulk.1-changed")
            events = [
                event(self.audit_action, by=by, file=file, **detail, **previous.get(file.pk, {}))
                for file in result.files
            ]
            if result.folders:
                events += self.change_folders(result, data, by=by)
            result.events = Event.objects.record_together(events)
        failpoint("bulk.2-committed")
        for file in result.files:
            logger.info("%s file=%s by=%s", self.log_event, file.pk, by.pk)
        return result

    def _lock_folders(self, ids: set[int], *, by: User) -> BulkResult:
        """Lock the folders that may be changed, with their subfolders; subfolders of another one are included in it."""
        if not ids:
            return BulkResult()
        lock_branches(list(Folder.objects.filter(pk__in=ids)))
        permitted = list(self.permitted_folders(by).filter(pk__in=ids).order_by("natural_name", "pk"))
        remaining = ids - {folder.pk for folder in permitted}
        refused = Folder.objects.visible_to(by).filter(pk__in=remaining).order_by("natural_name")
        names = list(refused.values_list("name", flat=True))
        outer = [folder for folder in permitted if not {*folder.path[:-1]} & {other.pk for other in permitted}]
        return BulkResult(folders=outer, refused=names, unknown=len(remaining) - len(names))

    def __str__(self) -> str:
        return self.name


def _lock_selection(file_ids: set[UUID], permitted: FileQuerySet, *, by: User) -> BulkResult:
    """Lock the files that may be changed; of the others, separate those that this person can see from the unknown."""
    files = lock_rows(permitted.by_permanent_ids(file_ids))
    remaining = file_ids - {file.permanent_id for file in files}
    visible = File.objects.visible_to(by).by_permanent_ids(remaining) if remaining else File.objects.none()
    refused = list(visible.order_by("natural_name").values_list("name", flat=True))
    return BulkResult(files, refused=refused, unknown=len(remaining) - len(refused))


def count_files(count: int) -> str:
    return ngettext("%(count)s file", "%(count)s files", count) % {"count": number_format(count, force_grouping=True)}


def count_folders(count: int) -> str:
    text = ngettext("%(count)s folder", "%(count)s folders", count)
    return text % {"count": number_format(count, force_grouping=True)}


def count_with_inside(count: int, inside: int) -> str:
    """Return the number of selected files together with that of `count_inside`."""
    if inside > MAX_FILES_INSIDE:
        return _("more than %(max)s files") % {"max": number_format(MAX_FILES_INSIDE, force_grouping=True)}
    return count_files(count + inside)


def name_folders(folders: Sequence[Folder]) -> str:
    """Return the name of a single folder, or how many they are."""
    return f"“{folders[0]}”" if len(folders) == 1 else count_folders(len(folders))


# --- the registry -----------------------------------------------------------------------------

ActionClass = TypeVar("ActionClass", bound=BulkAction)


def register(action_class: type[ActionClass]) -> type[ActionClass]:
    """Register a bulk action; a class decorator. Raises ImproperlyConfigured for a name that is taken, and for an
    audit action that the activity could not name."""
    action = action_class()
    if action.name in REGISTRY:
        raise ImproperlyConfigured(f"two bulk actions are named {action.name!r}")
    if action.audit_action not in Action.values and not action.audit_label:
        raise ImproperlyConfigured(f"the bulk action {action.name!r} has no audit_label")
    REGISTRY[action.name] = action
    return action_class


def get_action(name: str) -> BulkAction | None:
    return REGISTRY.get(name)


def page_actions(user: User, *, in_trash: bool, may_change: bool) -> list[BulkAction]:
    """Return the actions to offer this person below a list of the library or of the trash."""
    offered = [action for action in _ordered() if action.in_trash == in_trash and action.is_offered_to(user)]
    return [action for action in offered if may_change or not action.changes_files]


def admin_actions() -> list[BulkAction]:
    return [action for action in _ordered() if action.in_admin]


def find_undo(events: Sequence[Event]) -> BulkAction | None:
    """Return the action that can undo all of these events, or None."""
    actions = (action for action in _ordered() if events and all(action.can_undo_event(row) for row in events))
    return next(actions, None)


def audit_labels() -> dict[str, Any]:
    """Return the label of each action in the audit log."""
    own = {str(action.audit_action): action.audit_label for action in _ordered() if action.audit_label}
    return {**own, **dict(Action.choices)}


def audit_label(audit_action: str) -> Any:
    """Return the label of one action in the audit log; an action that no longer exists is its own label."""
    with suppress(ValueError):
        return Action(audit_action).label
    labels = (action.audit_label for action in _ordered() if action.audit_action == audit_action and action.audit_label)
    return next(labels, audit_action)


def describe(audit_action: str, detail: Mapping[str, Any]) -> str:
    """Describe an event of the audit log. Events of earlier releases can lack details, so the label is the fallback."""
    action = next((action for action in _ordered() if action.audit_action == audit_action), None)
    return (action.describe(detail) if action else "") or str(audit_label(audit_action))


def _ordered() -> list[BulkAction]:
    return sorted(REGISTRY.values(), key=lambda action: action.order)


def continue_in_folder(action: BulkAction, folder: Folder, purge_after: datetime, *, by: User) -> None:
    """Enqueue a task for the remaining files of the folder. Safe to repeat."""
    change_folder.enqueue(action.name, folder.pk, by.pk, purge_after.isoformat())


@task()
def change_folder(action_name: str, folder_id: int, by_id: int, purge_after: str) -> int:
    """Do the action to files of the folder within TASK_SECONDS, in batches, and enqueue the rest as another task.

    The permissions are those at the time. Returns how many files changed.
    """
    action = get_action(action_name)
    folder = Folder.objects.filter(pk=folder_id).first()
    by = User.objects.filter(pk=by_id, is_active=True).first()
    if action is None or folder is None or by is None:
        return 0
    folder.purge_after = datetime.fromisoformat(purge_after)
    data = {"purge_after": folder.purge_after}
    end = time.monotonic() + TASK_SECONDS
    count = 0
    try:
        while rows := list(action.inside([folder], by=by).values_list("series", "pk")[:FOLDER_BATCH_SIZE]):
            changed = len(action.execute([series or pk for series, pk in rows], data, by=by).files)
            count += changed
            if not changed:
                break
            if time.monotonic() > end:
                change_folder.enqueue(action_name, folder_id, by_id, purge_after)
                return count
        action.execute([], data, by=by, folders=[folder_id])  # a folder goes to the trash after its files
    except Problem as problem:
        logger.warning("folder_change_stopped action=%s folder=%s reason=%s", action_name, folder_id, problem.code)
    logger.info("folder_changed action=%s folder=%s by=%s count=%s", action_name, folder_id, by_id, count)
    return count
