"""Fields for folders, names and tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.errors import ValidationFailed
from uploads.forms import parse_tags, read_file_name
from uploads.models import Folder
from uploads.names import MAX_FOLDER_CHARACTERS, clean_folder

MAX_DIGITS = 18


def folder_by_path(text: str, user: User) -> Folder | None:
    """The folder of this path like `Brand/Logos`, or of this number like `#12`, if this person may see it."""
    seen = Folder.objects.visible_to(user)
    text = text.strip()
    if text.startswith("#") and text[1:].isascii() and text[1:].isdigit() and len(text) <= MAX_DIGITS:
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
            "max_length": MAX_FOLDER_CHARACTERS,
            "help_text": gettext_lazy("Its whole path, like Brand/Logos. Leave it empty for the top."),
            "widget": forms.TextInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        if self.kept is not None and self.to_python(value) == self.kept[0]:
            return self.kept[1]
        text = str(super().clean(value) or "").strip().strip("/")
        if not text:
            return None
        folder = folder_by_path(text, self.user)
        if folder is None:
            raise ValidationError(
                gettext_lazy("There is no folder “%(path)s”. Type its whole path, like Brand/Logos."),
                params={"path": text[:100]},
            )
        return folder


def keep(form: forms.BaseForm, name: str, folder: Folder | None) -> None:
    """Whoever leaves the field as it was keeps the folder, also one too deep to be typed or closed to them."""
    field = form.fields.get(name)
    if isinstance(field, FolderField):
        field.kept = (form.initial[name], folder)


Read = TypeVar("Read")


def understood(read: Callable[[str], Read], text: str) -> Read:
    """What this reader makes of the text. What it refuses is told beside the field: raises ValidationError."""
    try:
        return read(text)
    except ValidationFailed as problem:
        raise ValidationError(problem.message) from problem


def file_name(text: str) -> str:
    """A clean name. What stands before a slash is not cut off unseen: whoever types one wants a folder."""
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("A file's name cannot hold a slash. To put the file elsewhere, change its folder."))
    return read_file_name(text)


class TagsField(forms.CharField):
    """Tags, typed with commas between them."""

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "label": gettext_lazy("Tags"),
            "max_length": 4_000,
            "help_text": gettext_lazy("With commas between them."),
            "widget": forms.TextInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        tags = understood(parse_tags, str(super().clean(value) or ""))
        if self.required and not tags:
            raise ValidationError(self.error_messages["required"])
        return tags
