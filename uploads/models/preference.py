"""What people have chosen for themselves."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models


class PreferenceQuerySet(models.QuerySet["Preference"]):
    def language_of(self, user: User) -> str:
        """Return the language in which the user last used the application, or the site's."""
        language = self.filter(user=user).values_list("language", flat=True).first()
        return language or settings.LANGUAGE_CODE

    def time_zone_of(self, user: User) -> tzinfo:
        """Return the time zone that the user chose, or UTC: that of their browser is known in requests alone."""
        name = self.filter(user=user).values_list("time_zone", flat=True).first()
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
