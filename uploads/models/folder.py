"""The tree that files lie in, and which groups may do what in a part of it. The bucket knows nothing of it."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Coalesce, Now
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from uploads import names
from uploads.models.fields import NormalizedNameField

MAX_DEPTH = 32  # levels of folders; a library of before may have deeper ones, which stay


class AccessLevel(models.IntegerChoices):
    """What a group may do in a folder with rules of its own; each holds what stands before it."""

    VIEW = 1, _("view")
    UPLOAD = 2, _("upload")
    MANAGE = 3, _("manage")


class FolderQuerySet(models.QuerySet["Folder"]):
    def living(self) -> FolderQuerySet:
        """Folders that nobody removed."""
        return self.filter(removed_at__isnull=True)

    def children_of(self, parent: Folder | None) -> FolderQuerySet:
        return self.filter(parent=parent) if parent else self.filter(parent__isnull=True)

    def below(self, folder: Folder) -> FolderQuerySet:
        """The folder itself and everything under it."""
        return self.filter(path__contains=[folder.pk])

    def visible_to(self, user: User | AnonymousUser) -> FolderQuerySet:
        """Folders whose name this person may know: those that everyone may see, and those of their groups."""
        if not isinstance(user, User) or not user.has_perm("uploads.view_file"):
            return self.none()
        return self.recognizable_by(user)

    def recognizable_by(self, user: User) -> FolderQuerySet:
        """As `visible_to`, for somebody who may look around."""
        return self.living().filter(~self._closed(user))

    def writable_by(self, user: User | AnonymousUser) -> FolderQuerySet:
        """Folders that this person may put files into."""
        return self.living().accepting(user)

    def accepting(self, user: User | AnonymousUser) -> FolderQuerySet:
        """As `writable_by`, removed ones included: a file that comes to one brings it back."""
        return self._where(user, "uploads.add_file", AccessLevel.UPLOAD)

    def managed_by(self, user: User | AnonymousUser, permission: str = "uploads.change_file") -> FolderQuerySet:
        """Folders where this person may change and remove what the team has there."""
        return self.living().overseen_by(user, permission)

    def overseen_by(self, user: User | AnonymousUser, permission: str) -> FolderQuerySet:
        """As `managed_by`, removed ones included."""
        return self._where(user, permission, AccessLevel.MANAGE)

    def closed_to(self, user: User) -> FolderQuerySet:
        """Folders whose files this person may not see, be they the team's."""
        return self.filter(self._closed(user))

    def governed_for(self, user: User, level: AccessLevel) -> FolderQuerySet:
        """Folders with rules where this person's groups reach the level."""
        return self.filter(governor__in=Grant.objects.reaching(level, user))

    def full_names(self, ids: Iterable[int]) -> dict[int, str]:
        """Each of these folders with its whole path, `Brand/Logos`. Two queries, however many."""
        paths = dict(self.filter(pk__in=set(ids)).values_list("pk", "path"))
        steps = {step for path in paths.values() for step in path}
        called = dict(self.model.objects.filter(pk__in=steps).values_list("pk", "name"))
        return {pk: "/".join(called.get(step, "…") for step in path) for pk, path in paths.items()}

    def _where(self, user: User | AnonymousUser, permission: str, level: AccessLevel) -> FolderQuerySet:
        if not isinstance(user, User) or not user.is_active:
            return self.none()
        if user.is_superuser:
            return self.all()
        by_rule = Q(governor__in=Grant.objects.reaching(level, user))
        by_role = Q(governor__isnull=True) if user.has_perm(permission) else Q(pk__in=[])
        if not user.has_perm("uploads.view_file") or (level == AccessLevel.UPLOAD and not user.has_perm(permission)):
            return self.none()
        return self.filter(~self._closed(user)).filter(by_role | by_rule)

    def _closed(self, user: User) -> Q:
        if user.is_superuser:
            return Q(pk__in=[])
        return Q(governor__isnull=False) & ~Q(governor__in=Grant.objects.reaching(AccessLevel.VIEW, user))


class Folder(models.Model):
    """A folder. `path` holds the ids from the top down to itself, `governor` the nearest folder up that
    way, itself included, that has rules of its own; a trigger sets both for a new row."""

    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    name = models.CharField(_("name"), max_length=names.MAX_CHARACTERS)
    folded = NormalizedNameField()
    path = ArrayField(models.BigIntegerField(), editable=False, default=list)
    restricted = models.BooleanField(_("only for chosen groups"), default=False)
    governor = models.ForeignKey("self", models.PROTECT, null=True, editable=False, related_name="+")
    groups = models.ManyToManyField(Group, through="Grant", related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+",
        verbose_name=_("created by"),
    )  # fmt: skip
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    removed_at = models.DateTimeField(_("removed"), null=True, editable=False)

    objects = FolderQuerySet.as_manager()

    class Meta:
        verbose_name = _("folder")
        verbose_name_plural = _("folders")
        ordering = ["folded", "id"]
        constraints = [
            models.UniqueConstraint(Coalesce("parent", 0), "name", name="folder_name_is_unique_among_siblings"),
            models.CheckConstraint(condition=~Q(name=""), name="folder_has_a_name"),
        ]
        indexes = [
            models.Index(fields=["parent", "folded", "id"], name="folder_children"),
            GinIndex(fields=["path"], name="folder_path"),
            GinIndex(fields=["folded"], opclasses=["gin_trgm_ops"], name="folder_words"),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("folder", args=[self.pk])

    @property
    def depth(self) -> int:
        return len(self.path)


class GrantQuerySet(models.QuerySet["Grant"]):
    def reaching(self, level: AccessLevel, user: User) -> models.QuerySet[Grant, int]:
        """Ids of the folders whose own rules give this person at least the level."""
        return self.filter(level__gte=level, group__user=user).values_list("folder_id", flat=True)


class Grant(models.Model):
    """What one group may do in one folder that has rules of its own, and below it."""

    folder = models.ForeignKey(Folder, models.CASCADE, related_name="grants")
    group = models.ForeignKey(Group, models.CASCADE, related_name="+")
    level = models.PositiveSmallIntegerField(_("level"), choices=AccessLevel.choices, default=AccessLevel.VIEW)

    objects = GrantQuerySet.as_manager()

    class Meta:
        verbose_name = _("access")
        verbose_name_plural = _("access")
        constraints = [
            models.UniqueConstraint(fields=["folder", "group"], name="grant_is_one_for_a_group"),
            models.CheckConstraint(condition=Q(level__in=AccessLevel.values), name="grant_level_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.group}: {AccessLevel(self.level).label}"
