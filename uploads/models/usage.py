"""What each user has reserved: reservations lock this row."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _


class UsageQuerySet(models.QuerySet["Usage"]):
    def locked(self, owner_id: Any) -> Usage:
        """Return the owner's row, locked until the transaction ends. Lock it before any file row, so that
        reservations and releases cannot deadlock."""
        Usage.objects.bulk_create([Usage(owner_id=owner_id)], ignore_conflicts=True)
        return self.select_for_update(no_key=True).get(owner_id=owner_id)

    def lock_for_batch(self, owner_id: Any, *, wait: bool) -> bool:
        """Lock like `locked`. Unless `wait`, return False at once if another transaction holds the lock."""
        if wait:
            return bool(self.locked(owner_id))
        Usage.objects.bulk_create([Usage(owner_id=owner_id)], ignore_conflicts=True)
        return self.select_for_update(no_key=True, skip_locked=True).filter(owner_id=owner_id).first() is not None


class Usage(models.Model):
    """Bytes and files of one user, stored or reserved, including the trash, and the folders and tags that they created.

    Triggers count the folders and tags. The quotas are set for this person; null is the site's setting.
    """

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="usage",
        verbose_name=_("owner"),
    )
    bytes = models.BigIntegerField(_("bytes"), default=0)
    files = models.BigIntegerField(_("files"), default=0)
    folders = models.BigIntegerField(_("folders"), default=0, db_default=0)
    tags = models.BigIntegerField(_("tags"), default=0, db_default=0)
    quota_bytes = models.BigIntegerField(_("storage limit"), null=True, blank=True)
    quota_files = models.BigIntegerField(_("file limit"), null=True, blank=True)

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage")
        permissions = [("manage_people", "Can manage people")]
        constraints = [
            models.CheckConstraint(condition=Q(bytes__gte=0, files__gte=0), name="usage_not_negative"),
            models.CheckConstraint(condition=Q(folders__gte=0, tags__gte=0), name="usage_counts_not_negative"),
            models.CheckConstraint(
                condition=Q(quota_bytes__isnull=True) | Q(quota_bytes__gte=0), name="usage_quota_bytes_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(quota_files__isnull=True) | Q(quota_files__gte=0), name="usage_quota_files_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.files} files, {self.bytes} bytes"

    @property
    def max_bytes(self) -> int:
        """The most bytes that this person may store."""
        return settings.UPLOAD_QUOTA_BYTES if self.quota_bytes is None else self.quota_bytes

    @property
    def max_files(self) -> int:
        """The most files that this person may store."""
        return settings.UPLOAD_QUOTA_FILES if self.quota_files is None else self.quota_files

    def has_room(self, size: int, *, files: int = 1) -> bool:
        """Whether `files` more files of `size` bytes in total fit the quota."""
        return self.bytes + size <= self.max_bytes and self.files + files <= self.max_files

    def change(self, *, files: int, bytes: int) -> None:
        """Add to the counters; negative numbers release space. The caller holds the lock."""
        Usage.objects.filter(pk=self.pk).update(files=F("files") + files, bytes=F("bytes") + bytes)
        self.files += files
        self.bytes += bytes
