"""Create notifications (shares, quotas, expiring links, a stopped sweep), mail them from the worker, and delete old
ones.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.db.models import BigIntegerField, CharField, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Coalesce, Now
from django.urls import reverse
from django.utils import timezone, translation
from django_tasks import task

from uploads.models import (
    File,
    FileRequest,
    Heartbeat,
    Notification,
    NotificationKind,
    NotificationPreference,
    Preference,
    ShareLink,
    Usage,
)
from uploads.models.querysets import database_now
from uploads.services import mail
from uploads.services.mail import MAIL_LOST_AFTER_SECONDS
from uploads.services.notifications.texts import describe
from uploads.services.task_queue import tidy
from uploads.site_url import absolute_url

logger = logging.getLogger(__name__)

ADMINISTRATORS = "administrators"  # the group of the role
RETENTION = timedelta(days=90)
DELETE_BATCH_SIZE = 1_000
# Of one kind. A bucket full of corrupted files must not fill the list, and the mailbox, with thousands.
MAX_UNSEEN = 100
MAX_MAILS_A_DAY = 20
MAX_MANAGERS = 50


def notify(user: User, kind: NotificationKind, *, key: str, **data: Any) -> bool:
    """Notify a user once of what `key` names, in the caller's transaction. Return whether it was the first time.

    `data` must be JSON. It has ids instead of names: `file` is a permanent id, `folder` an id (see `describe`). Safe to
    repeat. Inactive users, and those who have turned this kind off, are not notified.
    """
    if not user.is_active:
        return False
    preference = NotificationPreference.objects.of(user, kind)
    if not preference.in_app and not preference.mail:
        return False
    own = Notification.objects.filter(user=user, kind=kind)
    if own.unseen()[:MAX_UNSEEN].count() >= MAX_UNSEEN:
        return False
    notification, created = Notification.objects.get_or_create(
        user=user, kind=kind, key=key, defaults={"data": data, "in_app": preference.in_app}
    )
    if created and preference.mail and user.email and mail.is_configured():
        mail_notification.enqueue(notification.pk)
    return created


def notify_about_file(file: File, kind: NotificationKind, *, key: str, **data: Any) -> None:
    """Notify the owner of a file, and the managers who can change it."""
    managers = User.objects.with_perm("uploads.change_file").exclude(pk=file.owner_id).order_by("pk")[:MAX_MANAGERS]
    for user in [file.owner, *managers]:
        if user.pk == file.owner_id or File.objects.changeable_by(user).filter(pk=file.pk).exists():
            notify(user, kind, key=key, file=str(file.link), **data)


def operators() -> QuerySet[User]:
    """Return the active administrators and superusers."""
    role = Q(is_superuser=True) | Q(groups__name=ADMINISTRATORS)
    return User.objects.filter(role, is_active=True).distinct().order_by("pk")


def notify_operators(kind: NotificationKind, *, key: str, **data: Any) -> None:
    for user in operators():
        notify(user, kind, key=key, **data)


@task()
def mail_notification(pk: int) -> bool:
    """Give the mail about a notification to the queue of mails, once. Returns whether it did.

    What the user wants and may see is looked up now.
    """
    with transaction.atomic():
        rows = Notification.objects.filter(pk=pk, mailed_at__isnull=True, user__is_active=True)
        notification = rows.select_related("user").select_for_update(of=("self",)).first()
        if notification is None or not _wants_mail(notification):
            return False
        user = notification.user
        language = Preference.objects.language_of(user)
        with translation.override(language), timezone.override(Preference.objects.time_zone_of(user)):
            (message,) = describe([notification], user)
            context = {
                "title": message.title,
                "text": message.text,
                "url": absolute_url(message.url or reverse("notifications")),
                "settings_url": absolute_url(reverse("notification_settings")),
            }
        mail.enqueue("notification", to=user.email, language=language, context=context)
        Notification.objects.filter(pk=pk).update(mailed_at=Now())
    return True


def _wants_mail(notification: Notification) -> bool:
    user, kind = notification.user, notification.kind
    if not user.email or not NotificationPreference.objects.of(user, kind).mail:
        return False
    recent = Notification.objects.filter(user=user, kind=kind, mailed_at__gt=timezone.now() - timedelta(days=1))
    return recent[:MAX_MAILS_A_DAY].count() < MAX_MAILS_A_DAY


def delete_old_notifications() -> int:
    """Requeue the tasks of killed workers, and delete notifications after RETENTION. Returns how many.

    Safe to repeat; cheap when there is nothing to do, since ids ascend with time.
    """
    tidy(mail_notification, lost_after_seconds=MAIL_LOST_AFTER_SECONDS)
    cutoff = timezone.now() - RETENTION
    deleted = 0
    while True:
        oldest = Notification.objects.order_by("pk").values_list("pk", "created_at")[:DELETE_BATCH_SIZE]
        ids = [pk for pk, created_at in oldest if created_at < cutoff]
        if not ids:
            return deleted
        deleted += Notification.objects.filter(pk__in=ids).delete()[0]


# --- what people are notified of -------------------------------------------------------------------


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
