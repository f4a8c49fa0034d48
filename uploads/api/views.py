"""The upload protocol for people who are signed in: JSON, session cookie and CSRF token."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from uploads.api import protocol
from uploads.api.protocol import Sender
from uploads.api.serializers import FindConflictsSerializer, StartUploadsSerializer
from uploads.errors import Forbidden
from uploads.views.responses import api_view, request_user


@api_view("GET", "POST", permission="uploads.add_file")
def uploads(request: HttpRequest) -> HttpResponse:
    """POST creates uploads; GET lists the user's unfinished uploads."""
    if request.method == "POST":
        return protocol.start(_sender(request), StartUploadsSerializer.read(request.body))
    return protocol.unfinished(_sender(request))


@api_view("POST", permission="uploads.add_file")
def conflicts(request: HttpRequest) -> HttpResponse:
    """Return which names exist already where files are about to be uploaded. Changes nothing."""
    return protocol.conflicts(_sender(request), FindConflictsSerializer.read(request.body))


@api_view("GET", "DELETE")
def upload_detail(request: HttpRequest, *, pk: UUID) -> HttpResponse:
    """GET returns the upload and its stored parts; DELETE cancels it."""
    handler = protocol.cancel if request.method == "DELETE" else protocol.status
    return handler(_sender(request), pk)


@api_view("POST", permission="uploads.add_file")
def sign_parts(request: HttpRequest, *, pk: UUID) -> HttpResponse:
    """Return presigned URLs for parts of an upload that has not expired."""
    return protocol.sign(_sender(request), pk, request.body)


@api_view("POST")
def finish(request: HttpRequest) -> HttpResponse:
    """Complete uploads whose bytes are all sent. The service checks the permission for each file."""
    response = protocol.finish(_sender(request), request.body)
    if not request.user.has_perm("uploads.add_file"):  # the service has cancelled their uploads
        raise Forbidden(_("You don't have permission to upload. Ask an administrator for a role."))
    return response


def _sender(request: HttpRequest) -> Sender:
    return Sender(request_user(request))
