"""Reads of lists and searches from a replica: it has the user's own writes, and lags by a few seconds at most.

Postgres numbers its writes (LSN). After a write, the browser gets the current number in a signed cookie, and reads
lists from the replica again once it has replayed that far. Servers without numbers, as Aurora's readers, are not used
for some seconds after a write instead. All other queries go to the primary.
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
OLDEST_SECONDS = 5.0  # the maximum lag for the writes of other users
WRITTEN_SECONDS = 60  # by then every process requires a later number by itself
PIN_SECONDS = 5  # for servers without numbers
COOLDOWN_SECONDS = 5.0  # a replica that failed is not used for so long
NO_LSN = "-"
REPLICATED_MODELS = {"uploads.File", "uploads.Folder"}  # with the tables that they are joined with
PRIMARY = "SELECT pg_current_wal_insert_lsn() - '0/0'"
REPLAYED = "SELECT pg_last_wal_replay_lsn() - '0/0'"

Result = TypeVar("Result")

_alias: ContextVar[str | None] = ContextVar("alias", default=None)
_written: ContextVar[str | None] = ContextVar("written", default=None)


class ReplicaRouter:
    """Inside `read_from_replica`, files and folders are read from the replica. Writes always go to the primary."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return _alias.get() if model._meta.label in REPLICATED_MODELS else None

    def db_for_write(self, model: type[Model], **_hints: Any) -> str:
        return "default"

    def allow_relation(self, *_objects: Model, **_hints: Any) -> bool:
        return True

    def allow_migrate(self, database: str, app_label: str, **_hints: Any) -> bool:
        return database == "default"


class ReadYourWritesMiddleware:
    """Sets a cookie with the current LSN on every response to a request that may have written."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if ALIAS not in connections:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = _written.set(_read(request.COOKIES.get(settings.LSN_COOKIE_NAME)))
        try:
            response = self.get_response(request)
        finally:
            _written.reset(token)
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            number = _number_now()
            response.set_cookie(
                settings.LSN_COOKIE_NAME, Signer(salt=ALIAS).sign(number),
                max_age=PIN_SECONDS if number == NO_LSN else WRITTEN_SECONDS,
                secure=settings.HTTPS, httponly=True, samesite="Lax",
            )  # fmt: skip
        return response


class _ReplicaState:
    """The state of the two servers, as this process knows it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.unavailable_until = 0.0
        self.number: int | None = None  # the primary's LSN, at most OLDEST_SECONDS old
        self.number_at = float("-inf")
        self.numbered = True


_replica_state = _ReplicaState()


def read_from_replica(find: Callable[[], Result]) -> Result:
    """Return the result of `find`, from the replica if that is caught up. After an error there, the primary is used."""
    if _is_caught_up():
        token = _alias.set(ALIAS)
        try:
            return find()
        except Error as error:
            _mark_unavailable(error)
        finally:
            _alias.reset(token)
    return find()


def _is_caught_up() -> bool:
    if ALIAS not in connections or time.monotonic() < _replica_state.unavailable_until:
        return False
    written = _written.get()
    recent = _recent_lsn()
    if not _replica_state.numbered:
        return written is None
    if recent is None or written == NO_LSN:
        return False
    required = max(int(written or 0), recent)
    try:
        replayed = _fetch_value(ALIAS, REPLAYED)
    except (NotSupportedError, ProgrammingError):
        _replica_state.numbered = False
        return written is None
    except Error as error:
        _mark_unavailable(error)
        return False
    if replayed is None:
        _mark_unavailable("it is no replica")
        return False
    return replayed >= required


def _recent_lsn() -> int | None:
    """Return the primary's LSN, at most OLDEST_SECONDS old; None without numbers."""
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
        pass  # the request has written, and now the primary is unavailable
    return NO_LSN


def _fetch_value(alias: str, sql: str) -> int | None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        (number,) = cursor.fetchone()
        return None if number is None else int(number)


def _mark_unavailable(cause: Exception | str) -> None:
    reason = cause if isinstance(cause, str) else type(cause.__cause__ or cause).__name__
    logger.warning("replica_disabled seconds=%.0f reason=%s", COOLDOWN_SECONDS, reason)
    _replica_state.unavailable_until = time.monotonic() + COOLDOWN_SECONDS
    connections[ALIAS].close()


def _read(cookie: str | None) -> str | None:
    """Return the LSN in the cookie; None for a missing cookie or a bad signature."""
    try:
        return Signer(salt=ALIAS).unsign(cookie) if cookie else None
    except BadSignature:
        return None
