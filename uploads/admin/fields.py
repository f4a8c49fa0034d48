"""Form fields for folders, names and tags."""

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
    """Return the folder with this path (`Brand/Logos`) or id (`#12`) if the user may see it, or None."""
    visible = Folder.objects.visible_to(user)
    text = text.strip()
    if text.startswith("#") and text[1:].isascii() and text[1:].isdigit() and len(text) <= MAX_DIGITS:
        return visible.filter(pk=int(text[1:])).first()
    folder = None
    for name in clean_folder(text).split("/"):
        folder = visible.children_of(folder).filter(name=name).first()
        if folder is None:
            return None
    return folder


class FolderField(forms.CharField):
    """A folder, typed as its path; empty is the top level. Set `user` to the person who fills in the form."""

    user: User
    unchanged: tuple[str, Folder | None] | None = None

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "required": False,
            "max_length": MAX_FOLDER_CHARACTERS,
            "help_text": gettext_lazy("Its whole path, like Brand/Logos. Leave it empty for the top."),
            "widget": forms.TextInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        if self.unchanged is not None and self.to_python(value) == self.unchanged[0]:
            return self.unchanged[1]
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


def allow_unchanged_folder(form: forms.BaseForm, name: str, folder: Folder | None) -> None:
    """Accept the field's initial value as `folder`, even if the path is too long to type or hidden from the user."""
    field = form.fields.get(name)
    if isinstance(field, FolderField):
        field.unchanged = (form.initial[name], folder)


Parsed = TypeVar("Parsed")


def parse_field(parser: Callable[[str], Parsed], text: str) -> Parsed:
    """Return what `parser` makes of the text. Raises its ValidationFailed as a ValidationError of the field."""
    try:
        return parser(text)
    except ValidationFailed as problem:
        raise ValidationError(problem.message) from problem


def parse_file_name(text: str) -> str:
    """Return a clean name. Raises ValidationFailed for slashes: people who type them want to move the file."""
    if "/" in text or "\\" in text:
        raise ValidationFailed(_("A file's name cannot hold a slash. To put the file elsewhere, change its folder."))
    return read_file_name(text)


class TagsField(forms.CharField):
    """Tags, separated by commas."""

    def __init__(self, **kwargs: Any) -> None:
        defaults: dict[str, Any] = {
            "label": gettext_lazy("Tags"),
            "max_length": 4_000,
            "help_text": gettext_lazy("With commas between them."),
            "widget": forms.TextInput(attrs={"class": "vTextField", "dir": "auto"}),
        }
        super().__init__(**{**defaults, **kwargs})

    def clean(self, value: Any) -> Any:
        tags = parse_field(parse_tags, str(super().clean(value) or ""))
        if self.required and not tags:
            raise ValidationError(self.error_messages["required"])
        return tags
