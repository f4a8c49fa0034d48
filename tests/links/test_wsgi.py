"""The WSGI application repeats the responses to throttled guesses of links without Django."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import RequestFactory

from amalga import metrics
from amalga.log import LINK_PATHS
from tests.links.conftest import Shared
from uploads import wsgi
from uploads.middleware import GUESS_WAIT
from uploads.models import File, ShareLink
from uploads.services.guess_limit import LINK_GUESSES
from uploads.wsgi import GuessLimitApplication

pytestmark = pytest.mark.django_db

ADDRESS = "203.0.113.9"
GUESS = f"/s/{'y' * 32}/"
UPLOADS = f"/r/{'y' * 32}/uploads/"


class Server:
    """Sends requests to a GuessLimitApplication, and counts those that reach Django."""

    def __init__(self) -> None:
        self.django = WSGIHandler()
        self.application = GuessLimitApplication(self._call_django)
        self.seen: list[dict[str, Any]] = []

    def _call_django(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.seen.append(environ)
        response: Iterable[bytes] = self.django(environ, start_response)
        return response

    def get(self, path: str, *, method: str = "GET", **extra: Any) -> tuple[int, dict[str, str], bytes]:
        return self.send({**RequestFactory(REMOTE_ADDR=ADDRESS).generic(method, path).environ, **extra})

    def send(self, environ: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        started: list[Any] = []
        chunks = self.application(environ, lambda *arguments: started.append(arguments))
        body = b"".join(chunks)
        if close := getattr(chunks, "close", None):
            close()
        [(status, headers)] = started
        return int(status[:3]), dict(headers), body


@pytest.fixture
def server() -> Iterator[Server]:
    """Django's signals around a request would close the connection of the test."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield Server()
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def throttled(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server whose limit has no guess left, for 6 seconds at any time."""
    now = time.monotonic()
    monkeypatch.setattr("uploads.services.guess_limit.time.monotonic", lambda: now)
    for number in range(20):
        LINK_GUESSES.count_miss(ADDRESS, f"{number:032}")
    return server


def without_id(response: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = response
    return status, {name: value for name, value in headers.items() if name != "X-Request-Id"}, body


@pytest.mark.filterwarnings("ignore:No directory at")  # static files are collected when a site starts
def test_gunicorn_serves_the_application_with_the_limit() -> None:
    from amalga.wsgi import application

    assert isinstance(application, GuessLimitApplication)


@pytest.mark.parametrize("path", [GUESS, UPLOADS, f"/invitations/{'y' * 32}/", f"/accounts/reset/{'y' * 32}/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_repeated_response_is_that_of_django(path: str, method: str, throttled: Server) -> None:
    first, second = (throttled.get(path, method=method) for _each in range(2))
    assert len(throttled.seen) == 1
    assert (first[0], first[1]["Retry-After"]) == (429, "6")
    assert without_id(first) == without_id(second)
    assert first[1]["X-Request-Id"] != second[1]["X-Request-Id"]


def test_response_depends_on_language_and_scheme_and_is_json_for_the_api(throttled: Server) -> None:
    cookie = f"{settings.LANGUAGE_COOKIE_NAME}=es"
    variants: list[tuple[str, dict[str, str]]] = [
        (GUESS, {}),
        (GUESS, {"HTTP_ACCEPT_LANGUAGE": "es"}),
        (GUESS, {"HTTP_COOKIE": cookie}),
        (GUESS, {"wsgi.url_scheme": "https"}),
        (UPLOADS, {}),
    ]
    for path, extra in [*variants, *variants]:
        expected = Server().get(path, **extra)  # which has no responses yet
        assert without_id(throttled.get(path, **extra)) == without_id(expected), (path, extra)
    assert len(throttled.seen) == 4  # the two in Spanish are equal


def test_refused_guesses_are_counted(throttled: Server) -> None:
    counter = metrics.REQUESTS.labels("none", "GET", 429)
    before = counter._value.get()
    for _each in range(3):
        throttled.get(GUESS)
    assert counter._value.get() == before + 3


def test_opened_link_reaches_django(throttled: Server, file: File, shared: Shared) -> None:
    _link, url = shared(file)
    LINK_GUESSES.count_visit("198.51.100.1", url.split("/")[2])
    assert [throttled.get(each)[0] for each in (GUESS, url, url)] == [429, 200, 200]


@pytest.mark.parametrize("path", [GUESS, "/s/\xc3\xa9\xff\xe2\x82\xac/", "/s/", "/s", "", "/folders/1/"])
def test_request_of_other_clients_reaches_django_unchanged(path: str) -> None:
    environ = {**RequestFactory().get("/").environ, "PATH_INFO": path}
    expected = dict(environ)
    application = GuessLimitApplication(lambda environ, _start: [repr(environ == expected).encode()])
    if path.startswith(LINK_PATHS):
        expected[GUESS_WAIT] = 0
    assert application(environ, print) == [b"True"]


def test_limit_is_checked_once(throttled: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = iter([0, 6])
    monkeypatch.setattr(LINK_GUESSES, "seconds_to_wait", lambda *_arguments: next(waits))
    assert [throttled.get(GUESS)[0] for _each in range(2)] == [404, 429]


def test_client_cannot_set_the_result_of_the_check(throttled: Server) -> None:
    for header in ("HTTP_AMALGA_GUESS_WAIT", "HTTP_AMALGA.GUESS_WAIT"):
        assert throttled.get(GUESS, **{header: "0"})[0] == 429


def test_other_refusals_are_not_kept(server: Server, file: File, shared: Shared) -> None:
    link, url = shared(file)
    ShareLink.objects.filter(pk=link.pk).update(password=make_password("password"))
    statuses = [server.get(url, HTTP_AUTHORIZATION="Basic Ondyb25n")[0] for _each in range(7)]
    assert (statuses[0], statuses[-1]) == (200, 429)
    assert server.get(url)[0] == 200
    assert len(server.seen) == 8


def test_body_of_a_refused_request_is_not_read(throttled: Server) -> None:
    class Unreadable(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError

    throttled.get(GUESS)
    environ = RequestFactory(REMOTE_ADDR=ADDRESS).post(GUESS, b"x" * 100, content_type="text/plain").environ
    assert throttled.send({**environ, "wsgi.input": Unreadable()})[0] == 429


def test_number_of_kept_responses_is_bounded(throttled: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wsgi, "MAX_RESPONSES", 1)
    for path in (GUESS, UPLOADS, UPLOADS, GUESS):
        assert throttled.get(path)[0] == 429
    assert len(throttled.seen) == 3
