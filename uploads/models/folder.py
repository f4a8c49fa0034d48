"""The folder tree and its access rules for groups. Both exist in the database only, not in the bucket."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from uploads import names
from uploads.models.compiled import ANY_USER, CompiledQuery, bind
from uploads.models.fields import NaturalNameField, NormalizedNameField

MAX_DEPTH = 32  # levels of folders; deeper folders that an earlier release created stay


class AccessLevel(models.IntegerChoices):
    """What a group can do in a folder with access rules; each level includes the ones before it."""

    VIEW = 1, _("View")
    UPLOAD = 2, _("Upload")
    MANAGE = 3, _("Manage")


class FolderQuerySet(models.QuerySet["Folder"]):
    def living(self) -> FolderQuerySet:
        """Return the folders that are not removed."""
        return self.filter(removed_at__isnull=True)

    def children_of(self, parent: Folder | None) -> FolderQuerySet:
        return self.filter(parent=parent) if parent else self.filter(parent__isnull=True)

    def below(self, folder: Folder) -> FolderQuerySet:
        """Return the folder itself and all its subfolders, at any depth."""
        return self.filter(path__contains=[folder.pk])

    def below_any(self, folders: Iterable[Folder]) -> FolderQuerySet:
        """Return these folders and all their subfolders, at any depth."""
        return self.filter(path__overlap=[folder.pk for folder in folders])

    def matching(self, text: str) -> FolderQuerySet:
        """Return the folders whose name contains each of these words, ignoring case and accents."""
        rows = self
        for word in names.normalize_for_search(text).split():
            rows = rows.filter(normalized_name__contains=word)
        return rows

    def trashed(self) -> FolderQuerySet:
        """Return the folders in the trash, each for its whole branch, by the database's clock."""
        return self.filter(removed_at__isnull=False, purge_after__gt=Now())

    def visible_to(self, user: User | AnonymousUser, *, with_removed: bool = False) -> FolderQuerySet:
        """Return the folders whose names this user may see: open to everyone, or to one of their groups.

        The trash shows where files were, so it needs the removed folders.
        """
        rows = self if with_removed else self.living()
        if not isinstance(user, User) or not user.has_perm("uploads.view_file"):
            return rows.none()
        return rows.all() if user.is_superuser else rows.filter(~_is_closed(user, AccessLevel.VIEW))

    def writable_by(self, user: User | AnonymousUser, *, with_removed: bool = False) -> FolderQuerySet:
        """Return the folders that this user may put files into. A file that arrives in a removed one restores it."""
        rows = self if with_removed else self.living()
        return rows._where(user, "uploads.add_file", AccessLevel.UPLOAD)

    def managed_by(
        self, user: User | AnonymousUser, permission: str = "uploads.change_file", *, with_removed: bool = False
    ) -> FolderQuerySet:
        """Return the folders where this user may change and remove the team's files."""
        rows = self if with_removed else self.living()
        return rows._where(user, permission, AccessLevel.MANAGE)

    def editable_by(self, user: User | AnonymousUser) -> FolderQuerySet:
        """Return the folders that this user may rename, move and remove, as a manager or as their creator; including
        removed folders, which they may restore."""
        managed = self.managed_by(user, with_removed=True)
        if not isinstance(user, User) or user.is_superuser:
            return managed
        own = self.writable_by(user, with_removed=True).filter(created_by=user, restricted=False)
        return self.filter(Q(pk__in=managed.order_by().values("pk")) | Q(pk__in=own.order_by().values("pk")))

    def closed_to(self, user: User, level: AccessLevel = AccessLevel.VIEW) -> FolderQuerySet:
        """Return the folders whose access rules give this user less than `level`; for superusers there are none."""
        return self.none() if user.is_superuser else self.filter(_is_closed(user, level))

    def granted_to(self, user: User, level: AccessLevel) -> FolderQuerySet:
        """Return the folders whose access rules give this user at least `level`."""
        return self.filter(access_root__in=_granted(user, level))

    def shareable(self) -> FolderQuerySet:
        """Return the folders whose files can be shared by link: neither they nor a folder above forbid it."""
        return self.exclude(pk__in=Folder.objects.inside_unshareable().values("pk"))

    def inside_unshareable(self) -> FolderQuerySet:
        """Return the folders that forbid share links, with all their subfolders."""
        forbidding = ArraySubquery(Folder.objects.filter(unshareable=True).order_by().values("pk"))
        return self.filter(path__overlap=forbidding)

    def _where(self, user: User | AnonymousUser, permission: str, level: AccessLevel) -> FolderQuerySet:
        if not isinstance(user, User) or not user.has_perm("uploads.view_file"):
            return self.none()
        if user.is_superuser:
            return self.all()
        if user.has_perm(permission):
            return self.filter(~_is_closed(user, level))
        return self.none() if level == AccessLevel.UPLOAD else self.granted_to(user, level)


