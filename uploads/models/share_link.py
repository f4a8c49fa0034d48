"""Share links: files that people without an account can open."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connections, models, router
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from uploads import names
from uploads.models.folder import Folder
from uploads.models.links import PublicLink, PublicLinkManager, PublicLinkQuerySet

MAX_NOTE_CHARACTERS = 1_000
MAX_DOWNLOADS = 1_000_000
# Counts one use, exactly as often as the link allows: of many clients at the last one, one gets it, because a
# concurrent UPDATE sees the new count. Also a part of other statements.
COUNT_USE_SQL = """
    UPDATE uploads_sharelink SET use_count = use_count + 1, last_used_at = statement_timestamp()
    WHERE id = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > statement_timestamp())
        AND (max_downloads IS NULL OR use_count < max_downloads)
    RETURNING id
"""


class ShareLinkQuerySet(PublicLinkQuerySet["ShareLink"]):
    def active(self) -> ShareLinkQuerySet:
        """Return the links that still work, as far as the link itself decides."""
        return self.unexpired().filter(Q(max_downloads__isnull=True) | Q(use_count__lt=F("max_downloads")))

    def count_use(self, pk: int) -> bool:
        """Count one use of this link, and return whether it had one left; filters are ignored."""
        with connections[router.db_for_write(ShareLink)].cursor() as cursor:
            cursor.execute(COUNT_USE_SQL, [pk])
            return bool(cursor.rowcount)

    def made_by(self, user: User) -> ShareLinkQuerySet:
        return self.filter(created_by=user)

    def of_file(self, link: UUID) -> ShareLinkQuerySet:
        """Return the links of this file, alone or in a selection. A link of its folder is not one of them."""
        return self.filter(Q(file=link) | Q(files__file=link)).distinct()

    def of_folder(self, folder: Folder) -> ShareLinkQuerySet:
        return self.filter(folder=folder)

    def shared_files(self, links: Iterable[UUID]) -> set[UUID]:
        """Return which of these files have a link that still works, alone or in a selection. One query."""
        ids = list(links)
        if not ids:
            return set()
        active = self.order_by().active()
        alone = active.filter(file__in=ids).values_list("file")
        selected = active.filter(files__file__in=ids).values_list("files__file")
        return {link for (link,) in alone.union(selected) if link}


class ShareLink(PublicLink):
    """A link to a file, to a folder with its subfolders, or to a selection of files."""

    file = models.UUIDField(null=True, editable=False)  # permanent id
    version = models.UUIDField(null=True, editable=False)  # of this file; null for the current one at each use
    folder = models.ForeignKey(Folder, models.CASCADE, null=True, editable=False, related_name="share_links")
    name = models.CharField(_("name"), max_length=names.MAX_CHARACTERS, editable=False)  # when it was created
    note = models.CharField(_("note"), max_length=MAX_NOTE_CHARACTERS, blank=True)
    password = models.CharField(_("password"), max_length=128, blank=True)
    max_downloads = models.PositiveIntegerField(_("maximum number of downloads"), null=True, blank=True)
    view_only = models.BooleanField(_("view only"), default=False, db_default=False)

    objects = PublicLinkManager.from_queryset(ShareLinkQuerySet)()  # type: ignore[assignment, misc]

    class Meta:
        verbose_name = _("share link")
        verbose_name_plural = _("share links")
        ordering = ["-id"]
        default_permissions = ()
        permissions = [("share_file", "Can share files"), ("view_all_links", "Can view all links")]
        constraints = [
            models.CheckConstraint(
                condition=Q(file__isnull=True) | Q(folder__isnull=True), name="share_link_one_target"
            ),
            models.CheckConstraint(
                condition=Q(version__isnull=True) | Q(file__isnull=False), name="share_link_version_of_file"
            ),
            models.CheckConstraint(
                condition=Q(max_downloads__isnull=True) | Q(use_count__lte=F("max_downloads")),
                name="share_link_downloads_limited",
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["file"], condition=Q(file__isnull=False), name="share_link_by_file"),
            models.Index(fields=["expires_at"], condition=Q(revoked_at__isnull=True), name="share_link_by_expiry"),
        ]

    @property
    def is_used_up(self) -> bool:
        return self.max_downloads is not None and self.use_count >= self.max_downloads

    @property
    def is_selection(self) -> bool:
        return self.file is None and self.folder_id is None

    @property
    def downloads_left(self) -> int | None:
        return None if self.max_downloads is None else max(0, self.max_downloads - self.use_count)


class ShareLinkFile(models.Model):
    """One file of a link to a selection, by its permanent id."""

    link = models.ForeignKey(ShareLink, models.CASCADE, related_name="files")
    file = models.UUIDField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["link", "file"], name="share_link_file_unique")]

    def __str__(self) -> str:
        return f"file {self.file} of {self.link_id}"
