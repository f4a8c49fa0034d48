"""Share links: create and revoke them, draw the QR code of one, and what each opens for visitors.

A link has no rights of its own: each function for visitors asks again what its creator may see and share now.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import qrcode
from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from qrcode.image.svg import SvgPathImage

from amalga.db import is_read_only_error
from uploads.errors import Forbidden, ValidationFailed
from uploads.models import Action, Event, File, Folder, Limit, ShareLink, ShareLinkFile, TokenBucket, create_link
from uploads.models.audit import INSERT_COLUMNS, current_client_ip, event, insert_values
from uploads.models.folder import FolderQuerySet
from uploads.models.querysets import FileQuerySet, seconds_from_now
from uploads.models.share_link import COUNT_USE_SQL, ShareLinkQuerySet
from uploads.s3.signing import DOWNLOAD_SECONDS
from uploads.services.downloads import EVENTS_BATCH_SIZE
from uploads.services.zips import Bundle, Download, bundle_shared, open_zip

logger = logging.getLogger(__name__)

MAX_FILES = 10_000  # of a selection, as of a zip
DAY = 24 * 3600

# Wrong passwords from one address, and all of them for one link.
ADDRESS_LIMIT = Limit(capacity=5, refill_seconds=60)
LINK_LIMIT = Limit(capacity=100, refill_seconds=10, shared=True)

# Counts a download and records it, in one statement.
GRANT_SQL = f"""
    WITH granted AS ({COUNT_USE_SQL})
    INSERT INTO uploads_event ({", ".join(INSERT_COLUMNS)}, detail)
    SELECT %s, %s::bigint, %s, %s::uuid, %s::bigint, %s, %s::inet, %s::jsonb FROM granted
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareOptions:
    """How a link is shared. `days` is None for a link that does not expire, if the settings allow it."""

    days: float | None = None
    password: str = ""
    max_downloads: int | None = None
    view_only: bool = False
    note: str = ""


def require_sharing(user: User) -> None:
    """Raise Forbidden unless this person may share by link."""
    if not settings.SHARE_LINKS:
        raise Forbidden(_("Share links are turned off on this site."))
    if not user.has_perm("uploads.share_file"):
        raise Forbidden(_("You don't have permission to share by link."))


def share_file(
    file: File, options: ShareOptions, *, by: User, version: UUID | None = None
) -> tuple[ShareLink, str]:  # fmt: skip
    """Create a link to this file, which the user sees, and return it with its token.

    The link opens the current version, or always the given one. Raises Forbidden, ValidationFailed.
    """
    require_sharing(by)
    if not File.objects.listed_for(by).by_permanent_id(file.permanent_id).shareable().exists():
        raise Forbidden(_("Share links are turned off in the folder of this file."))
    if version and not File.objects.versions_of(file).available().filter(pk=version).exists():
        raise ValidationFailed(_("This version is no longer available."))
    with transaction.atomic():
        link, token = _create(options, by=by, name=file.name, file=file.permanent_id, version=version)
        Event.objects.record(Action.SHARE, by=by, file=file, share_link=link.pk)
    return link, token


def share_folder(folder: Folder, options: ShareOptions, *, by: User) -> tuple[ShareLink, str]:
    """Create a link to this folder, which the user sees, with its subfolders. Raises Forbidden, ValidationFailed."""
    require_sharing(by)
    if not Folder.objects.visible_to(by).shareable().filter(pk=folder.pk).exists():
        raise Forbidden(_("Share links are turned off in this folder."))
    with transaction.atomic():
        link, token = _create(options, by=by, name=folder.name, folder=folder)
        Event.objects.record(Action.SHARE, by=by, folder=folder, share_link=link.pk)
    return link, token


def share_selection(file_ids: Sequence[UUID], options: ShareOptions, *, by: User) -> tuple[ShareLink, str]:
    """Create one link to these files. Raises Forbidden, and ValidationFailed if one of them cannot be shared."""
    require_sharing(by)
    requested = set(file_ids)
    if not 0 < len(requested) <= MAX_FILES:
        raise ValidationFailed(_("Select between 1 and %(max)s files.") % {"max": f"{MAX_FILES:,}"})
    rows = File.objects.listed_for(by).by_permanent_ids(requested).shareable()
    files = list(rows.only("id", "series", "name"))
    if missing := len(requested) - len(files):
        text = ngettext("%(count)s file can't be shared.", "%(count)s files can't be shared.", missing)
        reason = _("It no longer exists, or its folder doesn't allow share links.")
        raise ValidationFailed(f"{text % {'count': missing}} {reason}")
    if len(files) == 1:
        return share_file(files[0], options, by=by)
    name = ngettext("%(count)s file", "%(count)s files", len(files)) % {"count": len(files)}
    with transaction.atomic():
        link, token = _create(options, by=by, name=name)
        ShareLinkFile.objects.bulk_create(
            (ShareLinkFile(link=link, file=file.permanent_id) for file in files), batch_size=1_000
        )  # fmt: skip
        Event.objects.record_all(Action.SHARE, files, by=by, share_link=link.pk)
    return link, token


