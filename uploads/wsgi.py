"""WSGI middleware in front of Django, for requests that are too many for all of its middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.core.handlers.wsgi import WSGIRequest
from django.utils.translation import get_language_from_request

from amalga import metrics
from amalga.log import LINK_PATHS
from uploads.errors import TooManyAttempts
from uploads.middleware import (
    GUESS_REFUSED_FOR,
    NO_ROUTE,
    REQUEST_ID_HEADER,
    begin_request_id,
    seconds_until_next_guess,
)
from uploads.views.responses import is_api_request

MAX_RESPONSES = 200  # a few languages, schemes and seconds to wait, for pages and for the API

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Response(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


class GuessLimitApplication:
    """Repeats the responses of GuessLimitMiddleware, so that guesses of link tokens cost members little.

    It checks the same limit for each request. A response that it does not have yet comes from Django, as all others do.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._responses: dict[tuple[object, ...], Response] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith(LINK_PATHS):
            return self._application(environ, start_response)
        request = WSGIRequest(environ.copy())  # it decodes the path in there, which Django will do again
        seconds = seconds_until_next_guess(request)
        if not seconds:
            return self._application(environ, start_response)
        key = (seconds, request.scheme, get_language_from_request(request), is_api_request(request))
        response = self._responses.get(key)
        if response is None:
            return self._call_django(key, environ, start_response)
        with metrics.request_timed() as samples:
            headers = [*response.headers, (REQUEST_ID_HEADER, begin_request_id(request))]
            start_response(response.status, headers)
            samples.append((NO_ROUTE, request.method or "", TooManyAttempts.status_code))
        return [response.body]

    def _call_django(self, key: tuple[object, ...], environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Return the response of Django, and keep it if it is one of GuessLimitMiddleware, for as many seconds."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            started.append((status, headers))
            return start_response(status, headers, *rest)

        chunks = self._application(environ, start)
        if environ.get(GUESS_REFUSED_FOR) != key[0] or len(self._responses) >= MAX_RESPONSES:
            return chunks
        body = b"".join(chunks)
        if close := getattr(chunks, "close", None):
            close()
        status, headers = started[-1]
        kept = [(name, value) for name, value in headers if name != REQUEST_ID_HEADER]
        self._responses[key] = Response(status, kept, body)
        return [body]
