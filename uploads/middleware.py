"""Middleware: request IDs, health checks, metrics, request validation, client addresses, and required login."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from amalga import metrics
from amalga.log import LINK_PATHS, new_request_id, request_id, trusted_request_id
from uploads.errors import Forbidden, LengthRequired, Problem, TooLarge, TooManyAttempts, ValidationFailed
from uploads.models import client_ip_context
from uploads.models.throttle import client_network
from uploads.services.guess_limit import LINK_GUESSES
from uploads.views.health import probe
from uploads.views.responses import MethodNotAllowed, error_response, is_api_request

MAX_ANONYMOUS_BODY_BYTES = 256 * 1024  # the sign-in form needs a few hundred bytes
GUEST_FORM = re.compile(r"/r/[^/]++/")
LINK_PATH = re.compile(rf"(?:{'|'.join(LINK_PATHS)})([^/]++)")
MAX_ADDRESS_CHARACTERS = 100  # more than any address has
MAX_DIGITS = 18  # of a Content-Length: an exabyte, and far below Python's limit for int()

REQUEST_ID_HEADER = "X-Request-Id"
NO_ROUTE = "none"  # in metrics: what middleware responds to, before a view is found
GUESS_WAIT = "amalga.guess_wait"  # in META: what uploads/wsgi.py found for this request, in seconds

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestIDMiddleware:
    """Give each request an ID for its log lines, its X-Request-Id response header and its error page."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        current_id = begin_request_id(request)
        response = self.get_response(request)
        response[REQUEST_ID_HEADER] = current_id
        return response


class HealthCheckMiddleware:
    """Answer health checks before anything can refuse them: load balancers send neither our host name nor a login."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return probe(request) or self.get_response(request)


class MetricsMiddleware:
    """Count each request by the name of its route, which does not reveal whose file it was for."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.static = f"/{settings.STATIC_URL.lstrip('/')}"

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with metrics.request_timed() as samples:
            response = self.get_response(request)
            samples.append((self._route(request), request.method or "", response.status_code))
        return response

    def _route(self, request: HttpRequest) -> str:
        if request.resolver_match:
            return request.resolver_match.view_name
        return "static" if request.path_info.startswith(self.static) else NO_ROUTE


class GuessLimitMiddleware:
    """Refuse clients that have tried many unknown link tokens, before the request costs a session or a query.

    Where GuessLimitApplication is in front, it has checked that, and this renders its responses.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(LINK_PATHS):
            return self.get_response(request)
        seconds = request.META.get(GUESS_WAIT)
        if seconds is None:
            seconds = seconds_until_next_guess(request)
        if not seconds:
            return self.get_response(request)
        with translation.override(translation.get_language_from_request(request)):
            response = error_response(request, TooManyAttempts(seconds))
        # CommonMiddleware, which comes later, would add it; without it gunicorn sends chunks
        response["Content-Length"] = str(len(response.content))
        return response


class RequestValidationMiddleware:
    """Refuse requests that no view can handle, before the body is read.

    Postgres has no NUL character, so a NUL in a path, a query or a cookie would cause an error later. Only the upload
    forms accept a large body, and the share target, which does not read it. Every body needs a Content-Length.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            _refuse_nul(request)
            _refuse_body(request)
        except Problem as problem:
            return error_response(request, problem)
        return _with_message(request, self.get_response(request))


class ClientIPMiddleware:
    """Record the client address with everything that a request does."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with client_ip_context(client_ip(request)):
            return self.get_response(request)


class APILoginRequiredMiddleware(LoginRequiredMiddleware):
    """Require a login for every view that does not opt out; API clients get the refusal as JSON."""

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase], *args: Any
    ) -> HttpResponseBase | None:
        """Refuse large bodies of anonymous clients, which would keep a thread busy with reading.

        Views with `guests_send_bodies` check that themselves, before they read, or read nothing.
        """
        response = super().process_view(request, view_func, *args)
        is_limited = not request.user.is_authenticated and not getattr(view_func, "guests_send_bodies", False)
        if response is None and is_limited and int(request.META.get("CONTENT_LENGTH") or 0) > MAX_ANONYMOUS_BODY_BYTES:
            return error_response(request, TooLarge(_("The request is too large.")))
        return response

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase]
    ) -> HttpResponseBase:
        if is_api_request(request):
            return error_response(request, LoginNeeded())
        if request.method not in {"GET", "HEAD"}:  # a form cannot be sent again by a redirect
            return redirect_to_login(_page_of_form(request))
        return super().handle_no_permission(request, view_func)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Keep responses out of all caches, on the way and after signing out: each is made for one person."""
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class LoginNeeded(Forbidden):
    code = "login_required"
    status_code = 403

    def __init__(self) -> None:
        super().__init__(_("Sign in again to resume your uploads."))


