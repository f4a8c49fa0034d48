"""What a notification says, with only those names that its user may see at this moment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format, number_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from uploads.models import ChecksumStatus, File, Folder, Notification, NotificationKind, State


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
        links = {UUID(item["file"]) for item in data if item.get("file")}
        ids = {item["folder"] for item in data if item.get("folder")}
        files = File.objects.visible_to(user).by_links(links) if links else []
        folders = Folder.objects.visible_to(user).filter(pk__in=ids) if ids else []
        self._targets = {str(file.link): (file.name, _file_url(file)) for file in files}
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
    return reverse("file", args=[file.link]) if file.state == State.AVAILABLE else reverse("trash")


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
