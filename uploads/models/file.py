"""A file: where its bytes are stored, what they are, which state it is in, and its tags."""

from __future__ import annotations

import secrets
import uuid

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from uploads import names, parts
from uploads.content_headers import stored_name
from uploads.keys import FILE_KEY_PATTERN, FILE_PREFIX
from uploads.models.fields import NaturalNameField, NormalizedNameField
from uploads.models.folder import Folder
from uploads.models.maintenance import MAX_KEY_CHARACTERS
from uploads.models.querysets import FileQuerySet
from uploads.models.states import (
    FAILED_CHECKSUMS,
    STORED,
    Category,
    ChecksumStatus,
    Origin,
    Refusal,
    ScanStatus,
    State,
    Visibility,
)

LISTED = Q(state=State.AVAILABLE, current=True)
MAX_SCAN_DETAIL_CHARACTERS = 200
MAX_TAG_CHARACTERS = 50


def main_store() -> str:
    """Return the name of the storage that new files go to."""
    return str(settings.S3_STORE_NAME)


def new_key() -> str:
    """Return a random object key for one row. It is never reused and contains nothing that a user typed."""
    return f"{FILE_PREFIX}{secrets.token_hex(16)}"


class File(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(
        _("key"), max_length=MAX_KEY_CHARACTERS, default=new_key, editable=False, db_collation="C"
    )  # fmt: skip
    store = models.CharField(_("storage"), max_length=40, blank=True, default=main_store, db_default="", editable=False)
    origin = models.CharField(
        _("origin"), max_length=8, choices=Origin.choices, default=Origin.UPLOADED,
        db_default=Origin.UPLOADED, editable=False,
    )  # fmt: skip
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="files",
        verbose_name=_("owner"),
        db_index=False,  # the indexes below that start with the owner serve these lookups
    )
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+", db_index=False,
        verbose_name=_("uploaded by"),  # null if the owner uploaded it
    )  # fmt: skip
    # the guest who sent it through a file request of the owner, or of an earlier owner
    guest_session = models.ForeignKey(
        "uploads.GuestSession", models.SET_NULL, null=True, editable=False, related_name="files", db_index=False,
        verbose_name=_("sent by a guest"),
    )  # fmt: skip
    token = models.UUIDField(default=uuid.uuid4, editable=False)

    name = models.CharField(_("name"), max_length=names.MAX_CHARACTERS)
    normalized_name = NormalizedNameField()
    natural_name = NaturalNameField()
    folder = models.ForeignKey(
        Folder, models.PROTECT, null=True, blank=True, related_name="files", verbose_name=_("folder"),
        db_index=False,  # as with the owner
    )  # fmt: skip
    series = models.UUIDField(null=True, editable=False)
    current = models.BooleanField(default=True, editable=False)
    visibility = models.CharField(_("visibility"), max_length=7, choices=Visibility.choices, default=Visibility.TEAM)
    declared_type = models.CharField(_("declared type"), max_length=255, blank=True, default="")
    detected_type = models.CharField(_("detected type"), max_length=255, blank=True, default="")
    # Normalized (uploads/content_headers.py). Only imported files have one; null until a HEAD request reads it,
    # since a listing does not include it.
    content_encoding = models.CharField(_("content encoding"), max_length=100, null=True, editable=False)  # noqa: DJ001
    category = models.CharField(
        _("type"), max_length=8, choices=Category.choices, default=Category.OTHER, editable=False
    )
    modified = models.DateTimeField(_("original modification time"), null=True, blank=True)

    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.UPLOADING, editable=False)
    size = models.BigIntegerField(_("size"), editable=False)
    part_size = models.BigIntegerField(editable=False)
    multipart_id = models.TextField(blank=True, default="", editable=False)
    etag = models.CharField(_("ETag"), max_length=80, blank=True, default="", editable=False)
    checksum = models.CharField(_("checksum"), max_length=60, blank=True, default="", editable=False)
    checksum_algorithm = models.CharField(max_length=10, default="sha256", editable=False)
    checksum_status = models.CharField(
        _("checksum status"), max_length=20, choices=ChecksumStatus.choices, default=ChecksumStatus.UNVERIFIED,
        editable=False,
    )  # fmt: skip
    # Empty if no refusal is known. An archived object that is restored for a while stays archived, and can be read.
    refusal = models.CharField(
        _("refused by storage"), max_length=9, choices=Refusal.choices, blank=True, default="",
        db_default="", editable=False,
    )  # fmt: skip

    # The malware check. A file in quarantine is hidden from all but its owner, and no one can download it: the
    # conditions are in `visible_to` and in services/downloads.py.
    scan_status = models.CharField(
        _("malware check"), max_length=8, choices=ScanStatus.choices, blank=True, default="", db_default="",
        editable=False,
    )  # fmt: skip
    scan_detail = models.CharField(
        _("result of the malware check"), max_length=MAX_SCAN_DETAIL_CHARACTERS, blank=True, default="", db_default="",
        editable=False,
    )  # fmt: skip
    scanned_at = models.DateTimeField(_("checked for malware"), null=True, editable=False)
    quarantined = models.BooleanField(_("in quarantine"), default=False, db_default=False, editable=False)
    released_at = models.DateTimeField(_("released from quarantine"), null=True, editable=False)

    created_at = models.DateTimeField(_("started"), db_default=Now(), editable=False)
    updated_at = models.DateTimeField(_("last changed"), db_default=Now(), editable=False)
    available_at = models.DateTimeField(_("added"), null=True, editable=False)
    verified_at = models.DateTimeField(_("last verified"), null=True, editable=False)
    expires_at = models.DateTimeField(_("upload expires"), null=True, editable=False)
    signed_until = models.DateTimeField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    purge_after = models.DateTimeField(_("purged after"), null=True, editable=False)
    # when a sweep may retry the row, and how often it has failed
    retry_at = models.DateTimeField(null=True, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)

    objects = FileQuerySet.as_manager()

    class Meta:
        verbose_name = _("file")
        verbose_name_plural = _("files")
        ordering = ["-created_at", "-id"]
        permissions = [("review_quarantine", "Can review the quarantine")]
        constraints = [
            # tokens are the senders': a guest cannot name an upload of the owner, or of another guest
            models.UniqueConstraint(
                fields=["owner", "token"], condition=Q(guest_session__isnull=True), name="file_token_unique"
            ),
            models.UniqueConstraint(
                fields=["guest_session", "token"], condition=Q(guest_session__isnull=False),
                name="file_guest_token_unique",
            ),
            models.UniqueConstraint(
                fields=["series"], condition=Q(current=True, series__isnull=False), name="file_current_version_unique"
            ),
            models.CheckConstraint(condition=Q(category__in=Category.values), name="file_category_valid"),
            models.CheckConstraint(
                condition=Q(current=True) | Q(series__isnull=False), name="file_version_has_series"
            ),
            models.UniqueConstraint(fields=["key", "store"], name="file_key_unique"),
            models.CheckConstraint(
                condition=Q(key__regex=FILE_KEY_PATTERN) | ~Q(origin=Origin.UPLOADED), name="file_key_valid"
            ),
            models.CheckConstraint(condition=Q(origin__in=Origin.values), name="file_origin_valid"),
            models.CheckConstraint(condition=Q(size__gte=0), name="file_size_not_negative"),
            models.CheckConstraint(condition=Q(part_size__gt=0), name="file_part_size_positive"),
            models.CheckConstraint(condition=~Q(name=""), name="file_name_not_empty"),
            models.CheckConstraint(
                condition=Q(state__in=State.values), name="file_state_valid"
            ),
            models.CheckConstraint(
                condition=Q(visibility__in=Visibility.values), name="file_visibility_valid"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=STORED)
                | (~Q(etag="") & ~Q(checksum_algorithm="") & Q(checksum_status__in=ChecksumStatus.values)
                   & Q(available_at__isnull=False) & (~Q(checksum="") | ~Q(origin=Origin.UPLOADED))),
                name="file_stored_has_metadata",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.UPLOADING) | Q(expires_at__isnull=False),
                name="file_uploading_has_expiry",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.COMPLETING)
                | (Q(lease_until__isnull=False) & ~Q(checksum="")),
                name="file_completing_has_lease",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.TRASHED) | Q(purge_after__isnull=False),
                name="file_trashed_has_purge_time",
            ),
            models.CheckConstraint(
                condition=Q(scan_status__in=["", *ScanStatus.values]), name="file_scan_status_valid"
            ),
            models.CheckConstraint(
                condition=Q(quarantined=False)
                | Q(scan_status__in=[ScanStatus.PENDING, ScanStatus.INFECTED, ScanStatus.FAILED]),
                name="file_quarantined_has_reason",
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["-available_at", "-id"], condition=LISTED, name="file_newest"),
            models.Index(fields=["natural_name", "id"], condition=LISTED, name="file_by_natural_name"),
            models.Index(fields=["size", "id"], condition=LISTED, name="file_by_size"),
            models.Index(fields=["owner", "-available_at", "-id"], condition=LISTED, name="file_newest_by_owner"),
            models.Index(fields=["folder", "-available_at", "-id"], condition=LISTED, name="file_newest_by_folder"),
            models.Index(fields=["folder", "natural_name", "id"], condition=LISTED, name="file_by_folder_natural_name"),
            models.Index(fields=["folder", "size", "id"], condition=LISTED, name="file_by_folder_size"),
            models.Index(
                fields=["owner", "folder"],
                include=["size"],
                condition=Q(LISTED, Q(visibility=Visibility.PRIVATE, quarantined=True, _connector=Q.OR)),
                name="file_hidden_by_owner",
            ),
            models.Index(fields=["category", "size", "id"], condition=LISTED, name="file_by_category_size"),
            GinIndex(
                fields=["normalized_name"], opclasses=["gin_trgm_ops"], condition=LISTED, name="file_name_trigrams"
            ),
            models.Index(fields=["folder"], condition=~Q(state=State.AVAILABLE), name="file_unlisted_by_folder"),
            models.Index(fields=["uploaded_by"], condition=Q(uploaded_by__isnull=False), name="file_by_uploader"),
            models.Index(fields=["series"], condition=Q(series__isnull=False), name="file_by_series"),
            models.Index(
                fields=["-purge_after", "-id"], condition=Q(state=State.TRASHED), name="file_trashed_by_purge"
            ),
            models.Index(
                fields=["natural_name", "id"], condition=Q(state=State.TRASHED), name="file_trashed_by_natural_name"
            ),
            models.Index(fields=["size", "id"], condition=Q(state=State.TRASHED), name="file_trashed_by_size"),
            models.Index(
                fields=["state", "updated_at"],
                condition=~Q(state=State.AVAILABLE),
                name="file_by_state",
            ),
            models.Index(
                fields=["owner", "-created_at"],
                condition=Q(state__in=[State.UPLOADING, State.COMPLETING]),
                name="file_unfinished_by_owner",
            ),
            models.Index(
                fields=["id"],
                condition=Q(state=State.AVAILABLE, checksum_status=ChecksumStatus.UNVERIFIED) & ~Q(checksum=""),
                name="file_unverified",
            ),
            models.Index(
                F("verified_at").asc(nulls_first=True),
                "id",
                condition=Q(state=State.AVAILABLE),
                name="file_by_verification",
            ),
            models.Index(fields=["id"], condition=~Q(origin=Origin.UPLOADED), name="file_imported"),
            models.Index(
                fields=["-available_at", "-id"],
                condition=Q(state=State.AVAILABLE, checksum_status__in=FAILED_CHECKSUMS),
                name="file_checksum_failed",
            ),
            models.Index(fields=["id"], condition=Q(scan_status=ScanStatus.PENDING), name="file_unscanned"),
            models.Index(fields=["-available_at", "-id"], condition=Q(quarantined=True), name="file_quarantined"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("file", args=[self.permanent_id])

    @property
    def permanent_id(self) -> uuid.UUID:
        """Return the permanent id in the file's URLs, which all its versions share."""
        return self.series or self.pk

    @property
    def type(self) -> str:
        """Return the media type to serve: the detected one, or else the declared one."""
        return self.detected_type or self.declared_type or "application/octet-stream"

    @property
    def stored_name(self) -> str:
        """Return the file name for a copy of the stored bytes, which may be compressed."""
        return stored_name(self.name, self.content_encoding)

    @property
    def checksum_hex(self) -> str:
        """Return the SHA-256 as `sha256sum` prints it, of several parts that of their digests; else the checksum."""
        return parts.hex_checksum(self.checksum) if self.checksum_algorithm == "sha256" else self.checksum

    @property
    def is_missing(self) -> bool:
        """Whether the last verification found no object."""
        return self.checksum_status == ChecksumStatus.MISSING

    @property
    def is_encoding_unknown(self) -> bool:
        """Whether the content encoding has to be read from the storage. Uploads never have one."""
        return self.content_encoding is None and self.origin != Origin.UPLOADED

    @property
    def part_count(self) -> int:
        return parts.part_count(self.size, self.part_size)

    def length_of(self, number: int) -> int:
        return parts.part_length(number, size=self.size, part_size=self.part_size)


class PartDigest(models.Model):
    """The declared digest of a part, for storage that keeps none. Deleted once the file is available."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="part_digests")
    number = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=44)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="part_digest_unique")]

    def __str__(self) -> str:
        return f"part {self.number}"


class Tag(models.Model):
    """A tag. The normalized name in `normalized_name` is unique: “Été” and “ete” are the same tag."""

    name = models.CharField(_("name"), max_length=MAX_TAG_CHARACTERS)
    normalized_name = NormalizedNameField(unique=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+",
        verbose_name=_("created by"),
    )  # fmt: skip

    class Meta:
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        ordering = ["normalized_name"]

    def __str__(self) -> str:
        return self.name


class Tagging(models.Model):
    """One tag on one file."""

    tag = models.ForeignKey(Tag, models.CASCADE, related_name="taggings", db_index=False)
    file = models.ForeignKey(File, models.CASCADE, related_name="taggings")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tag", "file"], name="tagging_unique")]

    def __str__(self) -> str:
        return f"tag {self.tag_id} on {self.file_id}"
