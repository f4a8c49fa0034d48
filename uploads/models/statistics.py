"""Counters of files and bytes: triggers record every change, and `apply_deltas` adds the changes to the counters."""

from __future__ import annotations

import itertools

from django.db import connection, models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

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


class Kind(models.TextChoices):
    TOTAL = "total", _("total")
    OWNER = "owner", _("by owner")  # key: the user's id
    FOLDER = "folder", _("by folder")  # key: the folder's id, 0 for none
    TEAM_FOLDER = "team", _("by folder, files of the team")  # without private files and those in quarantine
    CATEGORY = "category", _("by type")
    DAY = "day", _("by day")  # key: the day it was added, 2026-11-23, by UTC
    TAG = "tag", _("by tag")  # key: the tag's id


class Status(models.TextChoices):
    STORED = "stored", _("in the library")
    VERSION = "version", _("previous versions")
    TRASHED = "trashed", _("in the trash")
    UNFINISHED = "unfinished", _("unfinished")


class Statistic(models.Model):
    """Files and bytes of one kind, key and status, as of the last `apply_deltas`."""

    pk = models.CompositePrimaryKey("kind", "key", "status")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    key = models.CharField(max_length=20)
    status = models.CharField(max_length=10, choices=Status.choices)
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
