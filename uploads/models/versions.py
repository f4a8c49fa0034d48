"""Which of a file's versions counts."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now

from uploads.models.file import File
from uploads.models.states import State
from uploads.models.tag import Tagging
from uploads.models.usage import Usage


def make_current(version: File) -> None:
    """Let this available version be the one that the link leads to; what it takes the place of stays as an
    older version.

    Name, folder, visibility, owner and tags are the file's, not the version's: they pass on. The caller is
    in a transaction and holds the usage rows of both owners.
    """
    link = version.link
    before = File.objects.by_link(link).exclude(pk=version.pk).select_for_update(no_key=True).first()
    kept: dict[str, Any] = {}
    if before is not None:
        File.objects.filter(pk=before.pk).update(current=False, series=link, updated_at=Now())
        kept = {
            "name": before.name,
            "folded": before.folded,
            "folder_id": before.folder_id,
            "visibility": before.visibility,
            "owner_id": before.owner_id,
        }
        if version.owner_id != before.owner_id:
            kept["uploaded_by_id"] = version.uploaded_by_id or version.owner_id
            _hand_over(version, to=before.owner_id)
        Tagging.objects.filter(file=before).update(file=version)
        if before.state == State.TRASHED:
            # the file was removed while the bytes came: it stays so, whole, and can be restored whole
            kept |= {"state": State.TRASHED, "purge_after": before.purge_after}
    File.objects.filter(pk=version.pk).update(current=True, series=link, updated_at=Now(), **kept)
    version.refresh_from_db()


def _hand_over(version: File, *, to: int) -> None:
    """A new version of somebody's file takes that person's space."""
    Usage.objects.locked(version.owner_id).change(files=-1, bytes=-version.size)
    Usage.objects.locked(to).change(files=1, bytes=version.size)
