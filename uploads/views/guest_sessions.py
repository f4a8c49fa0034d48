"""The session of a guest of a file request: a signed cookie for the paths of that request alone, and a row.

The page sets the cookie, with the id of a session. The row is created with the first file, so that opening the page
costs nothing, and two calls at once that send first files have the same session.
"""

from __future__ import annotations

import re
import uuid

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse

from uploads.models import FileRequest, GuestSession
from uploads.services import file_requests
from uploads.views.links import find_link

SALT = "amalga.guest"
MAX_AGE_SECONDS = file_requests.SESSION_DAYS * 24 * 3600
SESSION_ID = re.compile(r"[0-9a-f]{32}")


def find_request(request: HttpRequest, token: str) -> FileRequest:
    """Return the file request with this token, which accepts files now. Raises LinkUnknown, LinkEnded."""
    file_request = find_link(FileRequest, token, request)
    file_requests.require_open(file_request)
    return file_request


def session_id(request: HttpRequest, file_request: FileRequest) -> uuid.UUID | None:
    """Return the id in the guest's cookie, or None without a valid one for this request."""
    try:
        text = request.COOKIES.get(settings.GUEST_COOKIE_NAME, "")
        request_id, pk = signing.loads(text, salt=SALT, max_age=MAX_AGE_SECONDS)
    except (signing.BadSignature, TypeError, ValueError):
        return None
    is_valid = request_id == file_request.pk and isinstance(pk, str) and SESSION_ID.fullmatch(pk)
    return uuid.UUID(pk) if is_valid else None


def find_session(request: HttpRequest, file_request: FileRequest) -> GuestSession | None:
    """Return the session of a guest who has sent a file before, or None."""
    pk = session_id(request, file_request)
    session = GuestSession.objects.filter(pk=pk, request=file_request).first() if pk else None
    if session is not None:
        session.request = file_request
    return session


def set_session_cookie(
    request: HttpRequest, response: HttpResponseBase, file_request: FileRequest, token: str, pk: uuid.UUID
) -> None:
    """Give the browser its session, unless it has one: none lasts longer than SESSION_DAYS."""
    if session_id(request, file_request) is not None:
        return
    response.set_cookie(
        settings.GUEST_COOKIE_NAME,
        signing.dumps([file_request.pk, pk.hex], salt=SALT),
        max_age=MAX_AGE_SECONDS,
        path=reverse("guest_upload", args=[token]),
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
