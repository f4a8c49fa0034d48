"""Cancel an upload, hide a file, bring it back, and let go of what nobody needs any more."""

from __future__ import annotations

import contextlib
import logging

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils.translation import gettext as _

from uploads import s3
from uploads.errors import StoreUnavailable, WrongState
from uploads.faultpoints import reached
from uploads.models import File, State
from uploads.models.queries import in_seconds
from uploads.services.organise import restore_many, trash_many
from uploads.services.previews import erase_previews

logger = logging.getLogger(__name__)

# A URL lives by the store's clock, a row by the database's.
CLOCKS_APART_SECONDS = 120


def cancel(file: File, *, by: User) -> None:
    """Give an unfinished upload up: its reservation ends now, its bytes go. Safe to repeat.

    Raises WrongState for an upload that is finished or is being completed.
    """
    if file.state == State.DELETING:
        return
    if not give_up(file):
        raise WrongState(_("This upload is finished or being completed; it cannot be cancelled."))
    logger.info("upload_cancelled file=%s by=%s", file.pk, by.pk)


def give_up(file: File) -> bool:
    """Let go of an upload, its reservation and what came of its bytes. False if it was too late for that."""
    if not File.objects.filter(pk=file.pk, state=State.UPLOADING).discard(owner_id=file.owner_id):
        return False
    reached("cancel.1-discarded")
    file.refresh_from_db()  # it may have a multipart upload since we looked
    with contextlib.suppress(StoreUnavailable):  # then the sweep goes on with it
        erase(file)
    return True


def trash(file: File, *, by: User) -> None:
    """Hide the file from everyone; it can be restored until `purge_after`. Safe to repeat.

    Raises WrongState for one that is not available, or not this person's to remove.
    """
    if File.objects.by_link(file.link).trashed().exists():
        return
    if not trash_many([file.link], by=by).files:
        raise WrongState(_("“%(name)s” cannot be put into the trash now.") % {"name": file.name})


def restore(file: File, *, by: User) -> None:
    """Bring a file back from the trash, as it was. Safe to repeat."""
    if File.objects.by_link(file.link).available().exists():
        return
    if not restore_many([file.link], by=by).files:
        raise WrongState(_("The file is no longer in the trash."))


def erase(file: File) -> bool:
    """Remove what the store has of a row in `deleting`, then the row. Safe to repeat.

    While a signed URL may still bring bytes to the key, the row stays: False, to be repeated later.
    So no object is ever without a row. A row that is not in `deleting` keeps all it has.
    """
    if not File.objects.filter(pk=file.pk, state=State.DELETING).exists():
        return False
    if file.part_count > 1 or file.multipart_id:
        for multipart_id in {file.multipart_id, *s3.multipart_ids(file.key, store=file.store)} - {""}:
            s3.abort_multipart(file.key, multipart_id, store=file.store)
    reached("erase.1-parts-gone")
    s3.delete(file.key, store=file.store)
    reached("erase.2-object-gone")
    if not erase_previews(file):
        return False
    reached("erase.4-previews-gone")
    quiet = Q(signed_until__isnull=True) | Q(signed_until__lt=in_seconds(-CLOCKS_APART_SECONDS))
    gone, _each = File.objects.filter(quiet, pk=file.pk, state=State.DELETING).delete()
    reached("erase.5-row-gone")
    if gone:
        logger.info("file_erased file=%s", file.pk)
    return bool(gone)
