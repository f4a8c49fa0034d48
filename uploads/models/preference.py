"""What people have chosen for themselves."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models


class Preference(models.Model):
    """The settings of one person. Without a row, all are at their defaults."""

    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="preference")
    # IANA name, such as Europe/Madrid; empty for that of the browser
    time_zone = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return str(self.user_id)
