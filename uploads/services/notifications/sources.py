"""Conditions that are looked for: a quota that is almost used up, and a sweep that is not running."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import BigIntegerField, Q, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from uploads.models import Heartbeat, NotificationKind, Usage
from uploads.models.querysets import database_now
from uploads.services.notifications.delivery import notify, notify_operators

logger = logging.getLogger(__name__)

RESERVE = 10  # a person is warned when no more than this part of the quota, a tenth, is left
SWEEP_LATE = timedelta(minutes=10)  # as in doctor and in the alert


def warn_of_quota(owner_ids: Collection[int]) -> None:
    """Notify those of these users who have used 90 % of a quota, once a month. Safe to repeat.

    A database error is only logged, so that it does not fail the upload.
    """
    max_bytes = Coalesce("quota_bytes", Value(settings.UPLOAD_QUOTA_BYTES), output_field=BigIntegerField())
    max_files = Coalesce("quota_files", Value(settings.UPLOAD_QUOTA_FILES), output_field=BigIntegerField())
    # divided, because a product could exceed 64 bits
    is_low = Q(bytes__gte=max_bytes - max_bytes / RESERVE) | Q(files__gte=max_files - max_files / RESERVE)
    try:
        with transaction.atomic():
            for usage in Usage.objects.filter(is_low, owner_id__in=owner_ids).select_related("owner"):
                notify(usage.owner, NotificationKind.QUOTA_LOW, key=f"{timezone.now():%Y-%m}", percent=_percent(usage))
    except DatabaseError as error:
        logger.warning("notification_not_saved kind=quota_low error=%s", type(error).__name__)


def _percent(usage: Usage) -> int:
    shares = [(usage.bytes, usage.max_bytes), (usage.files, usage.max_files)]
    return min(100, max(100 * used // limit if limit else 100 for used, limit in shares))


def warn_of_sweep() -> None:
    """Notify operators if no sweep has run for SWEEP_LATE, once for each outage. Safe to repeat."""
    last = Heartbeat.objects.last_of("sweep")
    if last is not None and database_now() - last < SWEEP_LATE:
        return
    since = last.isoformat() if last else ""
    with transaction.atomic():
        notify_operators(NotificationKind.SWEEP_OVERDUE, key=since or "never", since=since)
