"""The upload form without JavaScript, whose body streams to the storage while it is read; and unfinished uploads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, cast
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.core.files.uploadhandler import FileUploadHandler, SkipFile, StopUpload
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParser
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from uploads import services
from uploads.errors import Conflict, Forbidden, MayNotUpload, Problem, TooLarge, ValidationFailed
from uploads.forms import UploadForm, find_folder
from uploads.humanize import humanize_bytes
from uploads.listing import as_path, breadcrumbs_for
from uploads.models import File, Folder, SameName, Usage, Visibility
from uploads.names import clean_name, clean_type, split_extension
from uploads.services import StreamingUpload
from uploads.services.slow_clients import FORMS, SenderWatch
from uploads.views.presenters import folder_path
from uploads.views.responses import error_response, html_errors, request_user, with_problem_headers

OVERHEAD_BYTES = 128 * 1024  # boundaries, headers and small fields around a hundred files

Outcomes = Sequence[tuple[str, File | Problem]]


class RejectFilesHandler(FileUploadHandler):
    """Stop reading a request at its first file: every page except the upload form uses this handler."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise StopUpload(connection_reset=True)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        raise StopUpload(connection_reset=True)

    def file_complete(self, file_size: int) -> None:
        return None


class FormParser(MultiPartParser):
    """Django's parser without its cleaning of file names, which `clean_name` does.

    Browsers escape three characters of a name (WHATWG, "multipart/form-data encoding algorithm").
    """

    def sanitize_file_name(self, file_name: str) -> str | None:
        return file_name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n") or None


class CountingReader:
    """A request body that counts its bytes, to detect one that ends early, and that stops a sender that is too slow."""

    def __init__(self, stream: Any, watch: SenderWatch) -> None:
        self.stream = stream
        self.watch = watch
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        self.watch.begin()
        data: bytes = self.stream.read(size)
        self.watch.end(len(data))
        self.count += len(data)
        return data


