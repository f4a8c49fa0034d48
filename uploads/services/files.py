"""Rename a file, restore a previous version, cancel an upload; lock the rows of files with all their versions."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, InvalidTransition, OwnerOverQuota, StorageUnavailable
from uploads.failpoints import failpoint
from uploads.models import Action, Event, File, GuestSession, State, Usage
from uploads.models.publish import promote_version
from uploads.models.querysets import FileQuerySet
from uploads.names import normalize_for_search
from uploads.services.downloads import require_deliverable
from uploads.services.erase import erase
from uploads.services.start import validate_type

logger = logging.getLogger(__name__)


def lock_rows(rows: FileQuerySet) -> list[File]:
    """Lock and return the rows, in one order, so that two batches cannot deadlock."""
    return list(rows.order_by("pk").select_for_update(no_key=True))


def with_versions(files: Sequence[File]) -> FileQuerySet:
    """Return the rows of these files and of all their versions, which share name, folder and visibility."""
    series = [file.series for file in files if file.series]
    return File.objects.filter(Q(pk__in=[file.pk for file in files]) | Q(series__in=series))


def rename(file: File, name: str, *, by: User) -> int | None:
    """Rename a listed file to another clean name; its link stays. Return the id of the event, with which it can be
    undone. Raises Forbidden, RefusedType."""
    validate_type(name=name)
    with transaction.atomic():
        rows = lock_rows(File.objects.changeable_by(by).listed().filter(pk=file.pk))
        if not rows:
            raise Forbidden(_("You don't have permission to change this file."))
        if rows[0].name == name:
            return None
        with_versions(rows).update(name=name, normalized_name=normalize_for_search(name), updated_at=Now())
        event_id = Event.objects.record(Action.RENAME, by=by, file=rows[0], new_name=name)
    file.name = name
    logger.info("file_renamed file=%s by=%s", file.pk, by.pk)
    return event_id


def restore_version(file: File, version: File, *, by: User) -> File:
    """Make a previous, available version of a listed file the current one; the present one becomes a previous one.

    Safe to repeat. Raises Forbidden, OverQuota, or InvalidTransition if the file has no such version.
    """
    with transaction.atomic():
        usages = {pk: Usage.objects.locked(pk) for pk in sorted({file.owner_id, version.owner_id})}
        if not File.objects.changeable_by(by).listed().filter(pk=file.pk).exists():
            raise Forbidden(_("You don't have permission to change this file."))
        rows = File.objects.versions_of(file).available().select_for_update(no_key=True)
        target = rows.filter(pk=version.pk).first()
        if target is None:
            raise InvalidTransition(_("This version no longer exists."))
        if target.current:
            return target
        require_deliverable([target])
        if target.owner_id != file.owner_id and not usages[file.owner_id].has_room(target.size):
            raise OwnerOverQuota()
        promote_version(target)
        failpoint("version.1-made-current")
        Event.objects.record(Action.VERSION_RESTORED, by=by, file=target, version=str(target.pk))
    failpoint("version.2-restored")
    logger.info("version_restored file=%s version=%s by=%s", target.permanent_id, target.pk, by.pk)
    return target


def cancel(file: File, *, by: User | GuestSession) -> None:
    """Cancel an unfinished upload: release its reservation, and delete its bytes. Safe to repeat.

    Raises InvalidTransition for an upload that is finished or is being completed.
    """
    if file.state == State.DELETING:
        return
    if not discard_upload(file):
        raise InvalidTransition(_("This upload is finished or being completed. It can't be canceled."))
    logger.info("upload_canceled file=%s by=%s", file.pk, by.pk)


def discard_upload(file: File) -> bool:
    """Discard an upload with its reservation and bytes. Returns False if it is no longer `uploading`."""
    if not File.objects.filter(pk=file.pk, state=State.UPLOADING).discard(owner_id=file.owner_id):
        return False
    failpoint("cancel.1-discarded")
    file.refresh_from_db()  # another process may have begun a multipart upload
    with contextlib.suppress(StorageUnavailable):  # then the sweep erases it
        erase(file)
    return True
