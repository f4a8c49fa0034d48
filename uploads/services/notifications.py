"""Notifications: `notify` in a transaction, once for each person, kind and key. They are shown, and mailed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass
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
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format, number_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_tasks import task

from uploads.models import (
    ChecksumStatus,
    File,
    FileRequest,
    Folder,
    Heartbeat,
    Notification,
    NotificationKind,
    NotificationPreference,
    Preference,
    ShareLink,
    State,
    Usage,
)
from uploads.models.links import absolute_url
from uploads.models.querysets import database_now
from uploads.services import mail
from uploads.services.mail import MAIL_LOST_AFTER_SECONDS
from uploads.services.task_queue import requeue_lost

logger = logging.getLogger(__name__)

ADMINISTRATORS = "administrators"  # the group of the role
RETENTION = timedelta(days=90)
DELETE_BATCH_SIZE = 1_000
# Of one kind. A bucket full of corrupted files must not fill the list, and the mailbox, with thousands.
MAX_UNSEEN = 100
MAX_MAILS_A_DAY = 20
MAX_MANAGERS = 50
RESERVE = 10  # a person is warned when no more than this part of the quota, a tenth, is left
LINK_EXPIRING = timedelta(days=2)
SWEEP_LATE = timedelta(minutes=10)  # as in doctor and in the alert


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
    for user in [file.owner, *managers_of(file, "uploads.change_file")]:
        if user.pk == file.owner_id or File.objects.changeable_by(user).filter(pk=file.pk).exists():
            notify(user, kind, key=key, file=str(file.permanent_id), **data)


def managers_of(file: File, permission: str) -> QuerySet[User]:
    """Return the people to notify, besides the owner, about something that requires this permission."""
    return User.objects.with_perm(permission).exclude(pk=file.owner_id).order_by("pk")[:MAX_MANAGERS]


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
    requeue_lost(mail_notification, lost_after_seconds=MAIL_LOST_AFTER_SECONDS)
    cutoff = timezone.now() - RETENTION
    deleted = 0
    while True:
        oldest = Notification.objects.order_by("pk").values_list("pk", "created_at")[:DELETE_BATCH_SIZE]
        ids = [pk for pk, created_at in oldest if created_at < cutoff]
        if not ids:
            return deleted
        deleted += Notification.objects.filter(pk__in=ids).delete()[0]


# --- what people are notified of -------------------------------------------------------------------


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


# --- what a notification says, with only those names that its user may see at this moment ----------


@dataclass(frozen=True, slots=True)
class Message:
    """One notification in the current language. `url` is the path of the page that it is about, or empty."""

    notification: Notification
    title: str
    text: str
    url: str


class _Names:
    """Names and addresses of the files and folders that some notifications are about, in two queries."""

    def __init__(self, notifications: Iterable[Notification], user: User) -> None:
        data = [notification.data for notification in notifications]
        file_ids = {UUID(item["file"]) for item in data if item.get("file")}
        ids = {item["folder"] for item in data if item.get("folder")}
        files = File.objects.visible_to(user).by_permanent_ids(file_ids) if file_ids else []
        folders = Folder.objects.visible_to(user).filter(pk__in=ids) if ids else []
        self._targets = {str(file.permanent_id): (file.name, _file_url(file)) for file in files}
        self._targets |= {str(folder.pk): (folder.name, folder.get_absolute_url()) for folder in folders}

    def target(self, notification: Notification) -> tuple[str, str]:
        """Return the name and the path of the file or folder; two empty texts if its user may not see it."""
        data = notification.data
        return self._targets.get(str(data.get("file") or data.get("folder") or ""), ("", ""))


def describe(notifications: Iterable[Notification], user: User) -> list[Message]:
    """Return what these notifications of `user` say, in the current language.

    `data` of each kind: `file` or `folder` (see `notify`); LINK_EXPIRING `expires_at`, and `name` of a selection;
    FILE_CORRUPTED `status`; QUOTA_LOW `percent`; FILE_REQUEST_USED `title`; INVITED `team`; DRIFT_FOUND
    `report` and `count`; SWEEP_OVERDUE `since`. Each but the file or folder can be missing.
    """
    rows = list(notifications)
    names = _Names(rows, user)
    return [_message(row, *names.target(row)) for row in rows]


def _file_url(file: File) -> str:
    return reverse("file", args=[file.permanent_id]) if file.state == State.AVAILABLE else reverse("trash")


def _message(notification: Notification, name: str, url: str) -> Message:
    kind = NotificationKind(notification.kind)
    text, own_url = _text(notification, kind, name)
    return Message(notification, str(kind.label), text, own_url or url)


def _text(notification: Notification, kind: NotificationKind, name: str) -> tuple[str, str]:
    data = notification.data
    if kind == NotificationKind.FILE_REQUEST_USED:
        return _("Files were sent to “%(title)s”.") % {"title": data.get("title", "")}, reverse("file_requests")
    if kind == NotificationKind.LINK_EXPIRING:
        return _expiring(name or str(data.get("name", "")), _date(data.get("expires_at"))), reverse("links")
    if data.get("review"):
        return _("Malware was found in an upload. It is in quarantine."), reverse("quarantine")
    if kind in {NotificationKind.FILE_CORRUPTED, NotificationKind.FILE_INFECTED}:
        return _about_file(kind, name, is_missing=data.get("status") == ChecksumStatus.MISSING), ""
    if kind == NotificationKind.QUOTA_LOW:
        text = _("You have used %(percent)s %% of your storage. Delete files permanently to free space.")
        return text % {"percent": number_format(data.get("percent", 90))}, reverse("trash")
    if kind == NotificationKind.INVITED:
        return _("You were added to the team “%(team)s”.") % {"team": data.get("team", "")}, reverse("library")
    return _for_operators(notification, kind)


def _about_file(kind: NotificationKind, name: str, *, is_missing: bool) -> str:
    if kind == NotificationKind.FILE_INFECTED:
        if not name:
            return _("Malware was found in a file that you can no longer see.")
        return _("Malware was found in “%(name)s”. It can't be downloaded.") % {"name": name}
    if not name:
        return _("A file that you can no longer see is corrupted.")
    if is_missing:
        return _("The content of “%(name)s” is missing from storage.") % {"name": name}
    return _("“%(name)s” is corrupted: its content has changed in storage.") % {"name": name}


def _expiring(name: str, expires: str) -> str:
    if not name:
        return _("Your share link expires on %(date)s.") % {"date": expires}
    return _("Your share link to “%(name)s” expires on %(date)s.") % {"name": name, "date": expires}


def _for_operators(notification: Notification, kind: NotificationKind) -> tuple[str, str]:
    data = notification.data
    if kind == NotificationKind.DRIFT_FOUND:
        count = data.get("count", 1)
        text = ngettext(
            "fsck found %(count)s difference between storage and database.",
            "fsck found %(count)s differences between storage and database.",
            count,
        )
        url = reverse("admin:uploads_report_change", args=[data["report"]]) if data.get("report") else ""
        return text % {"count": number_format(count)}, url
    if kind == NotificationKind.SWEEP_OVERDUE:
        since = _date(data.get("since"))
        if not since:
            return _("The sweep has never run. Nothing expires until it does."), ""
        return _("The sweep has not run since %(date)s. Nothing expires until it does.") % {"date": since}, ""
    return _("The malware scanner is unavailable. Check its service and run manage.py doctor."), ""


def _date(text: object) -> str:
    """Return the date and time in the current language and time zone, which is named: mails are read anywhere."""
    parsed = parse_datetime(text) if isinstance(text, str) else None
    if parsed is None:
        return ""
    moment = localtime(parsed)
    return f"{date_format(moment, 'DATETIME_FORMAT')} {date_format(moment, 'T')}"
