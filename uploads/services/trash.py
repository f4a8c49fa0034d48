"""Cancel an upload, move a file to the trash, and restore it."""

from __future__ import annotations

import contextlib
import logging

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, InvalidTransition, StorageUnavailable
from uploads.failpoints import failpoint
from uploads.models import File, State
from uploads.services.bulk import restore_many, trash_many
from uploads.services.erase import erase

logger = logging.getLogger(__name__)


def cancel(file: File, *, by: User) -> None:
    """Cancel an unfinished upload: release its reservation, and delete its bytes. Safe to repeat.

    Raises InvalidTransition for an upload that is finished or is being completed.
    """
    if file.state == State.DELETING:
        return
    if not cancel_expired(file):
        raise InvalidTransition(_("This upload is finished or being completed; it cannot be cancelled."))
    logger.info("upload_canceled file=%s by=%s", file.pk, by.pk)


def cancel_expired(file: File) -> bool:
    """Discard an upload with its reservation and bytes. Returns False if it is no longer `uploading`."""
    if not File.objects.filter(pk=file.pk, state=State.UPLOADING).discard(owner_id=file.owner_id):
        return False
    failpoint("cancel.1-discarded")
    file.refresh_from_db()  # another process may have begun a multipart upload
    with contextlib.suppress(StorageUnavailable):  # then the sweep erases it
        erase(file)
    return True


def trash(file: File, *, by: User) -> None:
    """Move the file to the trash; it can be restored until `purge_after`. Safe to repeat.

    Raises InvalidTransition for a file that is not available, or that this person may not remove.
    """
    if File.objects.by_link(file.link).trashed().exists():
        return
    if not trash_many([file.link], by=by).files:
        raise InvalidTransition(_("“%(name)s” cannot be put into the trash now.") % {"name": file.name})


def restore(file: File, *, by: User) -> None:
    """Restore a file from the trash, as it was. Safe to repeat. Raises Forbidden, InvalidTransition."""
    if File.objects.by_link(file.link).available().exists():
        return
    if not restore_many([file.link], by=by).files:
        if File.objects.by_link(file.link).trashed().exists():
            raise Forbidden(_("You may not put files into this folder."))
        raise InvalidTransition(_("The file is no longer in the trash."))
