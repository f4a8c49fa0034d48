"""Mails that wait to be sent by the worker, and how the last ones ended."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


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
