"""Notifications of people, what each person wants to be notified of, and the mails that wait to be sent."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class NotificationKind(models.TextChoices):
    FILE_REQUEST_USED = "file_request_used", _("Files were sent to your file request")
    LINK_EXPIRING = "link_expiring", _("A share link is about to expire")
    FILE_CORRUPTED = "file_corrupted", _("A file is corrupted")
    FILE_INFECTED = "file_infected", _("Malware was found in a file")
    QUOTA_LOW = "quota_low", _("Your storage is almost full")
    INVITED = "invited", _("You were added to a team")
    DRIFT_FOUND = "drift", _("Storage and database differ")
    SWEEP_OVERDUE = "sweep_overdue", _("The sweep is not running")
    SCANNER_UNAVAILABLE = "scanner_unavailable", _("The malware scanner is unavailable")


# Of interest for administrators only.
OPERATOR_KINDS = (
    NotificationKind.DRIFT_FOUND,
    NotificationKind.SWEEP_OVERDUE,
    NotificationKind.SCANNER_UNAVAILABLE,
)


class NotificationQuerySet(models.QuerySet["Notification"]):
    def shown_to(self, user: User) -> NotificationQuerySet:
        """Return the user's own notifications that they want to see in the application, newest first."""
        return self.filter(user=user, in_app=True).order_by("-pk")

    def unseen(self) -> NotificationQuerySet:
        return self.filter(read_at__isnull=True)

    def mark_read(self) -> int:
        return self.unseen().update(read_at=Now())


class Notification(models.Model):
    """What one person is notified of, once. `data` has ids, whose names are looked up when it is shown."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=20)
    key = models.CharField(max_length=100)  # of what it is about: one notification for each
    data = models.JSONField(default=dict)
    in_app = models.BooleanField(default=True, db_default=True)  # as the person wanted it at the time
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    read_at = models.DateTimeField(null=True, editable=False)
    mailed_at = models.DateTimeField(null=True, editable=False)  # given to the queue of mails

    objects = NotificationQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user", "kind", "key"], name="notification_once"),
            models.CheckConstraint(condition=Q(kind__in=NotificationKind.values), name="notification_kind_valid"),
        ]
        indexes = [
            models.Index(fields=["user", "-id"], name="notification_by_user"),
            models.Index(fields=["user"], condition=Q(in_app=True, read_at__isnull=True), name="notification_unseen"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class NotificationPreferenceQuerySet(models.QuerySet["NotificationPreference"]):
    def of(self, user: User, kind: str) -> NotificationPreference:
        """Return the user's preference; without one, everything is on."""
        return self.filter(user=user, kind=kind).first() or NotificationPreference(user=user, kind=kind)

    def set(self, user: User, values: dict[str, tuple[bool, bool]]) -> None:
        """Save whether each kind appears in the application and is mailed."""
        rows = [
            NotificationPreference(user=user, kind=kind, in_app=in_app, mail=mail)
            for kind, (in_app, mail) in values.items()
        ]
        self.bulk_create(rows, update_conflicts=True, unique_fields=["user", "kind"], update_fields=["in_app", "mail"])


class NotificationPreference(models.Model):
    """Where a person wants to see notifications of one kind."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="notification_preferences")
    kind = models.CharField(max_length=20)
    in_app = models.BooleanField(default=True)
    mail = models.BooleanField(default=True)

    objects = NotificationPreferenceQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user", "kind"], name="notification_preference_once")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.kind}"

    @property
    def label(self) -> str:
        return str(NotificationKind(self.kind).label)


class MailState(models.TextChoices):
    WAITING = "waiting"
    SENDING = "sending"  # all but the last line is sent
    SENT = "sent"
    REFUSED = "refused"  # by the mail server, for good
    ABANDONED = "abandoned"  # after too many tries
    UNKNOWN = "unknown"  # sent completely, but there was no answer


class OutgoingMail(models.Model):
    """A mail to one person. Address and content are encrypted, and deleted as soon as the mail has ended."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    template = models.CharField(max_length=50)
    language = models.CharField(max_length=10)
    payload = models.TextField(blank=True)
    state = models.CharField(max_length=9, choices=MailState.choices, default=MailState.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    # status codes of the last answer, such as "550 5.1.1"; never its text, which can contain the address
    response = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    changed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(state__in=MailState.values), name="mail_state_valid")]
        indexes = [models.Index(fields=["state", "changed_at"], name="mail_by_state")]

    def __str__(self) -> str:
        return f"{self.template} {self.pk}"
