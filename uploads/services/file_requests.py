"""File requests: create and close them, ask whether they still accept files, and open the sessions of guests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from uploads.errors import Forbidden, LinkEnded, OverQuota, Problem, RefusedType, TooLarge, ValidationFailed
from uploads.humanize import humanize_bytes
from uploads.media_types import canonical
from uploads.models import (
    Action,
    Event,
    File,
    FileRequest,
    Folder,
    GuestSession,
    Limit,
    LinkState,
    State,
    TokenBucket,
    create_link,
    display_name,
    new_link_hint,
)
from uploads.models.throttle import client_network
from uploads.names import extensions_of

logger = logging.getLogger(__name__)

PERMISSION = "uploads.request_files"
# New guests from one network, and of one request: a school behind one address, and a crowd. Each costs a row. Both are
# refilled at one rate, so that no network can use up what is for all.
NETWORK_LIMIT = Limit(capacity=100, refill_seconds=30, shared=True)
REQUEST_LIMIT = Limit(capacity=10_000, refill_seconds=30, shared=True)
SESSION_DAYS = 30  # from opening the page; the cookie is signed for as long
EMPTY_SESSIONS_BATCH_SIZE = 1_000
TYPE_NAMES = {
    "image/*": gettext_lazy("images"),
    "video/*": gettext_lazy("videos"),
    "audio/*": gettext_lazy("audio files"),
    "text/*": gettext_lazy("text files"),
    "application/pdf": "PDF",
    "application/zip": "ZIP",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
}


class SentFile(NamedTuple):
    """A file that a guest has sent or is sending, with the name that they know."""

    file: File
    name: str
    is_finished: bool


# --- for members ----------------------------------------------------------------------------------


def can_request(folder: Folder, user: User) -> bool:
    """Return whether this person may ask others for files in this folder: they could put them there themselves."""
    return user.has_perm(PERMISSION) and Folder.objects.writable_by(user).filter(pk=folder.pk).exists()


def create(folder: Folder, *, by: User, days: int, **fields: Any) -> tuple[FileRequest, str]:
    """Create a request that expires in `days`, and return it with its token, which cannot be read again.

    `fields` are those of the model. Raises Forbidden, and ValidationFailed for more days than the settings allow.
    """
    if not 1 <= days <= settings.FILE_REQUEST_MAX_DAYS:
        raise ValidationFailed(
            _("A file request can be open for 1 to %(count)s days.") % {"count": settings.FILE_REQUEST_MAX_DAYS}
        )
    if not can_request(folder, by):
        raise Forbidden(_("You don't have permission to request files for this folder."))
    with transaction.atomic():
        request, token = create_link(
            FileRequest, folder=folder, created_by=by, expires_at=Now() + timedelta(days=days), **fields
        )
        Event.objects.record(Action.FILE_REQUEST, by=by, folder=folder, request=request.pk, title=request.title)
    logger.info("file_request_created request=%s folder=%s by=%s", request.pk, folder.pk, by.pk)
    request.refresh_from_db()
    return request, token


def close(request: FileRequest, *, by: User | None) -> bool:
    """Close the request: its link stops working. Return whether it was open. Safe to repeat."""
    with transaction.atomic():
        if not FileRequest.objects.filter(pk=request.pk).revoke(by=by):
            return False
        Event.objects.record(
            Action.FILE_REQUEST, by=by, folder=request.folder, request=request.pk, title=request.title, closed=True
        )
    logger.info("file_request_closed request=%s by=%s", request.pk, by.pk if by else None)
    return True


# --- for guests -----------------------------------------------------------------------------------


def require_open(request: FileRequest) -> None:
    """Raise LinkEnded unless the request accepts files now: it is active, and its creator may still request files and
    put them into the folder. Read the request and its creator just before."""
    if problem := closed_problem(request):
        raise problem


def closed_problem(request: FileRequest) -> LinkEnded | None:
    """Return why the request accepts no files now, or None."""
    creator = request.created_by
    accepts = (
        creator.is_active
        and request.state == LinkState.ACTIVE
        and creator.has_perm(PERMISSION)
        and Folder.objects.writable_by(creator).filter(pk=request.folder_id).exists()
    )
    return None if accepts else LinkEnded(f"{_('This file request no longer accepts files.')} {new_link_hint(creator)}")


def deleted() -> LinkEnded:
    return LinkEnded(_("This file request was deleted."))


def open_session(request: FileRequest, pk: UUID, *, client_address: str | None) -> GuestSession:
    """Return the session with this id, which is created with the first file of a guest. Safe to repeat and to race.

    Raises OverQuota if the request has received all its files, TooManyAttempts for too many new guests, and LinkEnded
    for the session of another request.
    """
    session = GuestSession.objects.filter(pk=pk).first()
    if session is None:
        require_room(request, 0, files=0, bytes=0)
        TokenBucket.objects.take({
            f"guest:{request.pk}:{client_network(client_address)}": NETWORK_LIMIT,
            f"guest:{request.pk}": REQUEST_LIMIT,
        })  # fmt: skip
        GuestSession.objects.bulk_create([GuestSession(pk=pk, request=request)], ignore_conflicts=True)
        FileRequest.objects.filter(pk=request.pk).update(use_count=F("use_count") + 1, last_used_at=Now())
        TokenBucket.objects.delete_full()
        session = GuestSession.objects.get(pk=pk)
        logger.info("guest_session_opened guest=%s request=%s", pk, request.pk)
    if session.request_id != request.pk:
        raise LinkEnded(_("This browser's session belongs to another link. Open the link again."))
    session.request = request
    return session


def delete_empty_sessions(*, should_continue: Callable[[], bool] = lambda: True) -> int:
    """Delete the sessions that have expired and hold no file, sent or being sent. Return how many. Safe to repeat.

    Those with files stay, because they say who sent them.
    """
    files = File.objects.filter(guest_session=OuterRef("pk"))
    # a day more than the cookie works: no guest can begin to send a file now
    expired = GuestSession.objects.filter(~Exists(files), created_at__lt=Now() - timedelta(days=SESSION_DAYS + 1))
    count = 0
    while should_continue():
        ids = list(expired.values_list("pk", flat=True)[:EMPTY_SESSIONS_BATCH_SIZE])
        count += GuestSession.objects.filter(pk__in=ids).delete()[0]
        if len(ids) < EMPTY_SESSIONS_BATCH_SIZE:
            break
    return count


def sent_files(session: GuestSession, *, limit: int) -> list[SentFile]:
    """Return what this guest has sent, newest first, by the names that they sent it with: members can rename it."""
    files = list(File.objects.uploads_of(User(), session).exclude(state=State.DELETING).order_by("-created_at")[:limit])
    finished = [file.pk for file in files if file.available_at]
    events = Event.objects.filter(file_id__in=finished, action=Action.GUEST_UPLOAD)
    names = dict(events.values_list("file_id", "name"))
    return [SentFile(file, names.get(file.pk, file.name), is_finished=bool(file.available_at)) for file in files]


def introduce(session: GuestSession, *, name: str, address: str) -> None:
    """Save the valid values of a GuestForm, once: later ones change nothing."""
    if name or address:
        GuestSession.objects.filter(pk=session.pk, name="", address="").update(name=name, address=address)
        session.name, session.address = name, address


def guest_problems(files: Sequence[File]) -> dict[UUID, Problem]:
    """Return the problem of each of these guests' unfinished uploads whose request accepts no files now."""
    session_ids = {file.guest_session_id for file in files if file.guest_session_id}
    request_ids = dict(GuestSession.objects.filter(pk__in=session_ids).values_list("pk", "request_id"))
    rows = FileRequest.objects.select_related("created_by").filter(sessions__in=session_ids).distinct()
    by_request = {request.pk: closed_problem(request) for request in rows}
    by_session = {pk: by_request[request_id] if request_id else deleted() for pk, request_id in request_ids.items()}
    problems = {file.pk: by_session[file.guest_session_id] for file in files if file.guest_session_id}
    return {pk: problem for pk, problem in problems.items() if problem}


