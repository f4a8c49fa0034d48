"""Sessions: how they are loaded, how long they last, and the list of a person's sessions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from amalga.db import is_read_only_error
from uploads.services import sign_in_events

STARTED_AT = "began"  # time of sign-in: the absolute limit counts from here
LAST_SEEN = "seen"
OUTAGE_STATUS = 503
RENEW_SECONDS = 300  # a session in use is saved at this interval; the idle limit is that much less exact

LOAD_SQL = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"

logger = logging.getLogger(__name__)


class SessionStore(DatabaseSessionStore):
    """Django's sessions in the database, loaded without building a query: every request loads one.

    Building it took a tenth of the CPU time of a download's redirect.
    """

    def load(self) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(LOAD_SQL, [self.session_key, timezone.now()])
            row = cursor.fetchone()
        # Django's own discards the key of a session that does not exist
        data: dict[str, Any] = self.decode(row[0]) if row else super().load()
        return data


class SessionLimitMiddleware:
    """End sessions at the absolute limit, and renew those in use.

    The cookie and the row expire at the idle limit. A session in use is saved every RENEW_SECONDS, not with every
    request.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        session = request.session
        key = session.session_key
        response = self.get_response(request)
        if response.status_code == OUTAGE_STATUS:  # a session that could not be loaded would wait once more
            return response
        if session.session_key not in {key, None} and request.user.is_authenticated:
            # Django also gives new keys to sessions that stay: when the hash of the password changes.
            UserSession.objects.create_from_request(request)
        if session.accessed and SESSION_KEY in session and _now() - session.get(LAST_SEEN, 0) > RENEW_SECONDS:
            renew(session)
        return response

    def process_view(self, request: HttpRequest, *_: object) -> None:
        session = request.session
        if SESSION_KEY not in session:
            return
        now = _now()
        if now - session.setdefault(STARTED_AT, now) > settings.SESSION_ABSOLUTE_DAYS * 24 * 3600:
            sign_in_events.session_expired(session[SESSION_KEY])
            session.flush()
            request.user = AnonymousUser()


def start(session: SessionBase) -> None:
    """Start the session's limits at sign-in."""
    session[STARTED_AT] = session[LAST_SEEN] = _now()


def renew(session: SessionBase) -> None:
    """Extend the session at the end of a request.

    Postponed while the database is read-only, so that people can still read, unless the request changed the session.
    Raises SessionInterrupted if the session has ended.
    """
    was_modified = session.modified
    session[LAST_SEEN] = _now()
    if was_modified:  # SessionMiddleware saves it
        return
    try:
        session.save()
        UserSession.objects.filter(session_key=session.session_key).update(last_seen_at=timezone.now())
    except UpdateError as error:
        if not is_read_only_error(error.__context__):
            raise SessionInterrupted("The session ended before the request did.") from error
        session.modified = False
        logger.warning("session_renewal_failed")


def _now() -> int:
    return int(time.time())