def revoke(links: ShareLinkQuerySet, *, by: User | None) -> int:
    """Revoke these links, for all time. Return how many still worked. Safe to repeat."""
    with transaction.atomic():
        rows = list(ShareLink.objects.filter(pk__in=links.values("pk"), revoked_at__isnull=True).select_for_update())
        ShareLink.objects.filter(pk__in=[link.pk for link in rows]).revoke(by=by)
        Event.objects.bulk_create([_revoked(link, by) for link in rows])
    for link in rows:
        logger.info("share_link_revoked link=%s by=%s", link.pk, by.pk if by else None)
    return len(rows)


def revocable_by(user: User) -> ShareLinkQuerySet:
    """Return the links that this person may revoke: their own, or all with `view_all_links`."""
    return ShareLink.objects.all() if user.has_perm("uploads.view_all_links") else ShareLink.objects.made_by(user)


def links_of_file(file: UUID, user: User) -> ShareLinkQuerySet:
    """Return the links of this file that this person may revoke: all of them for people who may change the file."""
    if File.objects.changeable_by(user).by_permanent_id(file).exists():
        return ShareLink.objects.of_file(file)
    return revocable_by(user).of_file(file)


def can_revoke(link: ShareLink, user: User) -> bool:
    """Return whether this person may revoke the link: their own, one of a file that they may change, or any."""
    if link.created_by_id == user.pk or user.has_perm("uploads.view_all_links"):
        return True
    return link.file is not None and links_of_file(link.file, user).filter(pk=link.pk).exists()


def set_folder_sharing(folder: Folder, *, allowed: bool, by: User) -> None:
    """Allow or forbid share links in this folder and its subfolders. Raises Forbidden unless the user manages it."""
    if not Folder.objects.managed_by(by).filter(pk=folder.pk).exists():
        raise Forbidden(_("You don't have permission to change this folder."))
    with transaction.atomic():
        if Folder.objects.filter(pk=folder.pk).exclude(unshareable=not allowed).update(unshareable=not allowed):
            Event.objects.record(Action.ACCESS, by=by, folder=folder, share_links=allowed)


def _create(options: ShareOptions, *, by: User, **target: object) -> tuple[ShareLink, str]:
    max_days = settings.SHARE_LINK_MAX_DAYS
    if max_days and (options.days is None or options.days > max_days):
        raise ValidationFailed(_("A share link can work for at most %(max)s days.") % {"max": max_days})
    link, token = create_link(
        ShareLink,
        created_by=by,
        expires_at=None if options.days is None else seconds_from_now(options.days * DAY),
        password=make_password(options.password) if options.password else "",
        max_downloads=options.max_downloads,
        view_only=options.view_only,
        note=options.note,
        **target,
    )
    logger.info("share_link_created link=%s by=%s", link.pk, by.pk)
    link.refresh_from_db()
    return link, token


def _revoked(link: ShareLink, by: User | None) -> Event:
    row = event(Action.SHARE_REVOKED, by=by, name=link.name, share_link=link.pk)
    row.actor, row.file_id, row.folder_id = by.get_username() if by else "", link.file, link.folder_id
    return row


def qr_code(text: str) -> str:
    """Return a QR code as a data URI of an SVG picture: black on transparent, so its background must be white."""
    picture = qrcode.make(text, image_factory=SvgPathImage, border=2)
    stream = io.BytesIO()
    picture.save(stream)
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode()}"


# --- what a link opens ----------------------------------------------------------------------------


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
        return rows.by_permanent_id(link.file)
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
        return shared_files(link).by_permanent_id(pk).first()
    root = shared_folder(link)
    files = File.objects.shared_in_folders(link.created_by).filter(folder__path__contains=[link.folder_id])
    return files.by_permanent_id(pk).first() if root else None


def shared_download(link: ShareLink, pk: UUID | None = None) -> File | None:
    """Like `shared_file`, with the fields that a download needs, and faster for a link to one file."""
    if not link.file or pk not in {None, link.file}:
        return shared_file(link, pk)
    return _in_version(link, File.objects.visible_by_permanent_id(link.created_by, link.file, shared=True))


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


class NoDownloadLeft(Exception):
    """The link was used up, revoked, or has expired since it was read."""


def grant_download(link: ShareLink, file: File) -> None:
    """Count and record one download. Raises NoDownloadLeft.

    While the database is read-only, the log is the record for links without a maximum; others are refused.
    """
    values = insert_values(_download_event(link, file))
    try:
        with connection.cursor() as cursor:
            cursor.execute(GRANT_SQL, [link.pk, *values])
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
    """Return the downloads of this version of the file from this address while their presigned URLs are valid."""
    recent = Event.objects.about(file.permanent_id).filter(
        at__gt=seconds_from_now(-DOWNLOAD_SECONDS), action=Action.DOWNLOAD
    )
    recent = recent.filter(detail__share_link=link.pk, address=current_client_ip())
    version = Q(detail__version=str(file.pk))
    return recent.filter(version | Q(detail__version__isnull=True) if file.pk == file.permanent_id else version)


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
    if not file.current or file.pk != file.permanent_id:  # another version than the one that the permanent id names
        detail["version"] = str(file.pk)
    return event(Action.DOWNLOAD, file=file, share_link=link.pk, **detail)