# --- limits: the caller has locked the request's row ------------------------------------------------


def require_room(request: FileRequest, size: int, *, files: int, bytes: int) -> None:
    """Raise TooLarge or OverQuota unless the request has room for one more file of `size` bytes, beside `files` and
    `bytes` of this call."""
    if size > request.max_file_bytes:
        raise TooLarge(
            _("The file is too large. The limit is %(size)s.") % {"size": humanize_bytes(request.max_file_bytes)}
        )
    if files >= request.remaining_files:
        raise OverQuota(_("This file request has received all of its %(count)s files.") % {"count": request.max_files})
    if bytes + size > request.remaining_bytes:
        raise OverQuota(
            _("This file request has room for %(size)s more.")
            % {"size": humanize_bytes(max(0, request.remaining_bytes - bytes))}
        )


def owner_is_full(request: FileRequest) -> OverQuota:
    """Return the error for guests when the creator of the request has no space left."""
    text = _("The recipient doesn't have enough storage for this file.")
    name = display_name(request.created_by)
    return OverQuota(
        f"{text} {_('Tell %(name)s.') % {'name': name} if name else _('Tell the person who sent you the link.')}"
    )


def require_accepted(request: FileRequest, *, name: str, media_type: str) -> None:
    """Raise RefusedType unless the name's extension or the media type is among those that the request accepts."""
    accepted = request.accepted_types
    if accepted and not is_accepted(accepted, name=name, media_type=media_type):
        raise RefusedType(_("Only these types are accepted here: %(types)s.") % {"types": describe_types(accepted)})


def require_accepted_from_guest(file: File, detected_type: str) -> None:
    """Raise RefusedType if the request of the guest who sent this file does not accept what it turned out to be."""
    request = FileRequest.objects.filter(sessions=file.guest_session_id).first()
    if request:
        require_accepted(request, name=file.name, media_type=detected_type or file.declared_type)


def describe_types(accepted: Iterable[str]) -> str:
    """Return the accepted types as people call them, such as "images, .docx"."""
    return ", ".join(str(TYPE_NAMES.get(entry, entry)) for entry in accepted)


def is_accepted(accepted: Iterable[str], *, name: str, media_type: str) -> bool:
    types = {canonical(entry) for entry in accepted}
    kind = canonical(media_type) if media_type else ""
    extensions = extensions_of(name)
    is_named = bool(extensions) and extensions <= types
    return is_named or bool(types & {kind, f"{kind.partition('/')[0]}/*"})
