"""The upload protocol over HTTP, for people who are signed in and for guests of a file request.

People send their session cookie and the CSRF token. A guest's cookie names their session, which can do nothing else,
and each call asks again whether the request is open.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from uploads.api import protocol
from uploads.api.protocol import Sender
from uploads.api.serializers import FindConflictsSerializer, StartUploadsSerializer
from uploads.errors import MayNotUpload, TooLarge, UploadNotFound
from uploads.forms import guest_details
from uploads.middleware import MAX_ANONYMOUS_BODY_BYTES, client_ip
from uploads.models import FileRequest, GuestSession
from uploads.services import file_requests
from uploads.views.file_requests import find_request, find_session, session_id, set_session_cookie
from uploads.views.responses import api_view, request_user


@api_view("GET", "POST", adds_files=True)
def uploads(request: HttpRequest) -> HttpResponse:
    """POST creates uploads; GET lists the user's unfinished uploads."""
    if request.method == "POST":
        return protocol.start(_sender(request), StartUploadsSerializer.read(request.body))
    return protocol.unfinished(_sender(request))


@api_view("POST", adds_files=True)
def conflicts(request: HttpRequest) -> HttpResponse:
    """Return which names exist already where files are about to be uploaded. Changes nothing."""
    return protocol.conflicts(_sender(request), FindConflictsSerializer.read(request.body))


@api_view("GET", "DELETE")
def upload_detail(request: HttpRequest, *, pk: UUID) -> HttpResponse:
    """GET returns the upload and its stored parts; DELETE cancels it."""
    handler = protocol.cancel if request.method == "DELETE" else protocol.status
    return handler(_sender(request), pk)


@api_view("POST", adds_files=True)
def sign_parts(request: HttpRequest, *, pk: UUID) -> HttpResponse:
    """Return presigned URLs for parts of an upload that has not expired."""
    return protocol.sign(_sender(request), pk, request.body)


@api_view("POST")
def finish(request: HttpRequest) -> HttpResponse:
    """Complete uploads whose bytes are all sent. The service checks the permission for each file."""
    response = protocol.finish(_sender(request), request.body)
    if not request.user.has_perm("uploads.add_file"):  # the service has cancelled their uploads
        raise MayNotUpload()
    return response


def _sender(request: HttpRequest) -> Sender:
    return Sender(request_user(request))


# --- guests, below the path of the file request ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuestCall:
    """A call of a guest: the open request that its link names, and the guest's session, None before the first file."""

    http: HttpRequest
    token: str
    file_request: FileRequest
    session: GuestSession | None

    def sender(self) -> Sender:
        """Return the guest as a sender. Raises UploadNotFound without a session: such a guest has no uploads."""
        if self.session is None:
            raise UploadNotFound()
        return Sender(self.file_request.created_by, self.session, self.file_request.folder)

    def with_session(self, details: object) -> GuestCall:
        """Return this call with the guest's session, created from what the guest says of themselves."""
        session = self.session
        if session is not None and not session.is_anonymous:
            return self
        fields = guest_details(details, self.file_request)
        if session is None:
            pk = session_id(self.http, self.file_request) or uuid.uuid4()
            session = file_requests.open_session(self.file_request, pk, client_address=client_ip(self.http))
        file_requests.introduce(session, **fields)
        return GuestCall(self.http, self.token, self.file_request, session)


def guest_view(*methods: str) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Decorate a view of the protocol for guests.

    Only guests who have sent a file before may send large bodies: others would keep a thread busy with reading.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @login_not_required
        @api_view(*methods)
        @functools.wraps(view)
        def guarded(request: HttpRequest, *, token: str, **kwargs: Any) -> HttpResponse:
            file_request = find_request(request, token)
            session = find_session(request, file_request)
            if session is None and int(request.META.get("CONTENT_LENGTH") or 0) > MAX_ANONYMOUS_BODY_BYTES:
                raise TooLarge(_("The request is too large."))
            return view(GuestCall(request, token, file_request, session), **kwargs)

        guarded.guests_send_bodies = True  # type: ignore[attr-defined]
        return guarded

    return decorate


@guest_view("GET", "POST")
def guest_uploads(call: GuestCall) -> HttpResponse:
    """POST creates uploads, and the guest's session with the first; GET lists the guest's unfinished uploads."""
    if call.http.method != "POST":
        return protocol.unfinished(call.sender()) if call.session else protocol.nothing_unfinished()
    body = StartUploadsSerializer.read(call.http.body)
    call = call.with_session(body.guest)
    response = protocol.start(call.sender(), body)
    if call.session is not None:
        set_session_cookie(call.http, response, call.file_request, call.token, call.session.pk)
    return response


@guest_view("GET", "DELETE")
def guest_upload_detail(call: GuestCall, *, pk: UUID) -> HttpResponse:
    """GET returns the upload and its stored parts; DELETE cancels it."""
    handler = protocol.cancel if call.http.method == "DELETE" else protocol.status
    return handler(call.sender(), pk)


@guest_view("POST")
def sign_guest_parts(call: GuestCall, *, pk: UUID) -> HttpResponse:
    """Return presigned URLs for parts of an upload that has not expired."""
    return protocol.sign(call.sender(), pk, call.http.body)


@guest_view("POST")
def finish_guest_uploads(call: GuestCall) -> HttpResponse:
    """Complete uploads whose bytes are all sent."""
    return protocol.finish(call.sender(), call.http.body)
