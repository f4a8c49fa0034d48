"""The upload form of the page."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class UploadForm(forms.Form):
    """`submission` names this copy of the form, so that sending it twice makes each file once.

    The files themselves never become form data: they stream to the store while the form is read.
    """

    submission = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    folder = forms.IntegerField(widget=forms.HiddenInput, required=False, min_value=1)
    replaces = forms.UUIDField(widget=forms.HiddenInput, required=False)
    private = forms.BooleanField(label=_("Private: only I can see these files"), required=False)
    # the metaclass takes fields out of the class: this does not touch Form.files
    files = forms.Field(  # type: ignore[assignment]
        label=_("Files"), required=False, widget=ManyFilesInput(attrs={"multiple": True})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
