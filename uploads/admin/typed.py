"""What is typed in the admin is read as on the library's own pages, so that both take and refuse the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.errors import BadInput
from uploads.forms import read_file_name, tag_names

Read = TypeVar("Read")


def understood(read: Callable[[str], Read], text: str) -> Read:
    """What this reader makes of the text. What it refuses is told beside the field: raises ValidationError."""
    try:
        return read(text)
    except BadInput as problem:
        raise ValidationError(problem.message) from problem


def file_name(text: str) -> str:
    """A clean name. What stands before a slash is not cut off unseen: whoever types one wants a folder."""
    if "/" in text or "\\" in text:
        raise BadInput(_("A file's name cannot hold a slash. To put the file elsewhere, change its folder."))
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
        tags = understood(tag_names, str(super().clean(value) or ""))
        if self.required and not tags:
            raise ValidationError(self.error_messages["required"])
        return tags
