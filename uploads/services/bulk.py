"""Bulk actions: move, tag, change visibility, move to trash, restore. They change rows, never objects.

Each action takes the permanent ids of the selected files, changes those that the person may change, and returns what
was refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from amalga.db import CALL_SECONDS, deadline
from uploads.errors import Forbidden, OverQuota, ValidationFailed
from uploads.failpoints import failpoint
from uploads.models import Action, Event, File, Folder, State, Tag, Tagging, Usage, Visibility
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.names import normalize_for_search
from uploads.services.folders import lock, require_writable
from uploads.services.start import validate_type

logger = logging.getLogger(__name__)

MAX_TAGS_PER_FILE = 50
MAX_TAGGINGS_PER_REQUEST = 50_000  # seconds of a transaction


@dataclass(slots=True)
class BulkResult:
    """The result of a bulk action: the changed files, the names of files that the person can see but not change, and
    the number of ids without a file that the person can see."""

    files: list[File] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: int = 0

    @property
    def links(self) -> list[UUID]:
        return [file.link for file in self.files]


def rename(file: File, name: str, *, by: User) -> None:
    """Rename a listed file to another clean name; its link stays. Raises Forbidden, RefusedType."""
    validate_type(name=name)
    with transaction.atomic():
        rows = _lock(File.objects.changeable_by(by).listed().filter(pk=file.pk))
        if not rows:
            raise Forbidden(_("You may not change this file."))
        if rows[0].name == name:
            return
        _with_versions(rows).update(name=name, normalized_name=normalize_for_search(name), updated_at=Now())
        Event.objects.record(Action.RENAME, by=by, file=rows[0], new_name=name)
    file.name = name
    logger.info("file_renamed file=%s by=%s", file.pk, by.pk)


@deadline(CALL_SECONDS)
def move_files(links: Iterable[UUID], target: Folder | None, *, by: User) -> BulkResult:
    """Move files into another folder (None: the top level). Raises Forbidden if this person may not add files there."""
    with transaction.atomic():
        lock([target.pk] if target else [])
        require_writable(target, by)
        outcome = _lock_selection(links, File.objects.changeable_by(by).listed(), by=by)
        _with_versions(outcome.files).update(folder=target, updated_at=Now())
        failpoint("move.1-moving")
        detail = {"folder_id": target.pk if target else None, "folder_name": target.name if target else ""}
        Event.objects.record_all(Action.MOVE, outcome.files, by=by, **detail)
    failpoint("move.2-moved")
    _log("file_moved", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def set_visibility(links: Iterable[UUID], visibility: Visibility, *, by: User) -> BulkResult:
    """Show files to the team or make them private. Only the owner of a file may do this."""
    with transaction.atomic():
        outcome = _lock_selection(links, File.objects.owned_by(by).listed(), by=by)
        _with_versions(outcome.files).update(visibility=visibility, updated_at=Now())
        Event.objects.record_all(Action.VISIBILITY, outcome.files, by=by, visibility=visibility.value)
    _log("file_shown" if visibility == Visibility.TEAM else "file_hidden", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def tag_files(links: Iterable[UUID], *, add: Sequence[str] = (), remove: Sequence[str] = (), by: User) -> BulkResult:
    """Add tags to files and remove tags, by clean name; missing tags are created.

    Raises ValidationFailed if a file would have more than fifty, and OverQuota for more new tags than a person may
    create: then no file is changed. Raises Forbidden for tags to add by a person who may not see tags: the spelling
    of the result would reveal whether a tag existed before.
    """
    if add and not by.has_perm("uploads.view_file"):
        raise Forbidden(_("You may not add tags. Ask an administrator for a role."))
    if len(add) > MAX_TAGS_PER_FILE:
        raise ValidationFailed(_("A file can have at most %(most)s tags.") % {"most": MAX_TAGS_PER_FILE})
    with transaction.atomic():
        if Tag.objects.filter(normalized_name__in={normalize_for_search(name) for name in add}).count() < len(add):
            Usage.objects.locked(by.pk)  # new tags count for this person; locked before any file row, as everywhere
        outcome = _lock_selection(links, File.objects.changeable_by(by).listed(), by=by)
        normalized_names = [normalize_for_search(name) for name in remove]
        Tagging.objects.filter(file__in=outcome.files, tag__normalized_name__in=normalized_names).delete()
        if len(outcome.files) * len(add) > MAX_TAGGINGS_PER_REQUEST:
            raise ValidationFailed(
                _("These are too many tags for so many files at once. Take fewer files or fewer tags.")
            )
        tags = _ensure_tags(add, by) if outcome.files else []
        Tagging.objects.bulk_create(
            (Tagging(tag=tag, file=file) for file in outcome.files for tag in tags), ignore_conflicts=True
        )
        _require_tag_limit(outcome.files)
        Event.objects.record_all(Action.TAG, outcome.files, by=by, added=list(add), removed=list(remove))
    _log("file_tagged", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def trash_many(links: Iterable[UUID], *, by: User) -> BulkResult:
    """Move files to the trash, with all their versions; they can be restored until `purge_after`."""
    with transaction.atomic():
        outcome = _lock_selection(links, File.objects.removable_by(by).listed(), by=by)
        purge_after = seconds_from_now(settings.TRASH_RETENTION_DAYS * 24 * 3600)
        _with_versions(outcome.files).move_to(State.TRASHED, purge_after=purge_after)
        failpoint("trash.1-hiding")
        Event.objects.record_all(Action.TRASH, outcome.files, by=by)
    failpoint("trash.2-hidden")
    _log("file_trashed", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def restore_many(links: Iterable[UUID], *, by: User) -> BulkResult:
    """Restore files from the trash as they were, with their folders; but not into folders that this person may not
    add files to (any more)."""
    with transaction.atomic():
        rows = File.objects.restorable_by(by).filter(current=True)
        selected = list(links)
        folders = rows.by_links(selected).filter(folder__isnull=False).values_list("folder_id", flat=True)
        lock(pk for pk in folders if pk)
        outcome = _lock_selection(selected, rows, by=by)
        _with_versions(outcome.files).trashed().move_to(State.AVAILABLE, purge_after=None)
        failpoint("restore.1-restoring")
        Event.objects.record_all(Action.RESTORE, outcome.files, by=by)
    failpoint("restore.2-restored")
    _log("file_restored", outcome, by)
    return outcome


def _log(event: str, outcome: BulkResult, by: User) -> None:
    for file in outcome.files:
        logger.info("%s file=%s by=%s", event, file.pk, by.pk)


def _lock_selection(links: Iterable[UUID], allowed: FileQuerySet, *, by: User) -> BulkResult:
    """Lock the files that may be changed; of the others, separate those that this person can see from the unknown."""
    selected = set(links)
    files = _lock(allowed.by_links(selected))
    remaining = selected - {file.link for file in files}
    visible = File.objects.visible_to(by).by_links(remaining) if remaining else File.objects.none()
    refused = list(visible.order_by("normalized_name").values_list("name", flat=True))
    return BulkResult(files, refused, len(remaining) - len(refused))


def _lock(rows: FileQuerySet) -> list[File]:
    """Lock and return the rows, in one order, so that two batches cannot deadlock."""
    return list(rows.order_by("pk").select_for_update(no_key=True))


def _with_versions(files: Sequence[File]) -> FileQuerySet:
    """Return the rows of these files and of all their versions, which share name, folder and visibility."""
    series = [file.series for file in files if file.series]
    return File.objects.filter(Q(pk__in=[file.pk for file in files]) | Q(series__in=series))


def _ensure_tags(names: Sequence[str], by: User) -> list[Tag]:
    """Return the tags with these names, created if missing; sorted, so that two batches cannot deadlock."""
    by_key = {normalize_for_search(name): name for name in names}
    existing = set(Tag.objects.filter(normalized_name__in=by_key).values_list("normalized_name", flat=True))
    new = [
        Tag(name=by_key[normalized_name], normalized_name=normalized_name, created_by=by)
        for normalized_name in sorted(by_key.keys() - existing)
    ]
    if new and Usage.objects.locked(by.pk).tags + len(new) > settings.UPLOAD_QUOTA_TAGS:
        raise OverQuota(
            _("One person can add at most %(most)s tags. Use tags that are there, or ask for more.")
            % {"most": f"{settings.UPLOAD_QUOTA_TAGS:,}"}
        )
    Tag.objects.bulk_create(new, ignore_conflicts=True)
    return list(Tag.objects.filter(normalized_name__in=by_key))


def _require_tag_limit(files: Sequence[File]) -> None:
    counts = Tagging.objects.filter(file__in=files).values("file").annotate(count=Count("pk"))
    if counts.filter(count__gt=MAX_TAGS_PER_FILE).exists():
        raise ValidationFailed(_("A file can have at most %(most)s tags.") % {"most": MAX_TAGS_PER_FILE})
