"""Totals that nobody has to count: triggers note every change, `fold` adds the notes to the kept figures."""

from __future__ import annotations

import itertools

from django.db import connection, models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

MAX_DELTAS = 20_000

FOLD = """
WITH noted AS (
    DELETE FROM uploads_change WHERE id IN (
        SELECT id FROM uploads_change ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    ) RETURNING kind, key, status, files, bytes
), sums AS (
    SELECT kind, key, status, sum(files) AS files, sum(bytes) AS bytes FROM noted GROUP BY kind, key, status
), kept AS (
    INSERT INTO uploads_figure AS figure (kind, key, status, files, bytes)
    SELECT kind, key, status, files, bytes FROM sums ORDER BY kind, key, status
    ON CONFLICT (kind, key, status) DO UPDATE
    SET files = figure.files + excluded.files, bytes = figure.bytes + excluded.bytes
)
SELECT count(*) FROM noted
"""


class Kind(models.TextChoices):
    TOTAL = "total", _("in total")
    OWNER = "owner", _("by owner")  # key: the person's id
    FOLDER = "folder", _("by folder")  # key: the folder's id, 0 for none
    FAMILY = "family", _("by type")
    DAY = "day", _("by day")  # key: the day it was added, 2026-11-23, by UTC
    TAG = "tag", _("by tag")  # key: the tag's id


class Status(models.TextChoices):
    STORED = "stored", _("in the library")
    VERSION = "version", _("older versions")
    TRASHED = "trashed", _("in the trash")
    UNFINISHED = "unfinished", _("unfinished")


class Figure(models.Model):
    """Files and bytes of one kind, key and status, as of the last fold."""

    pk = models.CompositePrimaryKey("kind", "key", "status")
    kind = models.CharField(max_length=6, choices=Kind.choices)
    key = models.CharField(max_length=20)
    status = models.CharField(max_length=10, choices=Status.choices)
    files = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta:
        default_permissions = ("view",)
        verbose_name = _("figure")
        verbose_name_plural = _("figures")
        indexes = [models.Index(fields=["kind", "status", "-bytes"], condition=~Q(kind="day"), name="figure_largest")]

    def __str__(self) -> str:
        return f"{self.kind} {self.key} {self.status}: {self.files} files, {self.bytes} bytes"


class Change(models.Model):
    """What one statement did to a figure; written by triggers, gone once it is folded."""

    kind = models.CharField(max_length=6)
    key = models.CharField(max_length=20)
    status = models.CharField(max_length=10)
    files = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.key} {self.status}: {self.files:+} files, {self.bytes:+} bytes"


def apply_deltas(*, batches: int | None = None) -> int:
    """Add what was noted to the figures, all of it or so many batches; how many notes. Safe to run anywhere, any
    number at once."""
    folded = 0
    for _batch in itertools.count() if batches is None else range(batches):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(FOLD, [MAX_DELTAS])
            count = int(cursor.fetchone()[0])
        folded += count
        if count < MAX_DELTAS:
            break
    return folded
