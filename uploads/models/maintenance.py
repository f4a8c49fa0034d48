"""Reports of the operators' commands, their findings and their heartbeats."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

MAX_KEY_CHARACTERS = 1024  # S3: a key is at most 1,024 bytes of UTF-8


class RunOutcome(models.TextChoices):
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")  # in sync, or everything done
    DIFFERENCES = "differences", _("differences")
    REFUSED = "refused", _("refused")
    STOPPED = "stopped", _("stopped")  # before its end: `cursor` is where it stopped


class Report(models.Model):
    """One run of a command that compares, verifies or imports files."""

    id = models.BigAutoField(primary_key=True)
    command = models.CharField(_("command"), max_length=20)
    scope = models.CharField(_("scope"), max_length=MAX_KEY_CHARACTERS, blank=True)
    started_at = models.DateTimeField(_("started"), db_default=Now(), editable=False)
    ended_at = models.DateTimeField(_("ended"), null=True, editable=False)
    outcome = models.CharField(_("outcome"), max_length=11, choices=RunOutcome.choices, default=RunOutcome.RUNNING)
    cursor = models.CharField(max_length=MAX_KEY_CHARACTERS, blank=True, editable=False)
    summary = models.JSONField(_("statistics"), default=dict)

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        ordering = ["-id"]
        default_permissions = ("view",)
        constraints = [models.CheckConstraint(condition=Q(outcome__in=RunOutcome.values), name="report_outcome_valid")]
        indexes = [models.Index(fields=["command", "-id"], name="report_by_command")]

    def __str__(self) -> str:
        return f"{self.command} {self.pk}"

    def end(self, outcome: RunOutcome, **summary: Any) -> None:
        """Close the report and add `summary` to its statistics. Safe to repeat."""
        self.outcome = outcome
        self.summary |= summary
        Report.objects.filter(pk=self.pk).update(
            outcome=outcome, summary=self.summary, cursor=self.cursor, ended_at=Now()
        )


class FindingKind(models.TextChoices):
    """How bucket and database can differ."""

    MISSING = "missing", _("missing object")
    ORPHAN = "orphan", _("orphan")
    SIZE_MISMATCH = "size_mismatch", _("size mismatch")
    ETAG_MISMATCH = "etag_mismatch", _("ETag mismatch")
    STUCK = "stuck", _("stuck file")
    ORPHANED_MULTIPART = "orphaned_multipart", _("orphaned multipart upload")
    FOREIGN = "foreign", _("unrecognized key")
    CORRUPTED = "corrupted", _("corrupted")
    FAILED = "failed", _("check failed")


class Finding(models.Model):
    """One difference, confirmed by a second check. It holds copies, so it outlives the file and the object."""

    id = models.BigAutoField(primary_key=True)
    report = models.ForeignKey(Report, models.CASCADE, related_name="findings", verbose_name=_("report"))
    kind = models.CharField(_("kind"), max_length=18, choices=FindingKind.choices)
    key = models.CharField(_("key"), max_length=MAX_KEY_CHARACTERS, db_collation="C")
    file_id = models.UUIDField(_("file"), null=True)
    detail = models.JSONField(_("details"), default=dict)
    repaired_by = models.CharField(_("repaired by"), max_length=40, blank=True)

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        ordering = ["id"]
        default_permissions = ("view",)
        constraints = [models.CheckConstraint(condition=Q(kind__in=FindingKind.values), name="finding_kind_valid")]
        indexes = [models.Index(fields=["report", "kind", "id"], name="finding_by_report")]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def beat(self, name: str) -> None:
        """Record that this command is running now, by the database's clock."""
        self.bulk_create(
            [Heartbeat(name=name, at=Now())], update_conflicts=True, unique_fields=["name"], update_fields=["at"]
        )

    def last_of(self, name: str) -> datetime | None:
        return self.filter(name=name).values_list("at", flat=True).first()


class Heartbeat(models.Model):
    """When a command last did its work: `sweep`, `verify`, `worker`, `fsck`."""

    name = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name} {self.at}"


class InstallationQuerySet(models.QuerySet["Installation"]):
    def own_id(self) -> uuid.UUID:
        """Return the id of this database in its bucket's marker, created on the first call."""
        self.bulk_create([Installation(number=1)], ignore_conflicts=True)
        return self.get(number=1).id


class Installation(models.Model):
    """The one row that says which installation this database is. A restored database keeps it."""

    number = models.PositiveSmallIntegerField(primary_key=True)
    id = models.UUIDField(default=uuid.uuid4, editable=False)

    objects = InstallationQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(number=1), name="installation_singleton")]

    def __str__(self) -> str:
        return str(self.id)
