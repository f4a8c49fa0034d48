"""Go back to an older version of a file. A new one comes as any upload does, with `replaces` in its start."""

from __future__ import annotations

import logging

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, OwnerOverQuota, WrongState
from uploads.faultpoints import reached
from uploads.models import Action, Event, File, Usage
from uploads.models.versions import make_current

logger = logging.getLogger(__name__)


def restore_version(file: File, version: File, *, by: User) -> File:
    """Let an older, available version of a listed file count again; the present one stays as an older one.

    Safe to repeat. Raises Forbidden, OverQuota, or WrongState where the version is none of this file's.
    """
    with transaction.atomic():
        usages = {pk: Usage.objects.locked(pk) for pk in sorted({file.owner_id, version.owner_id})}
        if not File.objects.changeable_by(by).listed().filter(pk=file.pk).exists():
            raise Forbidden(_("You may not change this file."))
        rows = File.objects.versions_of(file).available().select_for_update(no_key=True)
        found = rows.filter(pk=version.pk).first()
        if found is None:
            raise WrongState(_("This version is not there any more."))
        if found.current:
            return found
        if found.owner_id != file.owner_id and not usages[file.owner_id].has_room(found.size):
            raise OwnerOverQuota()
        make_current(found)
        reached("version.1-made-current")
        Event.objects.record(Action.VERSION_RESTORED, by=by, file=found, version=str(found.pk))
    reached("version.2-restored")
    logger.info("version_restored file=%s version=%s by=%s", found.link, found.pk, by.pk)
    return found
