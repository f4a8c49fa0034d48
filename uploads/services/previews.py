"""Make and remove the previews of files."""

from __future__ import annotations

from django.db.models.functions import Now

from uploads import s3
from uploads.models import File, Preview, PreviewState


def erase_previews(file: File) -> bool:
    """Remove every preview of a file that is going, object first. False while one is being made."""
    for preview in Preview.objects.filter(file=file):
        if preview.state == PreviewState.MAKING and not _left(preview):
            return False
        s3.delete(preview.key)
        preview.delete()
    return True


def _left(preview: Preview) -> bool:
    return Preview.objects.filter(pk=preview.pk, lease_until__lt=Now()).exists()
