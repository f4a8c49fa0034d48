"""Tags, and which files have them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from uploads.models.fields import NormalizedNameField
from uploads.models.file import File

MAX_TAG_CHARACTERS = 50


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
