"""Restore a previous version of a file. A new version is an upload with `replaces`."""

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
from uploads.services.delivery import require_deliverable

logger = logging.getLogger(__name__)

MAX_VERSIONS = 1_000  # of one file: most changes of a file are made to each version


def count_versions(links: Collection[UUID]) -> Counter[UUID]:
    """Return how many rows each of these files has, unfinished uploads included."""
    rows = File.objects.exclude(state=State.DELETING).filter(series__in=links).values_list("series")
    counts = dict(rows.annotate(Count("pk")).order_by())
    return Counter({link: counts.get(link, 1) for link in links})


def require_version_room(count: int) -> None:
    """Raise ValidationFailed when a file with `count` versions cannot have another."""
    if count >= MAX_VERSIONS:
        raise ValidationFailed(
            _("A file can have at most %(most)s versions. Upload it as a new file.") % {"most": f"{MAX_VERSIONS:,}"}
        )


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
    logger.info("version_restored file=%s version=%s by=%s", target.link, target.pk, by.pk)
    return target
