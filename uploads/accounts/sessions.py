"""Where sessions are kept (`SESSION_ENGINE`), and how long they live."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.http import HttpRequest, HttpResponse

from amalga.db import is_read_only_error
from uploads.models import Session
from uploads.services import sign_in_events

STARTED_AT = "began"  # when somebody signed in: the absolute limit is counted from here
LAST_SEEN = "seen"
RENEW_SECONDS = 300  # a session in use is written anew so often; the idle limit is that much less exact

LAST_CHECKED = "SELECT * FROM uploads_session WHERE session_key = %s AND expire_date > statement_timestamp()"

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class SessionStore(DatabaseStore):
    """Django's own, in a table that knows the person. It is in Postgres: what ended there has ended everywhere."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    renewed: str | None = None  # all that this session holds but when it was seen, at its renewal

    def renew(self, now: int) -> None:
        self[LAST_SEEN] = now
        self.renewed = self._held()

    def save(self, must_create: bool = False) -> None:
        """A renewal that the database does not take now is left for later: who only reads can go on."""
        try:
            super().save(must_create=must_create)
        except UpdateError as fault:
            if not is_read_only_error(fault.__context__) or self.renewed != self._held():
                raise
            logger.warning("session_not_renewed")

    def _held(self) -> str:
        return json.dumps({name: value for name, value in self.items() if name != LAST_SEEN})

    def _get_session_from_db(self) -> Session | None:
        """Django's own question in SQL that nobody has to make: it is asked with every request."""
        for found in Session.objects.raw(LAST_CHECKED, [self.session_key]):
            return found
        self._session_key = None
        return None

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        session: Any = super().create_model_instance(data)
        session.person_id = data.get(SESSION_KEY)
        return session  # type: ignore[no-any-return]


def begin(*, request: HttpRequest, **_: Any) -> None:
    """Somebody signed in."""
    request.session[STARTED_AT] = request.session[LAST_SEEN] = int(time.time())
    Session.objects.clear_expired()


class SessionLimitMiddleware:
    """Sessions end a while after they were last used (their cookie and row expire), and in any case when they are old.

    One that is in use is written anew every few minutes, not with every request.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        session: Any = request.session
        if SESSION_KEY not in session:
            return
        now = int(time.time())
        if now - session.setdefault(STARTED_AT, now) > settings.SESSION_ABSOLUTE_DAYS * 24 * 3600:
            sign_in_events.session_too_old(session[SESSION_KEY])
            session.flush()
            request.user = AnonymousUser()
        elif now - session.get(LAST_SEEN, 0) > RENEW_SECONDS:
            session.renew(now)
