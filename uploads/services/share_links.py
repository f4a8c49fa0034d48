"""Create and revoke share links, and draw the QR code of one."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import qrcode
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from qrcode.image.svg import SvgPathImage

from uploads.errors import Forbidden, ValidationFailed
from uploads.models import Action, Event, File, Folder, ShareLink, ShareLinkFile, create_link
from uploads.models.audit import event
from uploads.models.querysets import seconds_from_now
from uploads.models.share_link import ShareLinkQuerySet

logger = logging.getLogger(__name__)

MAX_FILES = 10_000  # of a selection, as of a zip
DAY = 24 * 3600


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
    if not File.objects.listed_for(by).by_link(file.link).shareable().exists():
        raise Forbidden(_("Share links are turned off in the folder of this file."))
    if version and not File.objects.versions_of(file).available().filter(pk=version).exists():
        raise ValidationFailed(_("This version is no longer available."))
    with transaction.atomic():
        link, token = _create(options, by=by, name=file.name, file=file.link, version=version)
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


def share_selection(links: Sequence[UUID], options: ShareOptions, *, by: User) -> tuple[ShareLink, str]:
    """Create one link to these files. Raises Forbidden, and ValidationFailed if one of them cannot be shared."""
    require_sharing(by)
    requested = set(links)
    if not 0 < len(requested) <= MAX_FILES:
        raise ValidationFailed(_("Select between 1 and %(max)s files.") % {"max": f"{MAX_FILES:,}"})
    rows = File.objects.listed_for(by).by_links(requested).shareable()
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
            (ShareLinkFile(link=link, file=file.link) for file in files), batch_size=1_000
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
    if File.objects.changeable_by(user).by_link(file).exists():
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
