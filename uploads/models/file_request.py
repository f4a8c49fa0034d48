"""File requests: links by which people without an account put files into one folder."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.models.folder import Folder
from uploads.models.links import PublicLink, PublicLinkManager, PublicLinkQuerySet

MAX_TITLE_CHARACTERS = 200
MAX_TEXT_CHARACTERS = 2_000
MAX_GUEST_NAME_CHARACTERS = 100
MAX_ACCEPTED_TYPES = 50
MAX_TYPE_CHARACTERS = 100


class Ask(models.TextChoices):
    """Whether the page asks guests for something."""

    NO = "no", gettext_lazy("Don't ask")
    OPTIONAL = "optional", gettext_lazy("Optional")
    REQUIRED = "required", gettext_lazy("Required")


class FileRequestQuerySet(PublicLinkQuerySet["FileRequest"]):
    def visible_to(self, user: User | AnonymousUser) -> FileRequestQuerySet:
        """Return the requests that this user may see and close: their own or, with `view_all_links`, all."""
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        return self if user.has_perm("uploads.view_all_links") else self.filter(created_by=user)


class FileRequest(PublicLink):
    """A link with which guests put files into `folder`, which belong to its creator.

    A trigger counts the files and bytes that it has received or reserved. A file that its owner deletes later still
    counts, so that no one can send more than the limits by having files deleted.
    """

    folder = models.ForeignKey(Folder, models.CASCADE, related_name="+", verbose_name=gettext_lazy("folder"))
    title = models.CharField(gettext_lazy("title"), max_length=MAX_TITLE_CHARACTERS)
    text = models.TextField(gettext_lazy("message"), max_length=MAX_TEXT_CHARACTERS, blank=True, default="")
    max_file_bytes = models.BigIntegerField(gettext_lazy("maximum file size"))
    max_files = models.PositiveIntegerField(gettext_lazy("number of files"))
    max_bytes = models.BigIntegerField(gettext_lazy("total size"))
    accepted_types = ArrayField(
        models.CharField(max_length=MAX_TYPE_CHARACTERS), default=list, blank=True, size=MAX_ACCEPTED_TYPES,
        verbose_name=gettext_lazy("accepted types"),
    )  # fmt: skip
    ask_name = models.CharField(gettext_lazy("name"), max_length=8, choices=Ask.choices, default=Ask.OPTIONAL)
    ask_address = models.CharField(
        gettext_lazy("email address"), max_length=8, choices=Ask.choices, default=Ask.OPTIONAL
    )  # fmt: skip
    file_count = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    byte_count = models.BigIntegerField(default=0, db_default=0, editable=False)

    objects = PublicLinkManager.from_queryset(FileRequestQuerySet)()  # type: ignore[assignment, misc]

    class Meta:
        verbose_name = gettext_lazy("file request")
        verbose_name_plural = gettext_lazy("file requests")
        ordering = ["-created_at", "-id"]
        default_permissions = ()
        permissions = [("request_files", "Can request files")]
        constraints = [
            models.CheckConstraint(
                condition=Q(ask_name__in=Ask.values, ask_address__in=Ask.values), name="file_request_asks_valid"
            ),
            models.CheckConstraint(
                condition=Q(max_file_bytes__gt=0, max_files__gt=0, max_bytes__gt=0), name="file_request_limits_positive"
            ),
            models.CheckConstraint(
                condition=Q(file_count__gte=0, byte_count__gte=0), name="file_request_counts_not_negative"
            ),
        ]
        indexes = [
            models.Index(fields=["created_by", "-created_at", "-id"], name="file_request_by_creator"),
            models.Index(fields=["folder"], name="file_request_by_folder"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def remaining_files(self) -> int:
        return max(0, self.max_files - self.file_count)

    @property
    def remaining_bytes(self) -> int:
        return max(0, self.max_bytes - self.byte_count)


class GuestSession(models.Model):
    """One guest in one browser: what they call themselves, and through which request they sent files.

    It outlives its request, so that files say who sent them.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(FileRequest, models.SET_NULL, null=True, related_name="sessions")
    name = models.CharField(gettext_lazy("name"), max_length=MAX_GUEST_NAME_CHARACTERS, blank=True, default="")
    address = models.EmailField(gettext_lazy("email address"), blank=True, default="")
    created_at = models.DateTimeField(gettext_lazy("created"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = gettext_lazy("guest")
        verbose_name_plural = gettext_lazy("guests")
        default_permissions = ()

    def __str__(self) -> str:
        return self.label

    @property
    def is_anonymous(self) -> bool:
        return not (self.name or self.address)

    @property
    def label(self) -> str:
        """Return what the guest calls themselves, as text."""
        if self.name and self.address:
            return f"{self.name} ({self.address})"
        return self.name or self.address or _("a guest")
