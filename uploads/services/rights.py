"""Whether the sender of an upload may still put it where it goes. Days may lie between its start and its end, so this
is asked whenever parts are signed, and before the file becomes available."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, Gone, Problem
from uploads.models import File, Folder
from uploads.models.users import load_user


def refusals(sender_id: int, files: Sequence[File]) -> dict[UUID, Problem]:
    """Return why each of this sender's unfinished uploads is refused now; those that are not refused are left out.

    Rights are read again: the person of a request may have been read minutes ago. At most four queries, however many
    files.
    """
    if not files:
        return {}
    sender = load_user(sender_id)
    if sender is None or not sender.has_perm("uploads.add_file"):
        return {
            file.pk: Forbidden(_("Your account may not upload. Ask an administrator for a role.")) for file in files
        }
    new = [file for file in files if file.current]
    versions = [file for file in files if not file.current]
    return _of_new_files(sender, new) | _of_versions(sender, versions)


def require_right(file: File) -> None:
    """Raise Forbidden or Gone when this unfinished upload is refused now."""
    for problem in refusals(file.owner_id, [file]).values():
        raise problem


def _of_new_files(sender: User, files: Sequence[File]) -> dict[UUID, Problem]:
    wanted = {file.folder_id for file in files if file.folder_id is not None}
    rows = Folder.objects.accepting(sender).filter(pk__in=wanted) if wanted else Folder.objects.none()
    accepting = {None, *rows.values_list("pk", flat=True)}
    return {
        file.pk: Forbidden(_("You may not put files into this folder."))
        for file in files
        if file.folder_id not in accepting
    }


def _of_versions(sender: User, files: Sequence[File]) -> dict[UUID, Problem]:
    if not files:
        return {}
    replaced = File.objects.by_links({file.link for file in files})
    there = {file.link for file in replaced}
    changeable = {file.link for file in replaced.changeable_by(sender)}
    found: dict[UUID, Problem] = {}
    for file in files:
        if file.link not in there:
            found[file.pk] = Gone()
        elif file.link not in changeable:
            found[file.pk] = Forbidden(_("The file to replace is not there, or not yours to change."))
    return found
