"""What stands before every view: unusable requests are refused, and strangers are sent to the login."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _

from amalga.log import new_request_id, request_id, trusted_request_id
from amalga.metrics import registry
from uploads.errors import Forbidden, LengthRequired, Problem, TooLarge, ValidationFailed
from uploads.models import client_ip_context
from uploads.views.health import probe
from uploads.views.responses import MethodNotAllowed, error_response, is_api_request

MAX_ANONYMOUS_BODY_BYTES = 256 * 1024  # signing in takes a few hundred
MAX_DIGITS = 18  # of a length: an exabyte, and what Python turns into a number at any time

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestIDMiddleware:
    """What a request is called stands in all that is logged of it, in its answer, and on the page when it fails."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name = _given_name(request) or new_request_id()
        request_id.set(name)
        answer = self.get_response(request)
        answer["X-Request-Id"] = name
        return answer


class HealthCheckMiddleware:
    """Balancers ask before anything can refuse them: they know neither our name nor anybody's password."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return probe(request) or self.get_response(request)


class MetricsMiddleware:
    """Each request counts under the name of its route, which says nothing of whose file it was about."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.static = f"/{settings.STATIC_URL.lstrip('/')}"

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with registry.request_timed() as answered:
            answer = self.get_response(request)
            answered.append((self._route(request), request.method or "", answer.status_code))
        return answer

    def _route(self, request: HttpRequest) -> str:
        if request.resolver_match:
            return request.resolver_match.view_name
        return "static" if request.path_info.startswith(self.static) else "none"


class RequestValidationMiddleware:
    """Answer at the door what no view can use, before anything of the body is read.

    Postgres has no NUL character, so a NUL in a path, a query or a cookie would end as a fault further
    in. Only the upload form takes a large body, and every body must say how long it is.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            _refuse_nul(request)
            _refuse_body(request)
        except Problem as problem:
            return error_response(request, problem)
        return _readable(request, self.get_response(request))


class ClientIPMiddleware:
    """Whatever a request does is recorded with the address it came from."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with client_ip_context(client_ip(request)):
            return self.get_response(request)


class APILoginRequiredMiddleware(LoginRequiredMiddleware):
    """Everything needs a login unless a view says otherwise; programs are told so in JSON."""

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase], *rest: Any
    ) -> HttpResponseBase | None:
        """No thread reads much for a stranger; what a proxy has buffered of a small body is there at once."""
        answer = super().process_view(request, view_func, *rest)
        length = int(request.META.get("CONTENT_LENGTH") or 0)
        if answer is None and length > MAX_ANONYMOUS_BODY_BYTES and not request.user.is_authenticated:
            return error_response(request, TooLarge(_("The request is too large.")))
        return answer

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase]
    ) -> HttpResponseBase:
        if is_api_request(request):
            return error_response(request, LoginNeeded())
        return super().handle_no_permission(request, view_func)

    def process_response(self, request: HttpRequest, answer: HttpResponseBase) -> HttpResponseBase:
        """What was made for one person is in no cache, neither on the way nor after signing out."""
        answer.headers.setdefault("Cache-Control", "private, no-store")
        return answer


class LoginNeeded(Forbidden):
    code = "login_required"
    status_code = 403

    def __init__(self) -> None:
        super().__init__(_("Please sign in again; your uploads go on after that."))


def client_ip(request: HttpRequest) -> str | None:
    """Who asked, behind so many proxies of our own. What stands further left in the header, anybody can write."""
    text = request.META.get("REMOTE_ADDR", "")
    if settings.PROXY_COUNT:
        told = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        text = told[-settings.PROXY_COUNT] if len(told) >= settings.PROXY_COUNT else ""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)  # sockets for both dress the one as the other


def _given_name(request: HttpRequest) -> str:
    """What a balancer of ours calls it. Without one, whoever asks would choose."""
    if not settings.PROXY_COUNT:
        return ""
    return trusted_request_id(request.META.get("HTTP_X_AMZN_TRACE_ID", ""), request.META.get("HTTP_X_REQUEST_ID", ""))


def _readable(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """Django's own "method not allowed" has no words."""
    if answer.status_code != 405 or answer.get("Content-Type", "").startswith("application/json"):
        return answer
    return error_response(request, MethodNotAllowed(tuple(answer.get("Allow", "").split(", "))))


def _refuse_nul(request: HttpRequest) -> None:
    cookies = (text for pair in request.COOKIES.items() for text in pair)
    query = unquote(request.META.get("QUERY_STRING", ""))
    if any("\x00" in text for text in (request.path, query, *cookies)):
        raise ValidationFailed(_("The address or a cookie holds a character that cannot be used."))


def _refuse_body(request: HttpRequest) -> None:
    if "HTTP_TRANSFER_ENCODING" in request.META:
        raise LengthRequired(_("The request must say how long it is (Content-Length)."))
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isascii() or not length.isdigit():
        raise ValidationFailed(_("The request does not say how long it is."))
    if len(length) > MAX_DIGITS or (
        int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE and request.path != reverse("upload")
    ):
        raise TooLarge(_("The request is too large."))
