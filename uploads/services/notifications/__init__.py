"""Notifications: `notify` in a transaction, once for each person, kind and key. They are shown, and mailed."""

from uploads.models import NotificationKind
from uploads.services.notifications.delivery import (
    delete_old_notifications,
    mail_notification,
    notify,
    notify_about_file,
    notify_operators,
    operators,
    report_guest_files,
    warn_of_expiring_links,
    warn_of_quota,
    warn_of_sweep,
)
from uploads.services.notifications.texts import Message, describe

__all__ = [
    "Message",
    "NotificationKind",
    "delete_old_notifications",
    "describe",
    "mail_notification",
    "notify",
    "notify_about_file",
    "notify_operators",
    "operators",
    "report_guest_files",
    "warn_of_expiring_links",
    "warn_of_quota",
    "warn_of_sweep",
]
