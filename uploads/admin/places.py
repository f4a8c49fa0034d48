"""Folders as they are typed and told in the admin: by their whole path. A list to choose from would hold thousands."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from uploads.models import Folder
from uploads.names import MOST_FOLDER_CHARACTERS, clean_folder

MOST_DIGITS = 18


def folder_at(text: str, user: User) -> Folder | None:
    """The folder of this path like `Brand/Logos`, or of this number like `#12`, if this person may see it."""
    seen = Folder.objects.visible_to(user)
    text = text.strip()
    if text.startswith("#") and text[1:].isascii() and text[1:].isdigit() and len(text) <= MOST_DIGITS:
        return seen.filter(pk=int(text[1:])).first()
    folder = None
    for name in clean_folder(text).split("/"):
        folder = seen.children_of(folder).filter(name=name).first()
        if folder is None:
            return None
    return folder


class FolderField(forms.CharField):
    """A folder of the tree, typed as its path; empty is the top. `user` is who types."""

    user: User
    kept: tuple[str, Folder | None] | None = None

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "required": False,
            "max_length": MOST_FOLDER_CHARACTERS,
            "help_text": _("Its whole path, like Brand/Logos. Leave it empty for the top."),
            "widget": forms.TextInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        if self.kept is not None and self.to_python(value) == self.kept[0]:
            return self.kept[1]
        text = str(super().clean(value) or "").strip().strip("/")
        if not text:
            return None
        folder = folder_at(text, self.user)
        if folder is None:
            raise ValidationError(
                _("There is no folder “%(path)s”. Type its whole path, like Brand/Logos."), params={"path": text[:100]}
            )
        return folder


def keep(form: forms.BaseForm, name: str, folder: Folder | None) -> None:
    """Whoever leaves the field as it was keeps the folder, also one too deep to be typed or closed to them."""
    field = form.fields.get(name)
    if isinstance(field, FolderField):
        field.kept = (form.initial[name], folder)
