"""Responses: errors as JSON for programs and as pages for people, redirects, and the messages that they show."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from csp.constants import SELF
from csp.decorators import csp_replace
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin

from amalga.log import LINK_PATHS, request_id
from uploads.actions import BulkResult
from uploads.errors import MayNotUpload, PartsMissing, Problem, StorageUnavailable
from uploads.models import Folder

View = Callable[..., HttpResponseBase]

PAGES = {400, 403, 404, 405, 409, 410, 413, 429, 500, 503}
PROTOCOL_PREFIX = "/uploads/"
GUEST_PROTOCOL = re.compile(r"/r/[^/]++/uploads/")
RETRY_SECONDS = 5
MAX_NAMES = 10
MAX_URL_CHARACTERS = 2_000


class MethodNotAllowed(Problem):
    code = "method_not_allowed"
    status_code = 405

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(_("This address accepts only %(allowed)s.") % {"allowed": ", ".join(allowed)})
        self.allowed = allowed


class UnsupportedMediaType(Problem):
    code = "unsupported_media_type"
    status_code = 415


def is_api_request(request: HttpRequest) -> bool:
    return request.path.startswith(PROTOCOL_PREFIX) or GUEST_PROTOCOL.match(request.path) is not None


def error_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Return the response to a failed request: JSON for the API, a page otherwise.

    The page leads to the library, unless the request was for a public link.
    """
    if is_api_request(request):
        return with_problem_headers(JsonResponse({"error": error_json(problem)}, status=problem.status_code), problem)
    if request.path_info.startswith(LINK_PATHS):
        return public_error_page(problem)
    message = "" if isinstance(problem, MethodNotAllowed) else problem.message  # which is for programs
    return error_page(request, problem.status_code, message=message, problem=problem)


def error_page(
    request: HttpRequest, code: int, *, message: str = "", problem: Problem | None = None, template: str = ""
) -> HttpResponse:
    """Return an error page. It uses neither the database nor the session.

    Browsers with a session get the search and the navigation; each page there checks permissions.
    """
    context = {
        "message": message,
        "request_id": request_id.get(),
        "has_session": settings.SESSION_COOKIE_NAME in request.COOKIES,
    }
    body = render_to_string(template or f"{code if code in PAGES else 400}.html", context)
    response = HttpResponse(body, status=code)
    if code == 503:
        response["Retry-After"] = str(RETRY_SECONDS)
    return with_problem_headers(response, problem) if problem else response


def public_error_page(problem: Problem) -> HttpResponse:
    """Return an error page for people without an account. It uses neither the database nor the session.

    Equal pages are rendered once in each process: guesses of links get the same one thousands of times.
    """
    body = _public_error_body(get_language() or "", _public_heading(problem), problem.message)
    return with_problem_headers(HttpResponse(body, status=problem.status_code), problem)


@functools.lru_cache(maxsize=200)
def _public_error_body(language: str, heading: str, message: str) -> bytes:
    return render_to_string("public/problem.html", {"heading": heading, "message": message}).encode()


def _public_heading(problem: Problem) -> str:
    if isinstance(problem, StorageUnavailable):
        return _("Temporarily unavailable")
    return {
        403: _("Not allowed"),
        404: _("Link not found"),
        410: _("Link no longer works"),
        413: _("Too large"),
        429: _("Too many attempts"),
    }.get(problem.status_code, _("Something went wrong"))


def error_json(problem: Problem) -> dict[str, Any]:
    error: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if isinstance(problem, PartsMissing):
        error["missing"] = problem.numbers
    return error


@dataclass(frozen=True, slots=True)
class FieldError:
    """The problem that a page shows below the field with this id, which keeps its value."""

    field: str
    value: str
    problem: Problem


def render_page(
    request: HttpRequest, template: str, context: dict[str, Any], field_error: FieldError | None = None
) -> HttpResponse:
    """Render a page, with `field_error` as the response to its form: the address stays that of the page."""
    if field_error is None:
        return render(request, template, context)
    response = render(request, template, context | {"field_error": field_error}, status=field_error.problem.status_code)
    response["HX-Push-Url"] = "false"
    return response


def render_dialog(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200, part: str = ""
) -> HttpResponse:
    """Render a page with a form, of which htmx shows the `#dialog-content` in a dialog above the current page.

    A request for `part`, the id of an element inside the dialog, gets the page as it is.
    """
    response = render(request, template, context, status=status)
    is_history = "HX-History-Restore-Request" in request.headers
    if "HX-Request" in request.headers and request.headers.get("HX-Target") != (part or None) and not is_history:
        response["HX-Retarget"], response["HX-Reselect"] = "#dialog", "#dialog-content"
        response["HX-Reswap"], response["HX-Push-Url"] = "innerHTML show:none", "false"
    return response


def no_store(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "private, no-store"
    return response


def in_own_frame(view: View) -> View:
    """Let Amalga's own pages show the response in a frame."""
    framed: View = csp_replace({"frame-ancestors": [SELF]})(view)
    return xframe_options_sameorigin(framed)


def redirect_to_storage(url: str) -> HttpResponse:
    """Return a redirect to a presigned URL, with as few headers as possible.

    A redirect shows nothing, so it has no type and does not repeat the pages' policy: a proxy that buffers 4 KiB of a
    response's head, as nginx does by default, answers 502 to a longer one, and a long name takes 3 KB of the URL alone.
    """
    response = HttpResponseRedirect(url)
    del response["Content-Type"]
    response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    return no_store(response)


def head_response(*, size: int, content_type: str, disposition: str) -> HttpResponse:
    """Return the response to HEAD of stored bytes, as the storage answers GET (RFC 9110, 9.3.2).

    A presigned URL is valid for one method: a client that followed the redirect with HEAD would get 403.
    """
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(size),
        "Content-Disposition": disposition,
        "Accept-Ranges": "bytes",
    }
    return no_store(HttpResponse(headers=headers))


