"""Responses and errors: JSON for programs, pages for people."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from amalga.log import request_id
from uploads.errors import Forbidden, PartsMissing, Problem

PAGES = {400, 403, 404, 405, 409, 410, 413, 429, 500, 503}
PROTOCOL_PREFIX = "/uploads/"
RETRY_SECONDS = 5


class MethodNotAllowed(Problem):
    code = "method_not_allowed"
    status_code = 405

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(_("This address takes %(allowed)s.") % {"allowed": ", ".join(allowed)})
        self.allowed = allowed


class UnsupportedMediaType(Problem):
    code = "unsupported_media_type"
    status_code = 415


def is_api_request(request: HttpRequest) -> bool:
    return request.path.startswith(PROTOCOL_PREFIX)


def error_response(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The whole answer to a request that failed as a whole."""
    if is_api_request(request):
        return with_problem_headers(JsonResponse({"error": error_json(problem)}, status=problem.status_code), problem)
    return error_page(problem.status_code, message=problem.message, problem=problem)


def error_page(code: int, *, message: str = "", problem: Problem | None = None) -> HttpResponse:
    """An error page; it asks neither the database nor the session."""
    told = {"message": message, "request_id": request_id.get()}
    body = render_to_string(f"{code if code in PAGES else 400}.html", told)
    answer = HttpResponse(body, status=code)
    if code == 503:
        answer["Retry-After"] = str(RETRY_SECONDS)
    return with_problem_headers(answer, problem) if problem else answer


def error_json(problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if isinstance(problem, PartsMissing):
        told["missing"] = problem.numbers
    return told


def no_store(answer: HttpResponse) -> HttpResponse:
    answer["Cache-Control"] = "private, no-store"
    return answer


def redirect_to_storage(url: str) -> HttpResponse:
    """Return a redirect to a presigned URL, with a head as short as can be.

    A redirect shows nothing, so it has no type and does not repeat the pages' policy: a proxy that buffers 4 KiB of a
    response's head, as nginx does by default, answers 502 to a longer one, and a long name takes 3 KB of the URL alone.
    """
    answer = HttpResponseRedirect(url)
    del answer["Content-Type"]
    answer["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"
    return no_store(answer)


def head_response(*, size: int, content_type: str, disposition: str) -> HttpResponse:
    """Return the answer to HEAD of stored bytes, as the storage answers GET (RFC 9110, 9.3.2).

    A presigned URL is good for one method: a client that followed the redirect with HEAD would get 403.
    """
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(size),
        "Content-Disposition": disposition,
        "Accept-Ranges": "bytes",
    }
    return no_store(HttpResponse(headers=headers))


def multi_status(items: list[dict[str, Any]], problems: list[Problem]) -> HttpResponse:
    """The answer about several files: 200 as soon as one went well, else what the first one met.

    202 only when all are still being completed.
    """
    if len(problems) < len(items):
        return no_store(JsonResponse({"files": items}))
    told = max(problems, key=lambda problem: problem.status_code >= 400)
    body: dict[str, Any] = {"files": items}
    if told.status_code >= 400:
        body["error"] = error_json(told)
    return with_problem_headers(JsonResponse(body, status=told.status_code), told)


def api_view(
    *methods: str, permission: str | None = None
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """A view of the protocol: its methods, the permission it takes, JSON in, problems told as JSON."""

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            try:
                if request.method not in methods:
                    raise MethodNotAllowed(methods)
                if permission and not request.user.has_perm(permission):
                    raise Forbidden(_("Your account may not upload. Ask an administrator for a role."))
                if request.method == "POST" and request.content_type != "application/json":
                    raise UnsupportedMediaType(_("Send JSON (Content-Type: application/json)."))
                return view(request, **kwargs)
            except Problem as problem:
                return error_response(request, problem)

        return guarded

    return decorate


def html_errors(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view for people: a problem becomes a readable page."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, **kwargs)
        except Problem as problem:
            return error_response(request, problem)

    return guarded


def with_problem_headers(answer: HttpResponse, problem: Problem) -> HttpResponse:
    """The answer with what its problem tells a client beside the words: when to ask again, which methods work."""
    if retry_after := getattr(problem, "retry_after", None):
        answer["Retry-After"] = str(retry_after)
    if allowed := getattr(problem, "allowed", None):
        answer["Allow"] = ", ".join(allowed)
    return no_store(answer)


def request_user(request: HttpRequest) -> User:
    """The person behind a request that the login check let through."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
