"""What people have chosen or keep for themselves: preferences, favorites and saved searches."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, tzinfo
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.errors import ValidationFailed
from uploads.models.file import File
from uploads.models.folder import Folder

MAX_FAVORITES = 1_000
MAX_SAVED_SEARCHES = 100
MAX_NAME_CHARACTERS = 100
MAX_QUERY_CHARACTERS = 4_000


class PreferenceQuerySet(models.QuerySet["Preference"]):
    def language_of(self, user: User) -> str:
        """Return the language in which the user last used the application, or the site's."""
        language = self.filter(user=user).values_list("language", flat=True).first()
        return language or settings.LANGUAGE_CODE

    def time_zone_name(self, user: User) -> str:
        """Return the name of the time zone that the user chose, or ""."""
        return self.filter(user=user).values_list("time_zone", flat=True).first() or ""

    def time_zone_of(self, user: User) -> tzinfo:
        """Return the time zone that the user chose, or UTC: that of their browser is known in requests alone."""
        name = self.time_zone_name(user)
        try:
            return ZoneInfo(name) if name else UTC
        except (ZoneInfoNotFoundError, ValueError):  # this machine's list has it no longer
            return UTC

    def set_language(self, user: User, language: str) -> None:
        row = Preference(user=user, language=language)
        self.bulk_create([row], update_conflicts=True, unique_fields=["user"], update_fields=["language"])


class Preference(models.Model):
    """The settings of one person. Without a row, all are at their defaults."""

    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="preference")
    # IANA name, such as Europe/Madrid; empty for that of the browser
    time_zone = models.CharField(max_length=64, blank=True)
    # of mails: the browser's when the person signed in, or the one that they chose; empty for the site's
    language = models.CharField(max_length=10, blank=True, default="", db_default="")

    objects = PreferenceQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.user_id)


class FavoriteQuerySet(models.QuerySet["Favorite"]):
    def of(self, user: User) -> FavoriteQuerySet:
        return self.filter(user_id=user.pk)

    def add(self, user: User, *, file: UUID | None = None, folder: Folder | None = None) -> None:
        """Add a file, by its permanent id, or a folder. Safe to repeat. Raises ValidationFailed at the limit."""
        favorites = self.of(user)
        if favorites.count() >= MAX_FAVORITES and not favorites.filter(file=file, folder=folder).exists():
            raise ValidationFailed(_("You can have up to %(max)s favorites.") % {"max": f"{MAX_FAVORITES:,}"})
        self.bulk_create([Favorite(user=user, file=file, folder=folder)], ignore_conflicts=True)

    def discard(self, user: User, *, file: UUID | None = None, folder: Folder | None = None) -> None:
        self.of(user).filter(file=file, folder=folder).delete()

    def delete_orphaned(self, file_ids: Iterable[UUID]) -> None:
        """Delete the favorites of those of these files that have no version left."""
        favorites = self.filter(file__in=list(file_ids))
        versions = File.objects.filter(Q(pk=OuterRef("file")) | Q(series=OuterRef("file")))
        favorites.exclude(Exists(versions)).delete()

    def file_ids(self, user: User) -> list[UUID]:
        """Return the permanent ids of the user's favorite files, newest favorite first."""
        rows = self.of(user).filter(file__isnull=False).order_by("-id").values_list("file", flat=True)
        return [pk for pk in rows[:MAX_FAVORITES] if pk]


class Favorite(models.Model):
    """A file or folder that a person has starred."""

    user = models.ForeignKey(User, models.CASCADE, related_name="favorites", db_index=False)
    file = models.UUIDField(null=True)  # permanent id
    folder = models.ForeignKey(Folder, models.CASCADE, null=True, related_name="+", db_index=False)

    objects = FavoriteQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["user", "file"], condition=Q(file__isnull=False), name="favorite_file_unique"
            ),
            models.UniqueConstraint(
                fields=["user", "folder"], condition=Q(folder__isnull=False), name="favorite_folder_unique"
            ),
            models.CheckConstraint(
                condition=Q(file__isnull=False, folder__isnull=True) | Q(file__isnull=True, folder__isnull=False),
                name="favorite_one_target",
            ),
        ]  # fmt: skip
        indexes = [
            models.Index(fields=["file"], condition=Q(file__isnull=False), name="favorite_by_file"),
            models.Index(fields=["folder"], condition=Q(folder__isnull=False), name="favorite_by_folder"),
        ]

    def __str__(self) -> str:
        return f"favorite {self.file or self.folder_id} of {self.user_id}"


class SavedSearchQuerySet(models.QuerySet["SavedSearch"]):
    def save_for(self, user: User, name: str, *, query: str, folder: Folder | None) -> SavedSearch:
        """Save a search; the same name again replaces it. Raises ValidationFailed if there are too many."""
        saved = self.filter(user=user)
        if saved.count() >= MAX_SAVED_SEARCHES and not saved.filter(name=name).exists():
            raise ValidationFailed(_("You can have up to %(max)s saved searches.") % {"max": MAX_SAVED_SEARCHES})
        return self.update_or_create(user=user, name=name, defaults={"query": query, "folder": folder})[0]


class SavedSearch(models.Model):
    """Search words and filters that a person has saved with a name, for one folder or the whole library."""

    user = models.ForeignKey(User, models.CASCADE, related_name="saved_searches", db_index=False)
    name = models.CharField(gettext_lazy("name"), max_length=MAX_NAME_CHARACTERS)
    query = models.CharField(max_length=MAX_QUERY_CHARACTERS)  # of the list's URL
    folder = models.ForeignKey(Folder, models.CASCADE, null=True, related_name="+")

    objects = SavedSearchQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="saved_search_name_unique")]

    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        return (self.folder.get_absolute_url() if self.folder else reverse("library")) + self.query
