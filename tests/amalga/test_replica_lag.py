"""How a process decides whether the replica is usable, and what `doctor` reports about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.signing import Signer
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from amalga.db import replica
from tests.support.postgres_standby import Standby, until
from uploads.models import Installation
from uploads.services.doctor import Level
from uploads.services.doctor.database import check_replica

pytestmark = pytest.mark.django_db(transaction=True)

Name = Callable[..., None]
UNKNOWN = "SELECT not_there()"  # fails, as on a server without LSN functions


@pytest.fixture
def name(standby: Standby, monkeypatch: pytest.MonkeyPatch) -> Iterator[Name]:
    """Configure a replica in a process that has not used one yet."""
    monkeypatch.setattr(replica, "_replica_state", replica._ReplicaState())

    def name(*, there: bool = True, **changed: Any) -> None:
        monkeypatch.setitem(connections.settings, replica.ALIAS, {**connection.settings_dict, **changed})
        if there:
            connections[replica.ALIAS].connect()  # later, Django's test case would block a new connection

    yield name
    wrapper: Any = connections[replica.ALIAS]
    wrapper.close()
    wrapper.close_pool()
    del connections[replica.ALIAS]


@pytest.fixture
def named(name: Name, standby: Standby) -> Standby:
    Installation.objects.own_id()
    name(PORT=standby.port)
    standby.catch_up()
    return standby


def is_usable(written: str | None = None) -> bool:
    token = replica._written.set(written)
    try:
        return replica.read_from_replica(lambda: replica._alias.get()) == replica.ALIAS
    finally:
        replica._written.reset(token)


def test_caught_up_replica_is_used(named: Standby) -> None:
    until(is_usable)
    number = replica._number_now()
    until(lambda: is_usable(number))


def test_replica_that_lacks_the_users_write_is_not_used(named: Standby) -> None:
    until(is_usable)
    assert not is_usable(str(2**60))
    until(lambda: is_usable("1"))


@pytest.mark.parametrize("which", ["PRIMARY", "REPLAYED"])
def test_replica_without_lsn_is_not_used_after_a_write(
    which: str, named: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Aurora; the cookie expires in the browser."""
    monkeypatch.setattr(replica, which, UNKNOWN)
    assert is_usable() is True
    assert is_usable(replica.NO_LSN) is False
    assert replica._number_now() == replica.NO_LSN


def test_writable_server_is_not_used_as_replica(name: Name, standby: Standby) -> None:
    name()
    assert not is_usable()
    assert replica._replica_state.unavailable_until > 0


def test_query_that_fails_on_the_replica_uses_the_primary(named: Standby) -> None:
    until(is_usable)
    aliases: list[str] = []

    def find() -> int:
        alias = replica._alias.get() or "default"
        aliases.append(alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1 / (pg_is_in_recovery() = false)::int")
            return int(cursor.fetchone()[0])

    until(lambda: replica.read_from_replica(find) == 1 and "replica" in aliases)
    assert aliases[-2:] == ["replica", "default"]
    assert not is_usable()


# --- cookie -----------------------------------------------------------------------------------


def answered(method: str, cookie: str | None = None) -> HttpResponse:
    request: HttpRequest = RequestFactory().generic(method, "/")
    if cookie:
        request.COOKIES["amalga-lsn"] = cookie
    return replica.ReadYourWritesMiddleware(lambda _request: HttpResponse())(request)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_write_request_sets_a_signed_lsn_cookie(method: str, named: Standby, settings: Settings) -> None:
    settings.HTTPS = True
    cookie = answered(method).cookies[settings.LSN_COOKIE_NAME]
    assert int(Signer(salt="replica").unsign(cookie.value)) > 0
    assert (cookie["max-age"], cookie["path"]) == (replica.WRITTEN_SECONDS, "/")
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")


def test_cookie_without_lsn_is_short_lived(named: Standby, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "PRIMARY", UNKNOWN)
    assert answered("POST").cookies["amalga-lsn"]["max-age"] == replica.PIN_SECONDS


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_read_request_sets_no_cookie(method: str, named: Standby) -> None:
    assert not answered(method).cookies


# --- doctor -----------------------------------------------------------------------------------


def replica_status() -> tuple[Level, str]:
    (line,) = check_replica()
    return line.level, line.reason


def test_doctor_reports_a_healthy_replica(named: Standby) -> None:
    level, reason = replica_status()
    assert level is Level.OK
    assert (reason[:7], reason[-6:]) == ("lag of ", " bytes")


def test_doctor_skips_the_replica_if_not_configured() -> None:
    assert list(check_replica()) == []


def test_doctor_reports_a_writable_replica(name: Name) -> None:
    name()
    assert replica_status() == (Level.FAIL, "not a replica: it is writable")


def test_doctor_reports_unavailable_replica(name: Name) -> None:
    name(there=False, PORT=9)
    assert replica_status() == (Level.WARN, "cannot connect to 127.0.0.1: connection refused")


def test_doctor_reports_a_replica_of_another_database(named: Standby) -> None:
    with named.paused():
        Installation.objects.all().delete()
        Installation.objects.own_id()
        assert replica_status() == (Level.FAIL, "a replica of another database")


def test_doctor_reports_replica_lag(named: Standby) -> None:
    with named.paused():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 20000000))")
        level, reason = replica_status()
    assert level is Level.WARN
    assert re.match(r"lag of [\d.]+ MB", reason)
