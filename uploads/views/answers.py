"""How problems are told: as JSON to programs, as a page to people."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from amalga.logs import request_id
from uploads.errors import Forbidden, PartsMissing, Problem

STATUSES = {
    "bad_request": 400,
    "bad_digest": 400,
    "forbidden": 403,
    "login_required": 403,
    "csrf": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "wrong_state": 409,
    "conflict": 409,
    "parts_missing": 409,
    "gone": 410,
    "expired": 410,
    "bytes_missing": 410,
    "object_archived": 409,
    "object_refused": 409,
    "length_required": 411,
    "too_large": 413,
    "over_quota": 413,
    "unsupported_media_type": 415,
    "refused_type": 415,
    "refused_encoding": 415,
    "too_many_attempts": 429,
    "throttled": 429,
    "timeout": 408,
    "completing": 202,
    "server_error": 500,
    "unavailable": 503,
}
PAGES = {400, 403, 404, 405, 409, 410, 413, 429, 500, 503}
PROTOCOL_PREFIX = "/uploads/"
RETRY_SECONDS = 5


class MethodNotAllowed(Problem):
    code = "method_not_allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(_("This address takes %(allowed)s.") % {"allowed": ", ".join(allowed)})
        self.allowed = allowed


class UnsupportedMediaType(Problem):
    code = "unsupported_media_type"


def is_protocol(request: HttpRequest) -> bool:
    return request.path.startswith(PROTOCOL_PREFIX)


def refusal(request: HttpRequest, problem: Problem) -> HttpResponse:
    """The whole answer to a request that failed as a whole."""
    if is_protocol(request):
        return with_headers(JsonResponse({"error": as_json(problem)}, status=status(problem)), problem)
    return page(status(problem), message=problem.message, problem=problem)


def page(code: int, *, message: str = "", problem: Problem | None = None) -> HttpResponse:
    """An error page; it asks neither the database nor the session."""
    told = {"message": message, "request_id": request_id.get()}
    body = render_to_string(f"{code if code in PAGES else 400}.html", told)
    answer = HttpResponse(body, status=code)
    if code == 503:
        answer["Retry-After"] = str(RETRY_SECONDS)
    return with_headers(answer, problem) if problem else answer


def as_json(problem: Problem) -> dict[str, Any]:
    told: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if isinstance(problem, PartsMissing):
        told["missing"] = problem.numbers
    return told


def status(problem: Problem) -> int:
    return STATUSES[problem.code]


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


def batch(items: list[dict[str, Any]], problems: list[Problem]) -> HttpResponse:
    """The answer about several files: 200 as soon as one went well, else what the first one met.

    202 only when all are still being completed.
    """
    if len(problems) < len(items):
        return no_store(JsonResponse({"files": items}))
    told = max(problems, key=lambda problem: status(problem) >= 400)
    body: dict[str, Any] = {"files": items}
    if status(told) >= 400:
        body["error"] = as_json(told)
    return with_headers(JsonResponse(body, status=status(told)), told)


def protocol_view(
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
                return refusal(request, problem)

        return guarded

    return decorate


def told_on_a_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A view for people: a problem becomes a readable page."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, **kwargs)
        except Problem as problem:
            return refusal(request, problem)

    return guarded


def with_headers(answer: HttpResponse, problem: Problem) -> HttpResponse:
    """The answer with what its problem tells a client beside the words: when to ask again, which methods work."""
    if retry_after := getattr(problem, "retry_after", None):
        answer["Retry-After"] = str(retry_after)
    if allowed := getattr(problem, "allowed", None):
        answer["Allow"] = ", ".join(allowed)
    return no_store(answer)
