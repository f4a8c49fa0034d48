"""What people are notified of: quotas that are almost used up, used file requests, expiring links, a stopped sweep."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import BigIntegerField, CharField, Exists, F, OuterRef, Q, Value
from django.db.models.functions import Cast, Coalesce, Now
from django.utils import timezone

from uploads.models import FileRequest, Heartbeat, Notification, NotificationKind, ShareLink, Usage
from uploads.models.querysets import database_now
from uploads.services.notifications.delivery import notify, notify_operators

logger = logging.getLogger(__name__)

RESERVE = 10  # a person is warned when no more than this part of the quota, a tenth, is left
LINK_EXPIRING = timedelta(days=2)
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


def report_guest_files(session_ids: Iterable[UUID | None]) -> None:
    """Notify the creators of the file requests of these guests, once an hour for each request. Safe to repeat.

    None stands for files that no guest sent. A database error is only logged, so that it does not fail the upload.
    """
    ids = {pk for pk in session_ids if pk}
    if not ids:
        return
    try:
        with transaction.atomic():
            requests = FileRequest.objects.filter(sessions__in=ids).select_related("created_by").distinct()
            for request in requests:
                key = f"{request.pk} {timezone.now():%Y-%m-%dT%H}"
                notify(request.created_by, NotificationKind.FILE_REQUEST_USED, key=key, title=request.title)
    except DatabaseError as error:
        logger.warning("notification_not_saved kind=file_request_used error=%s", type(error).__name__)


def warn_of_expiring_links() -> int:
    """Notify the creators of share links that expire within LINK_EXPIRING, once for each link. Return how many.

    Links that were created for a shorter time are left out. Safe to repeat.
    """
    existing = Notification.objects.filter(
        kind=NotificationKind.LINK_EXPIRING, user=OuterRef("created_by"), key=Cast(OuterRef("pk"), CharField())
    )
    links = (
        ShareLink.objects.all()
        .active()
        .filter(
            ~Exists(existing), expires_at__lte=Now() + LINK_EXPIRING, expires_at__gt=F("created_at") + LINK_EXPIRING
        )
    )
    count = 0
    for link in links.select_related("created_by").order_by("expires_at"):
        data: dict[str, Any] = {"name": link.name}  # of a selection
        if link.file or link.folder_id:
            data = {"file": str(link.file)} if link.file else {"folder": link.folder_id}
        expires_at = link.expires_at.isoformat() if link.expires_at else ""
        with transaction.atomic():
            count += notify(
                link.created_by, NotificationKind.LINK_EXPIRING, key=str(link.pk), expires_at=expires_at, **data
            )
    return count


def warn_of_sweep() -> None:
    """Notify operators if no sweep has run for SWEEP_LATE, once for each outage. Safe to repeat."""
    last = Heartbeat.objects.last_of("sweep")
    if last is not None and database_now() - last < SWEEP_LATE:
        return
    since = last.isoformat() if last else ""
    with transaction.atomic():
        notify_operators(NotificationKind.SWEEP_OVERDUE, key=since or "never", since=since)
