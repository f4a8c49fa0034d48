"""File requests: members create, list and close them; guests, people without an account, upload files.

A guest's session is a signed cookie for the paths of one request, and a row. The page sets the cookie, with the id of a
session. The row is created with the first file, so that opening the page costs nothing, and two calls at once that send
first files have the same session.
"""

from __future__ import annotations

import re
import uuid
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads import services
from uploads.api.serializers import MAX_FILES
from uploads.errors import Forbidden, Problem, TooLarge, UploadNotFound
from uploads.forms import FileRequestForm, GuestForm, UploadForm
from uploads.humanize import humanize_bytes
from uploads.listing import visible_folder_ids
from uploads.middleware import client_ip
from uploads.models import File, FileRequest, Folder, GuestSession, Visibility, display_name
from uploads.services import StreamingUpload, file_requests
from uploads.services.slow_clients import GUEST_FORMS, SenderWatch
from uploads.views.form_upload import Outcomes, S3UploadHandler, common_problem, form_bytes, renew
from uploads.views.library import breadcrumbs
from uploads.views.links import find_link, public_view, render_form
from uploads.views.responses import html_errors, no_store, request_user, with_problem_headers

MAX_LISTED = 200


@require_safe
@html_errors
def file_request_list(request: HttpRequest) -> HttpResponse:
    """List the user's file requests, newest first; managers see everyone's."""
    user = request_user(request)
    rows = FileRequest.objects.all().visible_to(user).select_related("folder", "created_by")
    requests = list(rows.order_by("-created_at", "-id")[:MAX_LISTED])
    visible = visible_folder_ids({row.folder_id for row in requests}, user)
    context = {"requests": [(row, row.folder_id in visible) for row in requests], "user_id": user.pk}
    return render(request, "uploads/file_requests.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@html_errors
def request_files(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form of a file request for this folder, then its link, which is shown once."""
    user = request_user(request)
    folder = get_object_or_404(Folder.objects.visible_to(user), pk=pk)
    if not file_requests.can_request(folder, user):
        raise Forbidden(_("You don't have permission to request files for this folder."))
    form = FileRequestForm(request.POST) if request.method == "POST" else FileRequestForm()
    context = {"folder": folder, "crumbs": breadcrumbs(user, folder), "form": form}
    if request.method != "POST":
        return render(request, "uploads/request_files.html", context)
    if not form.is_valid():
        return render(request, "uploads/request_files.html", context, status=400)
    file_request, token = file_requests.create(folder, by=user, **form.cleaned_data)
    context |= {"file_request": file_request, "link": request.build_absolute_uri(reverse("guest_upload", args=[token]))}
    return no_store(render(request, "uploads/file_request_created.html", context))


@require_POST
@html_errors
def close_file_request(request: HttpRequest, pk: int) -> HttpResponse:
    user = request_user(request)
    file_request = get_object_or_404(FileRequest.objects.all().visible_to(user).select_related("folder"), pk=pk)
    if file_requests.close(file_request, by=user):
        messages.success(request, _("Closed the file request “%(title)s”.") % {"title": file_request.title})
    return redirect("file_requests")


# --- the page for guests: the uploader, or a form without JavaScript ---------------------------------

MAX_SENT = 200
SALT = "amalga.guest"
MAX_AGE_SECONDS = file_requests.SESSION_DAYS * 24 * 3600
SESSION_ID = re.compile(r"[0-9a-f]{32}")


@csrf_exempt  # the middleware's check would read the body before the upload handler is set
@require_http_methods(["GET", "HEAD", "POST"])
@public_view
def guest_upload(request: HttpRequest, token: str) -> HttpResponse:
    """Show the page of a file request, and receive the files of its form.

    The link, the request's origin and its length are checked before a byte is read. The CSRF token is inside the body;
    no file becomes available before it is checked.
    """
    file_request = find_request(request, token)
    session = find_session(request, file_request)
    if request.method != "POST":
        return _page(request, token, file_request, session)
    _require_room(request, file_request)
    if session is None:  # before the body is read, which has the guest's name
        pk = session_id(request, file_request) or uuid.uuid4()
        session = file_requests.open_session(file_request, pk, client_address=client_ip(request))
    watch = SenderWatch(request.META.get("gunicorn.socket"))
    sender = StreamingUpload(file_request.created_by, guest=session)
    with GUEST_FORMS.acquire(file_request), sender as receiver, watch:
        request.upload_handlers = [S3UploadHandler(request, receiver, watch)]
        return _receive(request, token, receiver, session)


guest_upload.guests_send_bodies = True  # type: ignore[attr-defined]


@require_POST
@public_view
def cancel_guest_upload(request: HttpRequest, token: str, pk: UUID) -> HttpResponse:
    """Cancel an unfinished upload of this guest."""
    file_request = find_request(request, token)
    session = find_session(request, file_request)
    rows = File.objects.uploads_of(file_request.created_by, session) if session else File.objects.none()
    file = rows.unfinished().filter(pk=pk).first()
    if session is None or file is None:
        raise UploadNotFound()
    services.cancel(file, by=session)
    return redirect("guest_upload", token=token)


@csrf_protect
def _receive(request: HttpRequest, token: str, receiver: StreamingUpload, session: GuestSession) -> HttpResponse:
    file_request: FileRequest = receiver.request  # type: ignore[assignment]
    form = UploadForm(request.POST)
    guest_form = GuestForm(request.POST, request=file_request) if session.is_anonymous else None
    if guest_form is not None and guest_form.is_valid():
        file_requests.introduce(session, **guest_form.details())
    if not form.is_valid():
        renew(form)
    elif not receiver.files:
        form.add_error("files", _("Choose at least one file."))
    if not form.is_valid() or (guest_form is not None and not guest_form.is_valid()):
        return _page(request, token, file_request, session, form, guest_form, status=400)
    place = receiver.in_folder(file_request.folder, Visibility.TEAM)
    outcomes = receiver.publish(submission=form.cleaned_data["submission"], place=place)
    problem = common_problem(outcomes)
    status = problem.status_code if problem else 200
    response = _page(request, token, file_request, session, outcomes=outcomes, status=status)
    return with_problem_headers(response, problem) if problem else response


def _page(
    request: HttpRequest,
    token: str,
    file_request: FileRequest,
    session: GuestSession | None,
    form: UploadForm | None = None,
    guest_form: GuestForm | None = None,
    *,
    outcomes: Outcomes = (),
    status: int = 200,
) -> HttpResponse:
    failed = [(name, outcome.message) for name, outcome in outcomes if isinstance(outcome, Problem)]
    context: dict[str, Any] = {
        "file_request": file_request,
        "recipient": display_name(file_request.created_by),
        "session": session,
        "form": form or UploadForm(),
        "guest_form": guest_form or GuestForm(request=file_request)
        if session is None or session.is_anonymous
        else None,
        "sent": file_requests.sent_files(session, limit=MAX_SENT) if session else [],
        "failed": failed,
        "stored": len(outcomes) - len(failed),
        "token": token,
        "uploads_url": reverse("guest_uploads", args=[token]),
        "finish_url": reverse("guest_finish", args=[token]),
        "accepted_types": file_requests.describe_types(file_request.accepted_types),
        "max_file_bytes": min(file_request.max_file_bytes, settings.UPLOAD_MAX_BYTES),
        "uploader": {
            "max_bytes": settings.UPLOAD_MAX_BYTES,
            "part_bytes": settings.UPLOAD_PART_BYTES,
            "max_files_per_call": MAX_FILES,
        },
    }
    response = render_form(request, "public/file_request.html", context, status=status)
    set_session_cookie(request, response, file_request, token, session.pk if session else uuid.uuid4())
    return response


def _require_room(request: HttpRequest, file_request: FileRequest) -> None:
    max_bytes = min(settings.UPLOAD_MAX_BYTES, file_request.remaining_bytes)
    if form_bytes(request) > max_bytes:
        raise TooLarge(
            _("The files are too large. Only %(size)s is left.") % {"size": humanize_bytes(max(0, max_bytes))}
        )


# --- the guest's session ---------------------------------------------------------------------------


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