def client_ip(request: HttpRequest) -> str | None:
    """Return the client's address, behind PROXY_COUNT proxies of our own, or None if it is no address.

    Any client can forge the entries of X-Forwarded-For further to the left.
    """
    text = request.META.get("REMOTE_ADDR", "")
    if settings.PROXY_COUNT:
        addresses = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        text = addresses[-settings.PROXY_COUNT] if len(addresses) >= settings.PROXY_COUNT else ""
    return _normalized_address(text.strip()[:MAX_ADDRESS_CHARACTERS])


@functools.lru_cache(maxsize=10_000)
def _normalized_address(text: str) -> str | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)  # a dual-stack socket reports IPv4 as IPv6


def seconds_until_next_guess(request: HttpRequest) -> int:
    """Return in how many seconds this client may open the link of this path, which can be a guess: 0 for now."""
    token = path.group(1) if (path := LINK_PATH.match(request.path_info)) else ""
    return LINK_GUESSES.seconds_to_wait(client_network(client_ip(request)), token)


def begin_request_id(request: HttpRequest) -> str:
    """Return the ID of this request, and use it in its log lines."""
    current_id = _incoming_request_id(request) or new_request_id()
    request_id.set(current_id)
    return current_id


def _incoming_request_id(request: HttpRequest) -> str:
    """Return the request ID set by a load balancer of ours; empty without one, since clients could choose any."""
    if not settings.PROXY_COUNT:
        return ""
    return trusted_request_id(request.META.get("HTTP_X_AMZN_TRACE_ID", ""), request.META.get("HTTP_X_REQUEST_ID", ""))


def _page_of_form(request: HttpRequest) -> str:
    """Return path and query of the page that sent this form, or the library's path if Referer names no page of ours."""
    try:
        referer = urlsplit(request.META.get("HTTP_REFERER", ""))
    except ValueError:
        return reverse("library")
    is_ours = referer.netloc == request.get_host() and referer.path.startswith("/")
    return urlunsplit(("", "", referer.path, referer.query, "")) if is_ours else reverse("library")


def _with_message(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Give Django's empty "method not allowed" response a message."""
    if response.status_code != 405 or response.get("Content-Type", "").startswith("application/json"):
        return response
    return error_response(request, MethodNotAllowed(tuple(response.get("Allow", "").split(", "))))


def _refuse_nul(request: HttpRequest) -> None:
    cookies = (text for pair in request.COOKIES.items() for text in pair)
    query = unquote(request.META.get("QUERY_STRING", ""))
    if any("\x00" in text for text in (request.path, query, *cookies)):
        raise ValidationFailed(_("The address or a cookie contains an invalid character."))


def _refuse_body(request: HttpRequest) -> None:
    if "HTTP_TRANSFER_ENCODING" in request.META:
        raise LengthRequired(_("The request must have a Content-Length header."))
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isascii() or not length.isdigit():
        raise ValidationFailed(_("The Content-Length header is invalid."))
    if len(length) > MAX_DIGITS or (
        int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE and not _may_have_large_body(request.path)
    ):
        raise TooLarge(_("The request is too large."))


def _may_have_large_body(path: str) -> bool:
    return path in {reverse("upload"), reverse("share_target")} or GUEST_FORM.fullmatch(path) is not None


class SecurityHeadersMiddleware:
    """Adds headers that keep other sites from loading our resources, and our pages from using camera and microphone.

    Responses to public links, errors among them, also stay out of search engines, caches and the Referer of requests to
    other sites: their addresses contain tokens.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in settings.EXTRA_SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        if request.path_info.startswith(LINK_PATHS):
            response["X-Robots-Tag"] = "noindex, nofollow"
            response.headers.setdefault("Referrer-Policy", "no-referrer")  # pages with forms set another
            response["Cache-Control"] = "private, no-store"
        return response
