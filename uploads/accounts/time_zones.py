"""The time zone in which a person reads times: the one they chose, or else that of their browser."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from uploads.models import Preference

SESSION_KEY = "time_zone"


class TimeZoneMiddleware:
    """Show times in the person's zone, and in UTC where neither person nor browser names one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return self.get_response(request)
        finally:
            timezone.deactivate()

    def process_view(self, request: HttpRequest, *_: object) -> None:
        """Not earlier: error pages work without the database, which has the session."""
        name = request.session.get(SESSION_KEY) or request.COOKIES.get(settings.TIME_ZONE_COOKIE_NAME, "")
        if name in names():
            timezone.activate(ZoneInfo(name))


@cache
def names() -> frozenset[str]:
    """Return the names of places, without aliases such as "EST" or "Etc/GMT+5"."""
    zones = available_timezones()
    return frozenset({"UTC", *(name for name in zones if "/" in name and not name.startswith(("Etc/", "SystemV/")))})


def load(session: SessionBase, user: User) -> None:
    """Copy the person's choice into a session that begins, so that requests need no query."""
    if name := Preference.objects.time_zone_name(user):
        session[SESSION_KEY] = name


def choose(session: SessionBase, user: User, name: str) -> None:
    """Save the zone that the person chose; empty for that of their browser."""
    Preference.objects.update_or_create(user=user, defaults={"time_zone": name})
    session[SESSION_KEY] = name