class S3UploadHandler(FileUploadHandler):
    """Pass every file of the form to a StreamingUpload while the body is read."""

    chunk_size = 256 * 1024

    def __init__(self, request: HttpRequest, receiver: StreamingUpload, watch: SenderWatch) -> None:
        super().__init__(request)
        self.receiver = receiver
        self.body = CountingReader(request, watch)
        self.length = int(request.META.get("CONTENT_LENGTH") or 0)
        self.parsing = False

    def handle_raw_input(self, input_data: Any, META: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N803
        """Parse with unchanged file names. Raises BadRequest if the body is shorter than its Content-Length."""
        if self.parsing:
            return None
        self.parsing = True
        self.body = CountingReader(input_data, self.body.watch)
        parsed = FormParser(META, cast(Any, self.body), [self], settings.DEFAULT_CHARSET).parse()
        if self.body.count < self.length:
            raise BadRequest("the body ended early")
        return parsed

    def new_file(self, field_name: str, file_name: str, content_type: str, *args: Any, **kwargs: Any) -> None:
        # the parser reads ahead by up to two chunks, so some of the counted bytes belong to this file
        max_bytes = min(self.length, self.length - self.body.count + 2 * self.chunk_size)
        self.receiver.begin(name=clean_name(file_name), declared_type=clean_type(content_type), max_bytes=max_bytes)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        try:
            self.receiver.write(raw_data)
        except Problem as problem:
            self.receiver.fail(problem)
            raise SkipFile from problem

    def file_complete(self, file_size: int) -> None:
        try:
            self.receiver.end()
        except Problem as problem:
            self.receiver.fail(problem)


@csrf_exempt  # the middleware's check would read the body before the upload handler is set
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """Show the form, and receive its files.

    The user, their permission, the request's origin and its length are checked before a byte is read. The CSRF token
    is inside the body; no file becomes available before it is checked.
    """
    try:
        _require_permission(request)
        if request.method != "POST":
            return _form(request, UploadForm())
        _require_room(request)
        sender = request_user(request)
        watch = SenderWatch(request.META.get("gunicorn.socket"))
        with FORMS.acquire(sender), StreamingUpload(sender) as receiver, watch:
            request.upload_handlers = [S3UploadHandler(request, receiver, watch)]
            return _receive(request, receiver)
    except Problem as problem:
        return error_response(request, problem)


@csrf_protect
def _receive(request: HttpRequest, receiver: StreamingUpload) -> HttpResponse:
    form = UploadForm(request.POST)
    if not form.is_valid():
        return _form(request, renew(form), status=400)
    if not receiver.files:
        form.add_error("files", _("Choose at least one file."))
        return _form(request, form, status=400)
    replaced = _file_to_replace(request, form.cleaned_data["replaces"])
    extension = _other_extension(replaced, receiver) if replaced else ""
    if replaced and extension not in {"", form.cleaned_data["other_extension"]}:
        return _confirmation_page(request, replaced, receiver.files[0].name, extension)
    target = receiver.as_version(replaced) if replaced else _target_folder(request, receiver, form.cleaned_data)
    submission: UUID = form.cleaned_data["submission"]
    same_name = None if form.cleaned_data["replaces"] else form.cleaned_data["same_name"]
    outcomes = receiver.publish(
        submission=submission, place=target, same_name=SameName(same_name) if same_name else None
    )
    return _results_page(request, outcomes, target.get("folder"))


def renew(form: UploadForm) -> UploadForm:
    """Return the form with a new `submission` id. Users type nothing into it, so an invalid form is an old one."""
    form.add_error("files", _("This form has expired. Reload the page and choose the files again."))
    form.data = {**form.data, "submission": str(uuid4())}
    return form


def _file_to_replace(request: HttpRequest, pk: UUID | None) -> File | None:
    """Return the file that gets a new version, or None. Raises Forbidden if the user may not see or change it."""
    if pk is None:
        return None
    file = File.objects.changeable_by(request.user).listed().by_permanent_id(pk).first()
    if file is None:
        raise Forbidden(_("The file to replace doesn't exist, or you don't have permission to change it."))
    return file


def _other_extension(file: File, receiver: StreamingUpload) -> str:
    """Return the extension of the only file that was sent, in lower case, if the file to replace has another one; ""
    if it has the same. A name without an extension counts as one with a dot."""
    if len(receiver.files) != 1:
        return ""
    old, new = (split_extension(name)[1].lower() or "." for name in (file.name, receiver.files[0].name))
    return new if new != old else ""


def _confirmation_page(request: HttpRequest, file: File, name: str, extension: str) -> HttpResponse:
    """Ask before a file is replaced by one of another type, since its name stays. The bytes have to be sent again."""
    form = UploadForm(initial={"replaces": file.permanent_id, "other_extension": extension})
    context = {"file": file, "form": form, "new_name": name}
    return render(request, "uploads/replace_file.html", context, status=Conflict.status_code)


def _target_folder(request: HttpRequest, receiver: StreamingUpload, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the folder that the files go to. Raises Problem if the user may not see or change it."""
    missing = _("This folder no longer exists. Choose another one and upload the files again.")
    folder = find_folder(str(data["folder"] or ""), request.user, missing=missing)
    return receiver.in_folder(folder, Visibility.PRIVATE if data["private"] else Visibility.TEAM)


def _results_page(request: HttpRequest, outcomes: Outcomes, folder: Folder | None) -> HttpResponse:
    results = [
        {
            "name": name,
            "file": outcome if isinstance(outcome, File) else None,
            "error": outcome.message if isinstance(outcome, Problem) else None,
            "skipped": isinstance(outcome, Conflict),
        }
        for name, outcome in outcomes
    ]
    stored = sum(isinstance(outcome, File) for _name, outcome in outcomes)
    context = {"results": results, "stored": stored, "total": len(outcomes), "folder": folder}
    problem = common_problem(outcomes)
    response = render(request, "uploads/upload_result.html", context, status=problem.status_code if problem else 200)
    return with_problem_headers(response, problem) if problem else response


def common_problem(outcomes: Outcomes) -> Problem | None:
    """Return the first problem if no file was stored: its status is that of the response."""
    problems = [outcome for _name, outcome in outcomes if isinstance(outcome, Problem)]
    return problems[0] if problems and len(problems) == len(outcomes) else None


def _form(request: HttpRequest, form: UploadForm, *, status: int = 200) -> HttpResponse:
    limits = {"max_bytes": settings.UPLOAD_MAX_BYTES, "refused": settings.UPLOAD_REFUSED_TYPES}
    context = {"form": form, "limits": limits, **_folder_context(request)}
    return render(request, "uploads/upload.html", context, status=status)


def _folder_context(request: HttpRequest) -> dict[str, Any]:
    """Return the context of the target folder from the form or the query string; empty for the top level."""
    data = request.POST if request.method == "POST" else request.GET
    folder = find_folder(data.get("folder"), request.user)
    if folder is None:
        return {}
    path = breadcrumbs_for(request_user(request), [folder.pk])[folder.pk]
    return {"folder": folder, "way": folder_path(path), "path": as_path(path)}


def _require_permission(request: HttpRequest) -> None:
    if not request.user.has_perm("uploads.add_file"):
        raise MayNotUpload()


def form_bytes(request: HttpRequest) -> int:
    """Return the size of the form's files, by its length, before its body is read. Raises ValidationFailed."""
    if not (request.content_type or "").startswith("multipart/form-data"):
        raise ValidationFailed(_("Send the files as a form (multipart/form-data)."))
    return int(request.META.get("CONTENT_LENGTH") or 0) - OVERHEAD_BYTES


def _require_room(request: HttpRequest) -> None:
    usage = Usage.objects.filter(owner=request_user(request)).first() or Usage()
    available = usage.max_bytes - usage.bytes
    if form_bytes(request) > min(settings.UPLOAD_MAX_BYTES, available):
        raise TooLarge(
            _("Upload too large. You can upload at most %(most)s at a time.")
            % {"most": humanize_bytes(max(0, min(settings.UPLOAD_MAX_BYTES, available)))}
        )


# --- unfinished uploads, of the form and of the uploader ---

MAX_UNFINISHED = 200


@require_safe
def unfinished(request: HttpRequest) -> HttpResponse:
    """List the user's unfinished uploads, newest first."""
    user = request_user(request)
    files = list(File.objects.uploads_of(user).unfinished().order_by("-created_at")[:MAX_UNFINISHED])
    paths = breadcrumbs_for(user, (file.folder_id for file in files if file.folder_id))
    rows = [(file, folder_path(paths.get(file.folder_id or 0, []))) for file in files]
    return render(request, "uploads/unfinished.html", {"files": rows})


@require_POST
@html_errors
def cancel_upload(request: HttpRequest, pk: UUID) -> HttpResponse:
    file = get_object_or_404(File.objects.uploads_of(request.user).unfinished(), pk=pk)
    services.cancel(file, by=request_user(request))
    messages.success(request, _("Canceled the upload of “%(name)s”.") % {"name": file.name})
    return redirect("unfinished")
