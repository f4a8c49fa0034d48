"""What a share link opens, and its downloads.

A link has no rights of its own: each function asks again what its creator may see and share now.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet

from amalga.db import is_read_only_error
from uploads.models import Action, Event, File, Folder, Limit, ShareLink, ShareLinkFile, TokenBucket
from uploads.models.audit import INSERT_COLUMNS, current_client_ip, event
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.models.share_link import COUNT_USE_SQL
from uploads.services.downloads import EVENTS_BATCH_SIZE, HEAD_SECONDS
from uploads.services.zips import Bundle, Download, bundle_shared, open_zip

logger = logging.getLogger(__name__)

# Wrong passwords from one address, and all of them for one link.
ADDRESS_LIMIT = Limit(capacity=5, refill_seconds=60)
LINK_LIMIT = Limit(capacity=100, refill_seconds=10, shared=True)

# Counts a download and records it, in one statement.
GRANT_SQL = f"""
    WITH granted AS ({COUNT_USE_SQL})
    INSERT INTO uploads_event ({", ".join(INSERT_COLUMNS)}, detail)
    SELECT %s, %s::bigint, %s, %s::uuid, %s::bigint, %s, %s::inet, %s::jsonb FROM granted
"""  # noqa: S608


class NoDownloadLeft(Exception):
    """The link was used up, revoked, or has expired since it was read."""


# --- what it opens ----------------------------------------------------------------------------


def may_share(link: ShareLink) -> bool:
    """Return whether the creator of the link may share by link now."""
    return settings.SHARE_LINKS and link.created_by.has_perm("uploads.share_file")


def shared_folder(link: ShareLink, pk: int | None = None) -> Folder | None:
    """Return the folder of the link, or one of its subfolders; None if the creator cannot see or share it now."""
    rows = Folder.objects.visible_to(link.created_by).shareable()
    root = rows.filter(pk=link.folder_id).first() if link.folder_id else None
    if pk is None or root is None:
        return root
    return rows.below(root).filter(pk=pk).first()


def shared_subfolders(link: ShareLink, folder: Folder) -> FolderQuerySet:
    return Folder.objects.visible_to(link.created_by).shareable().children_of(folder)


def shared_files(link: ShareLink) -> FileQuerySet:
    """Return the files that the link opens: for a folder all files in it and its subfolders.

    For a folder, check first that `shared_folder` returns it.
    """
    creator = link.created_by
    if link.folder_id:
        root = Folder(pk=link.folder_id)
        return File.objects.shared_in_folders(creator).below(root)
    rows = File.objects.listed_for(creator).shareable()
    if link.file:
        return rows.by_link(link.file)
    selected = ShareLinkFile.objects.filter(link=link).values("file")
    return rows.filter(Q(series__in=selected) | Q(pk__in=selected, series__isnull=True))


def listed_files(link: ShareLink, folder: Folder | None) -> FileQuerySet:
    """Return the files of one of the folders that the link opens; without a folder, those of its selection."""
    if folder is None:
        return shared_files(link)
    return File.objects.shared_in_folders(link.created_by).in_folder(folder)


def folders_above(link: ShareLink, folder: Folder) -> list[Folder]:
    """Return the shared folder and the folders from there down to this one, as far as the creator sees them."""
    steps = folder.path[folder.path.index(link.folder_id) :]  # type: ignore[arg-type]
    names = {row.pk: row for row in Folder.objects.visible_to(link.created_by).filter(pk__in=steps)}
    return [names[step] for step in steps if step in names]


def shared_file(link: ShareLink, pk: UUID | None = None) -> File | None:
    """Return the file with this permanent id, or the only file of the link; None if the link does not open it now."""
    if link.file:
        return _in_version(link, shared_files(link).first()) if pk in {None, link.file} else None
    if pk is None:
        return None
    if not link.folder_id:
        return shared_files(link).by_link(pk).first()
    root = shared_folder(link)
    inside = File.objects.shared_in_folders(link.created_by).by_link(pk).filter(folder__path__contains=[link.folder_id])
    return inside.first() if root else None


def shared_download(link: ShareLink, pk: UUID | None = None) -> File | None:
    """Like `shared_file`, with the fields that a download needs, and faster for a link to one file."""
    if not link.file or pk not in {None, link.file}:
        return shared_file(link, pk)
    return _in_version(link, File.objects.visible_by_link(link.created_by, link.file, shared=True))


def _in_version(link: ShareLink, file: File | None) -> File | None:
    """Return the version of the file that the link is pinned to."""
    if file is None or not link.version or link.version == file.pk:
        return file
    return File.objects.versions_of(file).available().shareable().filter(pk=link.version).first()


# --- its password -----------------------------------------------------------------------------


def is_password_correct(link: ShareLink, password: str, *, network: str) -> bool:
    """Check the password of the link. Raises TooManyAttempts after many wrong ones from this network, or for this link.

    An attempt is counted before it is checked, so that concurrent attempts are all counted.
    """
    limits = {f"share:{link.pk}:{network}": ADDRESS_LIMIT, f"share:{link.pk}": LINK_LIMIT}
    TokenBucket.objects.take(limits)
    TokenBucket.objects.delete_full()
    if not check_password(password, link.password):
        return False
    TokenBucket.objects.give_back(limits)
    return True


# --- its downloads ----------------------------------------------------------------------------


def grant_download(link: ShareLink, file: File) -> None:
    """Count and record one download. Raises NoDownloadLeft.

    While the database is read-only, the log is the record for links without a maximum; others are refused.
    """
    row = _download_event(link, file)
    fields: list[Any] = [Event._meta.get_field(name) for name in INSERT_COLUMNS]
    values = [field.get_prep_value(getattr(row, field.name)) for field in fields]
    try:
        with connection.cursor() as cursor:
            cursor.execute(GRANT_SQL, [link.pk, *values, json.dumps(row.detail)])
            granted = cursor.rowcount
    except DatabaseError as error:
        if link.max_downloads is not None or not is_read_only_error(error):
            raise
        logger.warning("download_event_not_saved file=%s link=%s", file.pk, link.pk)
        return
    if not granted:
        raise NoDownloadLeft


def was_granted(link: ShareLink, file: File) -> bool:
    """Return whether this address was granted a download of the file a moment ago, which it may go on with.

    Download managers, and browsers that resume, send a request for each range. The presigned URL is valid as long.
    """
    if current_client_ip() is None:
        return False
    return _recent_downloads(link, file).exclude(detail__has_key="shown").exists()


def record_view(link: ShareLink, file: File) -> None:
    """Record that the file was shown, once while the presigned URL is valid."""
    if not _recent_downloads(link, file).exists():
        Event.objects.record(Action.DOWNLOAD, file=file, share_link=link.pk, shown=True)


def _recent_downloads(link: ShareLink, file: File) -> QuerySet[Event]:
    """Return the downloads of the file from this address while their presigned URLs are valid."""
    recent = Event.objects.about(file.link).filter(at__gt=seconds_from_now(-HEAD_SECONDS), action=Action.DOWNLOAD)
    return recent.filter(detail__share_link=link.pk, address=current_client_ip())


def shared_bundle(link: ShareLink) -> Bundle | None:
    """Return the zip of all that the link opens, None if that is gone. Raises as `bundle_shared`."""
    folder, rows = shared_folder(link), shared_files(link)
    if link.folder_id and folder is None:
        return None
    if link.file:
        file = shared_file(link)  # perhaps another version than the current one
        rows = File.objects.filter(pk=file.pk) if file else File.objects.none()
    return bundle_shared(rows, name=link.name, folder=folder, creator=link.created_by) if rows.exists() else None


def open_shared_zip(link: ShareLink, bundle: Bundle) -> Download:
    """Like `open_zip`; the zip counts as one download. Raises NoDownloadLeft."""
    return open_zip(
        bundle, by=link.created_by, record=partial(_grant_zip, link), accessible=partial(_still_shared, link)
    )  # fmt: skip


def _still_shared(link: ShareLink, files: FileQuerySet, creator: User) -> FileQuerySet:
    """Return those of the files of a running zip that may be sent: none since the link was revoked."""
    row = ShareLink.objects.filter(pk=link.pk, revoked_at__isnull=True).select_related("created_by").first()
    return files.visible_to(creator).shareable() if row and may_share(row) else files.none()


def _grant_zip(link: ShareLink, files: Iterable[File]) -> None:
    with transaction.atomic():
        if not ShareLink.objects.count_use(link.pk):
            raise NoDownloadLeft
        rows = (_download_event(link, file, zip=True) for file in files)
        Event.objects.bulk_create(rows, batch_size=EVENTS_BATCH_SIZE)


def _download_event(link: ShareLink, file: File, **detail: Any) -> Event:
    if not file.current:
        detail["version"] = str(file.pk)
    return event(Action.DOWNLOAD, file=file, share_link=link.pk, **detail)
