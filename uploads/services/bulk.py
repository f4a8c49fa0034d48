"""Order many files at once: move, tag, show or hide, trash, restore. No byte moves: all of it is rows.

Each verb takes the permanent ids that somebody chose, does what that person may do, and tells what was refused.
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
    """What became of a choice: the files that were changed, the names of those that this person may see and
    not change so, and how many ids led to nothing (gone, or not for this person)."""

    files: list[File] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: int = 0

    @property
    def links(self) -> list[UUID]:
        return [file.link for file in self.files]


def rename(file: File, name: str, *, by: User) -> None:
    """Give a listed file another clean name; its link stays. Raises Forbidden, RefusedType."""
    validate_type(name=name)
    with transaction.atomic():
        found = _locked(File.objects.changeable_by(by).listed().filter(pk=file.pk))
        if not found:
            raise Forbidden(_("You may not change this file."))
        if found[0].name == name:
            return
        _family(found).update(name=name, folded=normalize_for_search(name), updated_at=Now())
        Event.objects.record(Action.RENAME, by=by, file=found[0], to=name)
    file.name = name
    logger.info("file_renamed file=%s by=%s", file.pk, by.pk)


@deadline(CALL_SECONDS)
def move_files(links: Iterable[UUID], target: Folder | None, *, by: User) -> BulkResult:
    """Put files into another folder (None: the top). Raises Forbidden if that one takes none from this person."""
    with transaction.atomic():
        lock([target.pk] if target else [])
        require_writable(target, by)
        outcome = _lock_selection(links, File.objects.changeable_by(by).listed(), by=by)
        _family(outcome.files).update(folder=target, updated_at=Now())
        failpoint("move.1-moving")
        detail = {"to": target.pk if target else None, "into": target.name if target else ""}
        Event.objects.record_all(Action.MOVE, outcome.files, by=by, **detail)
    failpoint("move.2-moved")
    _record("file_moved", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def set_visibility(links: Iterable[UUID], visibility: Visibility, *, by: User) -> BulkResult:
    """Show files to the team or keep them private. That is for each file's owner alone."""
    with transaction.atomic():
        outcome = _lock_selection(links, File.objects.owned_by(by).listed(), by=by)
        _family(outcome.files).update(visibility=visibility, updated_at=Now())
        Event.objects.record_all(Action.VISIBILITY, outcome.files, by=by, to=visibility.value)
    _record("file_shown" if visibility == Visibility.TEAM else "file_hidden", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def tag_files(links: Iterable[UUID], *, add: Sequence[str] = (), remove: Sequence[str] = (), by: User) -> BulkResult:
    """Put tags on files and take tags off, by clean name; new ones come into being.

    Raises ValidationFailed if a file would have more than fifty, OverQuota for more new ones than a person may add:
    then none
    of the files is changed. Raises Forbidden for tags to put on by a person who sees no tags: how a tag is spelled
    would tell whether it was there before.
    """
    if add and not by.has_perm("uploads.view_file"):
        raise Forbidden(_("You may not add tags. Ask an administrator for a role."))
    if len(add) > MAX_TAGS_PER_FILE:
        raise ValidationFailed(_("A file can have at most %(most)s tags.") % {"most": MAX_TAGS_PER_FILE})
    with transaction.atomic():
        if Tag.objects.filter(folded__in={normalize_for_search(name) for name in add}).count() < len(add):
            Usage.objects.locked(by.pk)  # what is new counts for this person; before any file row, as everywhere
        outcome = _lock_selection(links, File.objects.changeable_by(by).listed(), by=by)
        folded = [normalize_for_search(name) for name in remove]
        Tagging.objects.filter(file__in=outcome.files, tag__folded__in=folded).delete()
        if len(outcome.files) * len(add) > MAX_TAGGINGS_PER_REQUEST:
            raise ValidationFailed(
                _("These are too many tags for so many files at once. Take fewer files or fewer tags.")
            )
        tags = _tags(add, by) if outcome.files else []
        Tagging.objects.bulk_create(
            (Tagging(tag=tag, file=file) for file in outcome.files for tag in tags), ignore_conflicts=True
        )
        _refuse_too_many_tags(outcome.files)
        Event.objects.record_all(Action.TAG, outcome.files, by=by, added=list(add), removed=list(remove))
    _record("file_tagged", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def trash_many(links: Iterable[UUID], *, by: User) -> BulkResult:
    """Hide files from everyone, with all their versions; they can be restored until `purge_after`."""
    with transaction.atomic():
        outcome = _lock_selection(links, File.objects.removable_by(by).listed(), by=by)
        due = seconds_from_now(settings.TRASH_DAYS * 24 * 3600)
        rows = _family(outcome.files).filter(state=State.AVAILABLE)
        rows.update(state=State.TRASHED, purge_after=due, updated_at=Now())
        failpoint("trash.1-hiding")
        Event.objects.record_all(Action.TRASH, outcome.files, by=by)
    failpoint("trash.2-hidden")
    _record("file_trashed", outcome, by)
    return outcome


@deadline(CALL_SECONDS)
def restore_many(links: Iterable[UUID], *, by: User) -> BulkResult:
    """Bring files back from the trash as they were, and their folders with them; not into folders that this person
    may not put files into (any more)."""
    with transaction.atomic():
        rows = File.objects.restorable_by(by).filter(current=True)
        chosen = list(links)
        folders = rows.by_links(chosen).filter(folder__isnull=False).values_list("folder_id", flat=True)
        lock(pk for pk in folders if pk)
        outcome = _lock_selection(chosen, rows, by=by)
        rows = _family(outcome.files).filter(state=State.TRASHED)
        rows.update(state=State.AVAILABLE, purge_after=None, updated_at=Now())
        failpoint("restore.1-restoring")
        Event.objects.record_all(Action.RESTORE, outcome.files, by=by)
    failpoint("restore.2-restored")
    _record("file_restored", outcome, by)
    return outcome


def _record(act: str, outcome: BulkResult, by: User) -> None:
    for file in outcome.files:
        logger.info("%s file=%s by=%s", act, file.pk, by.pk)


def _lock_selection(links: Iterable[UUID], allowed: FileQuerySet, *, by: User) -> BulkResult:
    """Lock what may be changed; tell apart what may only be seen and what is not there for this person."""
    wanted = set(links)
    files = _locked(allowed.by_links(wanted))
    left = wanted - {file.link for file in files}
    seen = File.objects.visible_to(by).by_links(left) if left else File.objects.none()
    refused = list(seen.order_by("folded").values_list("name", flat=True))
    return BulkResult(files, refused, len(left) - len(refused))


def _locked(rows: FileQuerySet) -> list[File]:
    """In one order, so that two batches cannot wait for each other in a circle."""
    return list(rows.order_by("pk").select_for_update(no_key=True))


def _family(files: Sequence[File]) -> FileQuerySet:
    """The rows of these files with all their versions: what is said of the file is said of each."""
    series = [file.series for file in files if file.series]
    return File.objects.filter(Q(pk__in=[file.pk for file in files]) | Q(series__in=series))


def _tags(names: Sequence[str], by: User) -> list[Tag]:
    """Sorted, for the same reason as the locks."""
    wanted = {normalize_for_search(name): name for name in names}
    there = set(Tag.objects.filter(folded__in=wanted).values_list("folded", flat=True))
    new = [Tag(name=wanted[folded], folded=folded, created_by=by) for folded in sorted(wanted.keys() - there)]
    if new and Usage.objects.locked(by.pk).tags + len(new) > settings.UPLOAD_QUOTA_TAGS:
        raise OverQuota(
            _("One person can add at most %(most)s tags. Use tags that are there, or ask for more.")
            % {"most": f"{settings.UPLOAD_QUOTA_TAGS:,}"}
        )
    Tag.objects.bulk_create(new, ignore_conflicts=True)
    return list(Tag.objects.filter(folded__in=wanted))


def _refuse_too_many_tags(files: Sequence[File]) -> None:
    counts = Tagging.objects.filter(file__in=files).values("file").annotate(count=Count("pk"))
    if counts.filter(count__gt=MAX_TAGS_PER_FILE).exists():
        raise ValidationFailed(_("A file can have at most %(most)s tags.") % {"most": MAX_TAGS_PER_FILE})
