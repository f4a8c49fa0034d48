"""The session engine (`SESSION_ENGINE`) and the limits on how long sessions last."""

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

STARTED_AT = "began"  # time of sign-in: the absolute limit counts from here
LAST_SEEN = "seen"
RENEW_SECONDS = 300  # a session in use is saved at this interval; the idle limit is that much less exact

SELECT_SESSION = "SELECT * FROM uploads_session WHERE session_key = %s AND expire_date > statement_timestamp()"

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class SessionStore(DatabaseStore):
    """Django's database sessions in a table with the person's id. A session deleted there has ended everywhere."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    renewed: str | None = None  # the session's data without LAST_SEEN, as of its renewal

    def renew(self, now: int) -> None:
        self[LAST_SEEN] = now
        self.renewed = self._data_without_last_seen()

    def save(self, must_create: bool = False) -> None:
        """Save the session; a renewal is postponed while the database is read-only, so that people can still read."""
        try:
            super().save(must_create=must_create)
        except UpdateError as error:
            if not is_read_only_error(error.__context__) or self.renewed != self._data_without_last_seen():
                raise
            logger.warning("session_renewal_failed")

    def _data_without_last_seen(self) -> str:
        return json.dumps({name: value for name, value in self.items() if name != LAST_SEEN})

    def _get_session_from_db(self) -> Session | None:
        """Return the unexpired session, or None. It is raw SQL because it runs with every request."""
        for session in Session.objects.raw(SELECT_SESSION, [self.session_key]):
            return session
        self._session_key = None
        return None

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        session: Any = super().create_model_instance(data)
        session.person_id = data.get(SESSION_KEY)
        return session  # type: ignore[no-any-return]


def begin(*, request: HttpRequest, **_: Any) -> None:
    """Start the session's limits at sign-in, and delete a few expired sessions."""
    request.session[STARTED_AT] = request.session[LAST_SEEN] = int(time.time())
    Session.objects.clear_expired()


class SessionLimitMiddleware:
    """End sessions at the absolute limit, and renew those in use.

    The cookie and the row expire at the idle limit. A session in use is saved every RENEW_SECONDS, not with every
    request.
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
            sign_in_events.session_expired(session[SESSION_KEY])
            session.flush()
            request.user = AnonymousUser()
        elif now - session.get(LAST_SEEN, 0) > RENEW_SECONDS:
            session.renew(now)