def multi_status(items: list[dict[str, Any]], problems: list[Problem]) -> HttpResponse:
    """Return the response about several files: 200 if any succeeded, otherwise the status of the first error.

    202 only if all are still being completed.
    """
    if len(problems) < len(items):
        return no_store(JsonResponse({"files": items}))
    problem = max(problems, key=lambda item: item.status_code >= 400)
    body: dict[str, Any] = {"files": items}
    if problem.status_code >= 400:
        body["error"] = error_json(problem)
    return with_problem_headers(JsonResponse(body, status=problem.status_code), problem)


def api_view(
    *methods: str, adds_files: bool = False
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Decorate a view of the upload protocol: check method, permission (with `adds_files`) and content type;
    return problems as JSON.

    A view that accepts GET gets HEAD as well; the web server leaves out the body (RFC 9110, 9.3.2).
    """
    allowed = tuple(each for method in methods for each in ((method, "HEAD") if method == "GET" else (method,)))

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            try:
                if request.method not in allowed:
                    raise MethodNotAllowed(allowed)
                if adds_files and not request.user.has_perm("uploads.add_file"):
                    raise MayNotUpload()
                if request.method == "POST" and request.content_type != "application/json":
                    raise UnsupportedMediaType(_("Send JSON (Content-Type: application/json)."))
                return view(request, **kwargs)
            except Problem as problem:
                return error_response(request, problem)

        return guarded

    return decorate


def html_errors(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Decorate a view of a page: return problems as error pages."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, **kwargs)
        except Problem as problem:
            return error_response(request, problem)

    return guarded


def with_problem_headers(response: HttpResponse, problem: Problem) -> HttpResponse:
    """Add the headers of a problem to its response: Retry-After and Allow."""
    if retry_after := getattr(problem, "retry_after", None):
        response["Retry-After"] = str(retry_after)
    if allowed := getattr(problem, "allowed", None):
        response["Allow"] = ", ".join(allowed)
    return no_store(response)


def request_user(request: HttpRequest) -> User:
    """Return the user of a request that passed the login check. Raises PermissionDenied otherwise."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


# --- messages and redirects after an action ---------------------------------------------------


def next_url(request: HttpRequest, default: str | None = None) -> str:
    """Return the form's `next` if it is a path of this site, otherwise `default` or the library."""
    url = request.POST.get("next", "")
    hosts = {request.get_host()}
    is_safe = url_has_allowed_host_and_scheme(url, allowed_hosts=hosts, require_https=request.is_secure())
    if not is_safe or not url.startswith("/") or len(url) > MAX_URL_CHARACTERS:
        return default or reverse("library")
    return url


def redirect_next(request: HttpRequest, default: str | None = None) -> HttpResponseRedirect:
    return HttpResponseRedirect(next_url(request, default))


def flash_result(
    request: HttpRequest, message: str, result: BulkResult, *, unusable: int = 0, undo: bool = False, url: str = ""
) -> None:
    """Show `message` if something changed, then what did not and why. With `undo`, add a button to undo the change,
    and with `url`, a link to where it leads."""
    if result.has_changes:
        text = format_html('{} <a href="{}">{}</a>', message, url, _("Open")) if url else message
        messages.success(request, text, extra_tags=_undo_tag(result) if undo else "")
    if result.refused:
        names = ", ".join(f"“{name}”" for name in result.refused[:MAX_NAMES])
        more = len(result.refused) - MAX_NAMES
        text = _("Skipped, because you don't have permission to change them: %(names)s") % {"names": names}
        if more > 0:
            text += " " + ngettext("and %(count)s more", "and %(count)s more", more) % {"count": more}
        messages.warning(request, text)
    if result.in_use:
        messages.warning(request, in_use_message(result.in_use))
    for folder in result.unfinished:
        text = _("“%(name)s” contains many files. A background task continues with its other files.")
        messages.info(request, text % {"name": folder})
    if unknown := result.unknown + unusable:
        messages.warning(
            request,
            ngettext(
                "%(count)s item no longer exists or isn't available to you.",
                "%(count)s items no longer exist or aren't available to you.",
                unknown,
            )
            % {"count": unknown},
        )


def _undo_tag(result: BulkResult) -> str:
    """Return the id of an event of this action, with which `undo` finds the others; '' while a task still runs."""
    return str(result.events[0].pk) if result.events and not result.unfinished else ""


def in_use_message(folders: Sequence[Folder]) -> str:
    """Return why these folders did not go to the trash."""
    text = ngettext(
        "%(names)s stays: it contains files that you can't move to trash, or unfinished uploads.",
        "%(names)s stay: they contain files that you can't move to trash, or unfinished uploads.",
        len(folders),
    )
    return text % {"names": ", ".join(f"“{folder}”" for folder in folders[:MAX_NAMES])}
