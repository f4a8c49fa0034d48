"""Options of commands that are validated as the fields of a page are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.forms import Form

from uploads.forms import first_error


def require_valid(form: Form) -> dict[str, Any]:
    """Return the clean data of the form. Raises CommandError with its first error."""
    if not form.is_valid():
        raise CommandError(first_error(form), returncode=2)
    return dict(form.cleaned_data)
