"""The forms of share links and file requests, and what their visitors enter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads import names
from uploads.errors import ValidationFailed
from uploads.forms.fields import ParsedField, first_error, parse_size
from uploads.models import Ask, FileRequest
from uploads.models.file_request import (
    MAX_ACCEPTED_TYPES,
    MAX_GUEST_NAME_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    MAX_TITLE_CHARACTERS,
)
from uploads.models.share_link import MAX_DOWNLOADS, MAX_NOTE_CHARACTERS

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 128
MAX_DAYS = 3650  # of a share link

ACCEPTED_TYPE = re.compile(r"\.[a-z0-9_+-]{1,20}|[\w.+-]{1,50}/([\w.+-]{1,80}|\*)", re.ASCII)
TYPE_SEPARATOR = re.compile(r"[\s,;]+")
DEFAULT_MAX_FILES = 100  # of a file request
MAX_FILES = 100_000
DEFAULT_SIZE = "2 GB"
DEFAULT_TOTAL = "20 GB"


class ShareForm(forms.Form):
    """The options. `pinned` is the id of a file's current version, to which the link can be pinned."""

    days = forms.IntegerField(label=gettext_lazy("Expires after (days)"), min_value=1, max_value=MAX_DAYS)
    password = forms.CharField(
        label=gettext_lazy("Password"), required=False, strip=False,
        min_length=MIN_PASSWORD_CHARACTERS, max_length=MAX_PASSWORD_CHARACTERS,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=gettext_lazy("Optional. Send it separately from the link."),
    )  # fmt: skip
    max_downloads = forms.IntegerField(
        label=gettext_lazy("Maximum number of downloads"), required=False, min_value=1, max_value=MAX_DOWNLOADS,
        help_text=gettext_lazy("Optional. Each started download counts, even if it's canceled. Previews don't count."),
    )  # fmt: skip
    view_only = forms.BooleanField(
        label=gettext_lazy("View only: visitors see previews and can't download"), required=False
    )  # fmt: skip
    note = forms.CharField(
        label=gettext_lazy("Note for visitors"), required=False, max_length=MAX_NOTE_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 3, "dir": "auto"}),
    )  # fmt: skip

    def __init__(self, *args: Any, pinned: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        days = self.fields["days"]
        days.initial = settings.SHARE_LINK_DAYS
        max_days = settings.SHARE_LINK_MAX_DAYS
        if max_days:
            self.fields["days"] = forms.IntegerField(
                label=days.label, initial=days.initial, min_value=1, max_value=max_days,
                help_text=_("The maximum is %(max)s days.") % {"max": max_days},
            )  # fmt: skip
        else:
            days.required, days.help_text = False, _("Leave it empty for a link that never expires.")
        if pinned is not None:
            choices = [
                ("", _("Always the current version")),
                (str(pinned), _("The current version only, even if the file changes")),
            ]
            self.fields["version"] = forms.ChoiceField(
                label=_("Version"), choices=choices, required=False, widget=forms.RadioSelect
            )

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if "\x00" in password:
            raise ValidationError(_("The password contains an invalid character."))
        return password

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("view_only") and data.get("max_downloads"):
            self.add_error("max_downloads", _("A view-only link has no downloads to limit."))
        return data


class SharePasswordForm(forms.Form):
    """The password of a share link, as a visitor enters it."""

    password = forms.CharField(
        label=gettext_lazy("Password"), strip=False, max_length=MAX_PASSWORD_CHARACTERS,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "autofocus": True}),
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


def parse_request_size(text: str) -> int:
    """Return the bytes of a limit of a file request. Raises ValidationFailed."""
    size = parse_size(text)
    if not 1 <= size <= settings.UPLOAD_QUOTA_BYTES:
        raise ValidationFailed(_("Enter a size up to the storage limit of one person."))
    return size


def parse_accepted_types(text: str) -> list[str]:
    """Return the types of a list like ".pdf, image/*". Raises ValidationFailed."""
    types = list(dict.fromkeys(word for word in TYPE_SEPARATOR.split(text.lower()) if word))
    if len(types) > MAX_ACCEPTED_TYPES:
        raise ValidationFailed(_("You can enter up to %(count)s types.") % {"count": MAX_ACCEPTED_TYPES})
    for kind in types:
        if not ACCEPTED_TYPE.fullmatch(kind):
            raise ValidationFailed(
                _("“%(type)s” must be an extension such as .pdf, or a media type such as image/*.")
                % {"type": kind[:50]}
            )
    return types


