"""Go back to an older version of a file. A new one comes as any upload does, with `replaces` in its start."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, InvalidTransition, OwnerOverQuota, ValidationFailed
from uploads.failpoints import failpoint
from uploads.models import Action, Event, File, State, Usage
from uploads.models.publish import promote_version

logger = logging.getLogger(__name__)

MAX_VERSIONS = 1_000  # of one file: whatever is done to it is done to each


def count_versions(links: Collection[UUID]) -> Counter[UUID]:
    """How many rows each of these files has, unfinished ones included."""
    rows = File.objects.exclude(state=State.DELETING).filter(series__in=links).values_list("series")
    counts = dict(rows.annotate(Count("pk")).order_by())
    return Counter({link: counts.get(link, 1) for link in links})


def require_version_room(count: int) -> None:
    """Raise ValidationFailed when a file of `count` versions takes no more."""
    if count >= MAX_VERSIONS:
        raise ValidationFailed(
            _("A file can have at most %(most)s versions. Upload it as a new file.") % {"most": f"{MAX_VERSIONS:,}"}
        )


def restore_version(file: File, version: File, *, by: User) -> File:
    """Let an older, available version of a listed file count again; the present one stays as an older one.

    Safe to repeat. Raises Forbidden, OverQuota, or InvalidTransition where the version is none of this file's.
    """
    with transaction.atomic():
        usages = {pk: Usage.objects.locked(pk) for pk in sorted({file.owner_id, version.owner_id})}
        if not File.objects.changeable_by(by).listed().filter(pk=file.pk).exists():
            raise Forbidden(_("You may not change this file."))
        rows = File.objects.versions_of(file).available().select_for_update(no_key=True)
        found = rows.filter(pk=version.pk).first()
        if found is None:
            raise InvalidTransition(_("This version is not there any more."))
        if found.current:
            return found
        if found.owner_id != file.owner_id and not usages[file.owner_id].has_room(found.size):
            raise OwnerOverQuota()
        promote_version(found)
        failpoint("version.1-made-current")
        Event.objects.record(Action.VERSION_RESTORED, by=by, file=found, version=str(found.pk))
    failpoint("version.2-restored")
    logger.info("version_restored file=%s version=%s by=%s", found.link, found.pk, by.pk)
    return found
