"""The options of a share link."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.models.share_link import MAX_DOWNLOADS, MAX_NOTE_CHARACTERS

MIN_PASSWORD_CHARACTERS = 8
MAX_PASSWORD_CHARACTERS = 128
MAX_DAYS = 3650


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
