"""WSGI middleware in front of Django, for requests that are too many for all of its middleware."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

from django.core.handlers.wsgi import WSGIRequest
from django.utils.translation import get_language_from_request

from amalga import metrics
from amalga.log import LINK_PATHS
from uploads.errors import TooManyAttempts
from uploads.middleware import (
    GUESS_WAIT,
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


class LinkRequest(WSGIRequest):
    """A request of which only method, path, client and language are read: the rest would take longer than all of these.

    The path is not decoded, since tokens are ASCII.
    """

    def __init__(self, environ: Environ) -> None:
        self.environ = self.META = environ
        self.path = self.path_info = environ["PATH_INFO"]
        self.method = environ["REQUEST_METHOD"].upper()


class GuessLimitApplication:
    """Refuses clients that have tried many unknown link tokens, so that guesses cost members little.

    The responses are those of GuessLimitMiddleware, which renders each of them once.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._responses: dict[tuple[object, ...], Response] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").startswith(LINK_PATHS):
            return self._application(environ, start_response)
        started_at = perf_counter()
        request = LinkRequest(environ)
        environ[GUESS_WAIT] = seconds = seconds_until_next_guess(request)
        if not seconds:
            return self._application(environ, start_response)
        key = (seconds, request.scheme, _language(request), is_api_request(request))
        response = self._responses.get(key)
        if response is None:
            return self._call_django(key, environ, start_response)
        start_response(response.status, [*response.headers, (REQUEST_ID_HEADER, begin_request_id(request))])
        metrics.count_request(NO_ROUTE, request.method or "", TooManyAttempts.status_code, started_at)
        return [response.body]

    def _call_django(self, key: tuple[object, ...], environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Return the response of Django, and keep it, for as many seconds to wait."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], *args: Any) -> Any:
            started.append((status, headers))
            return start_response(status, headers, *args)

        chunks = self._application(environ, start)
        body = b"".join(chunks)
        if close := getattr(chunks, "close", None):
            close()
        status, headers = started[-1]
        if status.startswith(str(TooManyAttempts.status_code)) and len(self._responses) < MAX_RESPONSES:
            kept = [(name, value) for name, value in headers if name != REQUEST_ID_HEADER]
            self._responses[key] = Response(status, kept, body)
        return [body]


def _language(request: WSGIRequest) -> str:
    return _negotiate_language(request.META.get("HTTP_COOKIE", ""), request.META.get("HTTP_ACCEPT_LANGUAGE", ""))


@lru_cache(maxsize=100)
def _negotiate_language(cookies: str, accepted: str) -> str:
    environ = {"HTTP_COOKIE": cookies, "HTTP_ACCEPT_LANGUAGE": accepted, "PATH_INFO": "/", "REQUEST_METHOD": "GET"}
    return get_language_from_request(LinkRequest(environ))
