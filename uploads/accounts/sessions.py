"""Where sessions are kept (`SESSION_ENGINE`), and how long they live."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.http import HttpRequest, HttpResponse

from uploads.models import Session
from uploads.services import presence

BEGAN = "began"  # when somebody signed in: the absolute limit is counted from here
SEEN = "seen"
RENEW_SECONDS = 300  # a session in use is written anew so often; the idle limit is that much less exact

GetResponse = Callable[[HttpRequest], HttpResponse]


class SessionStore(DatabaseStore):
    """Django's own, in a table that knows the person. It is in Postgres: what ended there has ended everywhere."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        session: Any = super().create_model_instance(data)
        session.person_id = data.get(SESSION_KEY)
        return session  # type: ignore[no-any-return]


def begin(*, request: HttpRequest, **_: Any) -> None:
    """Somebody signed in."""
    request.session[BEGAN] = request.session[SEEN] = int(time.time())
    Session.objects.clear_expired()


class LimitSessions:
    """Sessions end a while after they were last used (their cookie and row expire), and in any case when they are old.

    One that is in use is written anew every few minutes, not with every request.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        session = request.session
        if SESSION_KEY not in session:
            return
        now = int(time.time())
        if now - session.setdefault(BEGAN, now) > settings.SESSION_ABSOLUTE_DAYS * 24 * 3600:
            presence.session_too_old(session[SESSION_KEY])
            session.flush()
            request.user = AnonymousUser()
        elif now - session.get(SEEN, 0) > RENEW_SECONDS:
            session[SEEN] = now
