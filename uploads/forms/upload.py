"""The upload form that works without JavaScript."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class UploadForm(forms.Form):
    """The upload form. `submission` identifies this copy of the form, so that sending it twice creates each file once.

    The files never become form data: they stream to the storage while the request is parsed.
    """

    submission = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    folder = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=1)
    replaces = forms.UUIDField(widget=forms.HiddenInput, required=False)
    private = forms.BooleanField(label=_("Private: only I can see these files"), required=False)
    # the metaclass removes fields from the class, so this does not replace Form.files
    files = forms.Field(  # type: ignore[assignment]
        label=_("Files"), required=False, widget=ManyFilesInput(attrs={"multiple": True})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
