"""Check that the sender of an upload may still add it to its folder, or as a version of its file.

Days may pass between its start and its end, so this is checked when parts are signed, and before it is published."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from uploads.errors import Forbidden, Gone, Problem
from uploads.models import File, Folder
from uploads.models.users import load_user


def refusals(sender_id: int, files: Sequence[File]) -> dict[UUID, Problem]:
    """Return the problem of each of this sender's unfinished uploads that is refused now.

    Permissions are read again, since the user of a request may have been loaded minutes ago. At most four queries,
    however many files.
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
    return _refuse_new_files(sender, new) | _refuse_versions(sender, versions)


def require_right(file: File) -> None:
    """Raise Forbidden or Gone when this unfinished upload is refused now."""
    for problem in refusals(file.owner_id, [file]).values():
        raise problem


def _refuse_new_files(sender: User, files: Sequence[File]) -> dict[UUID, Problem]:
    folder_ids = {file.folder_id for file in files if file.folder_id is not None}
    rows = Folder.objects.accepting(sender).filter(pk__in=folder_ids) if folder_ids else Folder.objects.none()
    accepting = {None, *rows.values_list("pk", flat=True)}
    return {
        file.pk: Forbidden(_("You may not put files into this folder."))
        for file in files
        if file.folder_id not in accepting
    }


def _refuse_versions(sender: User, files: Sequence[File]) -> dict[UUID, Problem]:
    if not files:
        return {}
    replaced = File.objects.by_links({file.link for file in files})
    existing = {file.link for file in replaced}
    changeable = {file.link for file in replaced.changeable_by(sender)}
    problems: dict[UUID, Problem] = {}
    for file in files:
        if file.link not in existing:
            problems[file.pk] = Gone()
        elif file.link not in changeable:
            problems[file.pk] = Forbidden(_("The file to replace is not there, or not yours to change."))
    return problems
