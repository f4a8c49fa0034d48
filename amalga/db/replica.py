"""A replica that lists and searches are read from: never older than what the asker has written, or than some seconds.

Postgres numbers what it writes (LSN). Whoever wrote keeps the number of that moment in a signed cookie, and is shown
lists from the replica again when it has replayed so far. Servers that tell no numbers, as Aurora's readers, are left
alone for some seconds instead. Everything else is asked of the primary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.core.signing import BadSignature, Signer
from django.db import Error, NotSupportedError, ProgrammingError, connections
from django.db.models import Model
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)

ALIAS = "replica"
OLDEST_SECONDS = 5.0  # what others wrote is in everybody's lists after so long
WRITTEN_SECONDS = 60  # by then every process asks for a later number by itself
PIN_SECONDS = 5  # where no numbers are told
COOLDOWN_SECONDS = 5.0  # a replica that failed is not asked again for so long
NO_LSN = "-"
LISTED = {"uploads.File", "uploads.Folder"}  # what they are joined with comes along
PRIMARY = "SELECT pg_current_wal_insert_lsn() - '0/0'"
REPLAYED = "SELECT pg_last_wal_replay_lsn() - '0/0'"

Found = TypeVar("Found")

_required_lsn: ContextVar[str | None] = ContextVar("asked", default=None)
_written: ContextVar[str | None] = ContextVar("written", default=None)


class ReplicaRouter:
    """Inside `elsewhere` files and folders are read from the replica; nothing is ever written there."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return _required_lsn.get() if model._meta.label in LISTED else None

    def db_for_write(self, model: type[Model], **_hints: Any) -> str:
        return "default"

    def allow_relation(self, *_objects: Model, **_hints: Any) -> bool:
        return True

    def allow_migrate(self, database: str, app_label: str, **_hints: Any) -> bool:
        return database == "default"


class ReadYourWritesMiddleware:
    """Whoever sent what may have written is told a number to come back with."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if ALIAS not in connections:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _written.set(_read(request.COOKIES.get(settings.LSN_COOKIE_NAME)))
        try:
            answer = self.get_response(request)
        finally:
            _written.reset(token)
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            number = _number_now()
            answer.set_cookie(
                settings.LSN_COOKIE_NAME, Signer(salt=ALIAS).sign(number),
                max_age=PIN_SECONDS if number == NO_LSN else WRITTEN_SECONDS,
                secure=settings.HTTPS, httponly=True, samesite="Lax",
            )  # fmt: skip
        return answer


class _ReplicaState:
    """What this process knows of the two servers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.away_until = 0.0
        self.number: int | None = None  # of the primary, at most OLDEST_SECONDS ago
        self.number_at = float("-inf")
        self.numbered = True


_replica_state = _ReplicaState()


def read_from_replica(find: Callable[[], Found]) -> tuple[Found, bool]:
    """What it finds, and whether at the replica. What fails there is asked of the primary."""
    if _is_caught_up():
        token = _required_lsn.set(ALIAS)
        try:
            return find(), True
        except Error as fault:
            _mark_unavailable(fault)
        finally:
            _required_lsn.reset(token)
    return find(), False


def _is_caught_up() -> bool:
    if ALIAS not in connections or time.monotonic() < _replica_state.away_until:
        return False
    written = _written.get()
    newest = _newest()
    if not _replica_state.numbered:
        return written is None
    if newest is None or written == NO_LSN:
        return False
    wanted = max(int(written or 0), newest)
    try:
        replayed = _fetch_value(ALIAS, REPLAYED)
    except (NotSupportedError, ProgrammingError):
        _replica_state.numbered = False
        return written is None
    except Error as fault:
        _mark_unavailable(fault)
        return False
    if replayed is None:
        _mark_unavailable("it is no replica")
        return False
    return replayed >= wanted


def _newest() -> int | None:
    """A number of the primary, some seconds old at most."""
    with _replica_state.lock:
        if time.monotonic() - _replica_state.number_at < OLDEST_SECONDS:
            return _replica_state.number
        _replica_state.number_at = time.monotonic()
    number = _number_now()
    _replica_state.number = None if number == NO_LSN else int(number)
    return _replica_state.number


def _number_now() -> str:
    if not _replica_state.numbered:
        return NO_LSN
    try:
        return str(_fetch_value("default", PRIMARY))
    except (NotSupportedError, ProgrammingError):
        _replica_state.numbered = False
    except Error:
        pass  # it was written, and now the primary is away
    return NO_LSN


def _fetch_value(alias: str, sql: str) -> int | None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        (number,) = cursor.fetchone()
        return None if number is None else int(number)


def _mark_unavailable(why: Exception | str) -> None:
    reason = why if isinstance(why, str) else type(why.__cause__ or why).__name__
    logger.warning("replica_left seconds=%.0f reason=%s", COOLDOWN_SECONDS, reason)
    _replica_state.away_until = time.monotonic() + COOLDOWN_SECONDS
    connections[ALIAS].close()


def _read(cookie: str | None) -> str | None:
    """The number in it; a cookie that nobody signed is as none."""
    try:
        return Signer(salt=ALIAS).unsign(cookie) if cookie else None
    except BadSignature:
        return None
