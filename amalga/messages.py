"""Security headers, and a cookie for messages, that Django and django-csp do not have."""

from collections.abc import Callable

from django.conf import settings
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.messages.storage.session import SessionStorage
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


class HostCookieStorage(CookieStorage):
    """Messages in a `__Host-` cookie, which a sibling host cannot set. Django has no setting for its name."""

    cookie_name = settings.MESSAGES_COOKIE_NAME


class HostFallbackStorage(FallbackStorage):
    """Django's fallback storage with our cookie: the messages that do not fit go into the session."""

    storage_classes = (HostCookieStorage, SessionStorage)
