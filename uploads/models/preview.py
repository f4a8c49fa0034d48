"""Previews: pictures and text excerpts of files, stored as objects. Each row is written before its object."""

from __future__ import annotations

import secrets

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from uploads.keys import PREVIEW_KEY_PATTERN, PREVIEW_PREFIX
from uploads.models.file import File, main_store


def new_preview_key() -> str:
    """Return a random object key for one preview. It is never reused."""
    return f"{PREVIEW_PREFIX}{secrets.token_hex(16)}"


class PreviewKind(models.TextChoices):
    THUMBNAIL = "thumbnail", _("thumbnail")  # WebP, for lists
    PICTURE = "picture", _("picture")  # WebP, for the file's page
    EXCERPT = "excerpt", _("excerpt")  # UTF-8, the beginning of a text
    PAGE = "page", _("page")  # WebP, of the pages of a document after the first, which is the picture


class PreviewState(models.TextChoices):
    PENDING = "pending", _("pending")  # an object may appear at the key until lease_until
    READY = "ready", _("ready")
    FAILED = "failed", _("failed")


class Preview(models.Model):
    """One preview of one file, or of one page of a document. Its row is deleted only after its object."""

    file = models.ForeignKey(File, models.PROTECT, related_name="previews")
    kind = models.CharField(max_length=9, choices=PreviewKind.choices)
    page = models.SmallIntegerField(default=1, db_default=1)
    state = models.CharField(max_length=7, choices=PreviewState.choices, default=PreviewState.PENDING)
    key = models.CharField(max_length=34, unique=True, default=new_preview_key, editable=False, db_collation="C")
    store = models.CharField(max_length=40, blank=True, default=main_store, db_default="", editable=False)
    size = models.BigIntegerField(default=0)
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    # Of the document, in the row of its picture. None for other files, and before the pages were counted.
    page_count = models.IntegerField(null=True)
    reason = models.CharField(max_length=255, blank=True, default="")
    lease_until = models.DateTimeField()
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("preview")
        verbose_name_plural = _("previews")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["file", "kind", "page"], name="preview_page_unique"),
            models.CheckConstraint(condition=Q(key__regex=PREVIEW_KEY_PATTERN), name="preview_key_valid"),
            models.CheckConstraint(condition=Q(state__in=PreviewState.values), name="preview_state_valid"),
            models.CheckConstraint(condition=Q(kind__in=PreviewKind.values), name="preview_kind_valid"),
        ]
        indexes = [
            models.Index(fields=["lease_until"], condition=Q(state=PreviewState.PENDING), name="preview_by_lease"),
            models.Index(fields=["updated_at"], condition=Q(state=PreviewState.FAILED), name="preview_failed_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.page} of {self.file_id}"
