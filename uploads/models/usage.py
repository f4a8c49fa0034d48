"""Storage usage: what each user has reserved, and the counters of all files and bytes."""

from __future__ import annotations

import itertools
from typing import Any

from django.conf import settings
from django.db import connection, models, transaction
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


# --- counters of files and bytes -----------------------------------------------------------------

MAX_DELTAS = 20_000

APPLY_DELTAS_SQL = """
WITH deltas AS (
    DELETE FROM uploads_statisticdelta WHERE id IN (
        SELECT id FROM uploads_statisticdelta ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING kind, key, status, files, bytes
), sums AS (
    SELECT kind, key, status, sum(files) AS files, sum(bytes) AS bytes FROM deltas GROUP BY kind, key, status
), updated AS (
    INSERT INTO uploads_statistic AS statistic (kind, key, status, files, bytes)
    SELECT kind, key, status, files, bytes FROM sums ORDER BY kind, key, status
    ON CONFLICT (kind, key, status) DO UPDATE
    SET files = statistic.files + excluded.files, bytes = statistic.bytes + excluded.bytes
)
SELECT count(*) FROM deltas
"""


class StatisticKind(models.TextChoices):
    TOTAL = "total", _("total")
    OWNER = "owner", _("by owner")  # key: the user's id
    FOLDER = "folder", _("by folder")  # key: the folder's id, 0 for none
    TEAM_FOLDER = "team", _("by folder, files of the team")  # without private files and those in quarantine
    CATEGORY = "category", _("by type")
    DAY = "day", _("by day")  # key: the day it was added, 2026-11-23, by UTC
    TAG = "tag", _("by tag")  # key: the tag's id


class StatisticStatus(models.TextChoices):
    STORED = "stored", _("in the library")
    VERSION = "version", _("previous versions")
    TRASHED = "trashed", _("in the trash")
    UNFINISHED = "unfinished", _("unfinished")


class Statistic(models.Model):
    """Files and bytes of one kind, key and status, as of the last `apply_deltas`."""

    pk = models.CompositePrimaryKey("kind", "key", "status")
    kind = models.CharField(max_length=8, choices=StatisticKind.choices)
    key = models.CharField(max_length=20)
    status = models.CharField(max_length=10, choices=StatisticStatus.choices)
    files = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta:
        default_permissions = ("view",)
        verbose_name = _("statistic")
        verbose_name_plural = _("statistics")
        indexes = [
            models.Index(fields=["kind", "status", "-bytes"], condition=~Q(kind="day"), name="statistic_largest")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key} {self.status}: {self.files} files, {self.bytes} bytes"


class StatisticDelta(models.Model):
    """The change of one statement to a counter: written by triggers, deleted by `apply_deltas`."""

    kind = models.CharField(max_length=8)
    key = models.CharField(max_length=20)
    status = models.CharField(max_length=10)
    files = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.key} {self.status}: {self.files:+} files, {self.bytes:+} bytes"


def apply_deltas(*, batches: int | None = None) -> int:
    """Add the recorded changes to the counters, all of them or at most `batches` batches. Return how many were added.

    Safe to repeat, and to run concurrently.
    """
    applied = 0
    for _batch in itertools.count() if batches is None else range(batches):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(APPLY_DELTAS_SQL, [MAX_DELTAS])
            count = int(cursor.fetchone()[0])
        applied += count
        if count < MAX_DELTAS:
            break
    return applied