def _is_closed(user: User, level: AccessLevel) -> Q:
    """Match the folders under access rules that give this user's groups less than `level`."""
    return Q(access_root__isnull=False) & ~Q(access_root__in=_granted(user, level))


def _granted(user: User, level: AccessLevel) -> RawSQL:
    """Return an expression for the ids of the folders whose own rules give this user at least `level`."""
    return RawSQL(*bind(_granted_query(level), {ANY_USER: user.pk}))  # noqa: S611


@functools.cache
def _granted_query(level: AccessLevel) -> CompiledQuery:
    return Grant.objects.of(User(pk=ANY_USER)).filter(level__gte=level).values("folder").query.sql_with_params()


class Folder(models.Model):
    """A folder. `path` holds the ids from the top level down to the folder itself, `access_root` the nearest folder
    on that path (itself included) that has access rules. A trigger sets both on insert."""

    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    name = models.CharField(_("name"), max_length=names.MAX_CHARACTERS)
    normalized_name = NormalizedNameField()
    natural_name = NaturalNameField()
    path = ArrayField(models.BigIntegerField(), editable=False, default=list)
    unshareable = models.BooleanField(_("no share links"), default=False, db_default=False)
    restricted = models.BooleanField(_("restricted to selected groups"), default=False)
    access_root = models.ForeignKey(
        "self", models.PROTECT, null=True, editable=False, related_name="+",
        db_index=False,  # folder_by_access_root serves these lookups
    )  # fmt: skip
    groups = models.ManyToManyField(Group, through="Grant", related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+",
        verbose_name=_("created by"),
    )  # fmt: skip
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    removed_at = models.DateTimeField(_("deleted"), null=True, editable=False)
    # Of a folder in the trash, for its branch: its files have the same time. Without `removed_at` it means nothing.
    purge_after = models.DateTimeField(null=True, editable=False)

    objects = FolderQuerySet.as_manager()

    class Meta:
        verbose_name = _("folder")
        verbose_name_plural = _("folders")
        ordering = ["natural_name", "id"]
        constraints = [
            models.UniqueConstraint(Coalesce("parent", 0), "name", name="folder_name_unique"),
            models.CheckConstraint(condition=~Q(name=""), name="folder_name_not_empty"),
        ]
        indexes = [
            models.Index(fields=["parent", "natural_name", "id"], name="folder_by_parent_natural_name"),
            GinIndex(fields=["path"], name="folder_by_path"),
            # with the id, because every list collects the folders that are closed to the user
            models.Index(
                fields=["access_root", "id"], condition=Q(access_root__isnull=False), name="folder_by_access_root"
            ),
            models.Index(fields=["id"], condition=Q(unshareable=True), name="folder_unshareable"),
            models.Index(
                fields=["natural_name", "id"], condition=Q(removed_at__isnull=False, purge_after__isnull=False),
                name="folder_trashed_by_natural_name",
            ),
            GinIndex(fields=["normalized_name"], opclasses=["gin_trgm_ops"], name="folder_name_trigrams"),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("folder", args=[self.pk])

    @property
    def depth(self) -> int:
        return len(self.path)


class GrantQuerySet(models.QuerySet["Grant"]):
    def of(self, user: User) -> GrantQuerySet:
        """Return the access rules for this user's groups."""
        return self.filter(group__user=user)


class Grant(models.Model):
    """What one group may do in a folder with access rules, and in the subfolders that inherit them."""

    folder = models.ForeignKey(Folder, models.CASCADE, related_name="grants")
    group = models.ForeignKey(Group, models.CASCADE, related_name="+")
    level = models.PositiveSmallIntegerField(_("level"), choices=AccessLevel.choices, default=AccessLevel.VIEW)

    objects = GrantQuerySet.as_manager()

    class Meta:
        verbose_name = _("access")
        verbose_name_plural = _("access")
        constraints = [
            models.UniqueConstraint(fields=["folder", "group"], name="grant_unique"),
            models.CheckConstraint(condition=Q(level__in=AccessLevel.values), name="grant_level_valid"),
        ]

    def __str__(self) -> str:
        return f"{self.group}: {AccessLevel(self.level).label}"
