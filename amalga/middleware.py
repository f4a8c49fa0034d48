"""Security headers that Django and django-csp do not send."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class SecurityHeadersMiddleware:
    """Adds headers that keep other sites from loading our resources, and our pages from using camera and microphone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in settings.EXTRA_SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response