class FileRequestForm(forms.Form):
    """A file request for one folder. Its `cleaned_data` are the arguments of `services.file_requests.create`."""

    title = forms.CharField(label=gettext_lazy("Title"), max_length=MAX_TITLE_CHARACTERS)
    text = forms.CharField(
        label=gettext_lazy("Message"), max_length=MAX_TEXT_CHARACTERS, required=False,
        widget=forms.Textarea({"rows": 3}),
    )  # fmt: skip
    days = forms.IntegerField(label=gettext_lazy("Open for (days)"), min_value=1)
    max_files = forms.IntegerField(
        label=gettext_lazy("Number of files"), min_value=1, max_value=MAX_FILES, initial=DEFAULT_MAX_FILES
    )  # fmt: skip
    max_file_bytes = ParsedField(
        label=gettext_lazy("Maximum file size"), parser=parse_request_size, max_length=20, initial=DEFAULT_SIZE
    )  # fmt: skip
    max_bytes = ParsedField(
        label=gettext_lazy("Total size"), parser=parse_request_size, max_length=20, initial=DEFAULT_TOTAL
    )  # fmt: skip
    accepted_types = ParsedField(
        label=gettext_lazy("Accepted types"), parser=parse_accepted_types, max_length=2_000, required=False,
        help_text=gettext_lazy("For example .pdf, image/*. Leave empty to accept all types."),
    )  # fmt: skip
    ask_name = forms.ChoiceField(label=gettext_lazy("Sender's name"), choices=Ask.choices, initial=Ask.OPTIONAL)
    ask_address = forms.ChoiceField(
        label=gettext_lazy("Sender's email address"), choices=Ask.choices, initial=Ask.OPTIONAL
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        days = self.fields["days"]
        if isinstance(days, forms.IntegerField):
            days.initial = settings.FILE_REQUEST_DAYS
            days.max_value = settings.FILE_REQUEST_MAX_DAYS
            days.widget.attrs["max"] = settings.FILE_REQUEST_MAX_DAYS

    def clean_days(self) -> int:
        days: int = self.cleaned_data["days"]
        if days > settings.FILE_REQUEST_MAX_DAYS:
            raise ValidationError(
                _("A file request can be open for at most %(count)s days.") % {"count": settings.FILE_REQUEST_MAX_DAYS}
            )
        return days

    def clean_title(self) -> str:
        title = names.clean_text(self.cleaned_data["title"])
        if not title:
            raise ValidationError(self.fields["title"].error_messages["required"])
        return title


class GuestForm(forms.Form):
    """The name and the email address of a guest, as far as the file request asks for them."""

    name = forms.CharField(label=gettext_lazy("Your name"), max_length=MAX_GUEST_NAME_CHARACTERS, required=False)
    address = forms.EmailField(label=gettext_lazy("Your email address"), required=False)

    def __init__(self, *args: Any, request: FileRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        for field, ask in (("name", request.ask_name), ("address", request.ask_address)):
            if ask == Ask.NO:
                del self.fields[field]
            else:
                self.fields[field].required = ask == Ask.REQUIRED
                self.fields[field].widget.attrs["data-guest-field"] = True
                self.fields[field].widget.is_required = ask == Ask.REQUIRED

    def clean_name(self) -> str:
        """Clean the name like that of a file, so that it cannot look like another."""
        name = names.clean_text(self.cleaned_data["name"])
        if not name and self.fields["name"].required:
            raise ValidationError(self.fields["name"].error_messages["required"])
        return name

    def details(self) -> dict[str, str]:
        return {name: self.cleaned_data.get(name, "") for name in ("name", "address")}


def guest_details(data: object, request: FileRequest) -> dict[str, str]:
    """Return the clean `name` and `address` of a call's member `guest`. Raises ValidationFailed."""
    fields = data if isinstance(data, Mapping) else {}
    form = GuestForm({name: value for name, value in fields.items() if isinstance(value, str)}, request=request)
    if not form.is_valid():
        raise ValidationFailed(first_error(form))
    return form.details()
