"""Headers that Django and django-csp do not send by themselves."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class SecurityHeadersMiddleware:
    """Nobody else's page may load anything of ours, and no page of ours may use what a device can see and hear."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        for name, value in settings.EXTRA_SECURITY_HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer
