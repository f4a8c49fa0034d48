"""Database and background work checks of `doctor`, with real problems."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django_tasks_db.models import DBTaskResult
from pytest_django import Settings

from tests.support.databases import execute
from tests.support.factories import create_file
from tests.support.stores import Bucket
from tests.support.tcp_proxy import Proxy
from uploads import checks
from uploads.models import ChecksumStatus, File, Heartbeat, State
from uploads.services import request_previews
from uploads.services.doctor import CheckResult, Level, database
from uploads.services.doctor.background_jobs import WORK
from uploads.services.doctor.results import Deadline
from uploads.services.doctor.storage import check_clock

pytestmark = pytest.mark.django_db
CHECKS = dict((*database.CHECKS, *WORK))


def result_of(subject: str) -> CheckResult:
    """The worst line of one check."""
    return max(CHECKS[subject](), key=lambda line: [*Level].index(line.level))


def whole() -> dict[str, CheckResult]:
    return {line.subject: line for line in database.database_checks(Deadline(18), WORK)}


# --- no problems ------------------------------------------------------------------------------


def test_the_database_of_these_tests_is_ok() -> None:
    lines = whole()
    assert {line.level for subject, line in lines.items() if subject in dict(database.CHECKS)} == {Level.OK}
    assert lines["database timeouts"].reason.startswith("statement_timeout 8s, lock_timeout 4s")


# --- one problem at a time --------------------------------------------------------------------


def test_an_old_version_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OLDEST_VERSION", 99)
    line = result_of("database")
    assert (line.level, line.advice) == (Level.FAIL, "upgrade to Postgres 99 or newer")


def test_read_only_database_fails() -> None:
    execute("SET TRANSACTION READ ONLY")
    line = result_of("database")
    assert (line.level, line.reason) == (Level.FAIL, "read-only")


def test_no_tls_over_a_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_loopback", lambda _host: False)
    line = result_of("database TLS")
    assert (line.level, line.reason) == (Level.FAIL, "off: all data is sent unencrypted over the network")


@pytest.mark.parametrize("name", ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"])
def test_timeout_dropped_by_a_pooler_fails(name: str) -> None:
    execute(f"SET LOCAL {name} = 0")
    line = result_of("database timeouts")
    assert (line.level, name in line.reason) == (Level.FAIL, True)


def test_too_few_connections_are_reported_with_numbers(settings: Settings) -> None:
    settings.WEB_CONCURRENCY = 10
    line = result_of("database connections")
    assert line.level is Level.WARN
    assert line.reason.startswith("208 needed at most (13 processes with 16 each), 97 available, ")


def test_connection_limit_of_the_role_counts() -> None:
    execute("CREATE ROLE limited CONNECTION LIMIT 20")
    execute("GRANT limited TO CURRENT_USER WITH SET TRUE")
    execute("SET LOCAL ROLE limited")
    line = result_of("database connections")
    assert (line.level, "20 available" in line.reason) == (Level.WARN, True)


def test_a_pending_migration_fails_and_is_not_run() -> None:
    recorder = MigrationRecorder(connection)
    last = max(name for app, name in recorder.applied_migrations() if app == "uploads")
    recorder.record_unapplied("uploads", last)
    line = result_of("migrations")
    assert (line.level, line.advice) == (Level.FAIL, "run `manage.py migrate`")
    assert f"1 not applied: uploads.{last}" in line.reason
    assert ("uploads", last) not in recorder.applied_migrations()


def test_database_with_c_locale_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOCALE_QUERY", "SELECT false")
    line = result_of("database locale")
    assert (line.level, "uploads.W003" in line.reason) == (Level.WARN, True)


@pytest.mark.parametrize(("off", "level"), [("-20 min", Level.FAIL), ("20 min", Level.FAIL), ("1 min", Level.WARN)])
def test_clock_skew_of_database_is_reported(off: str, level: Level) -> None:
    """A function of the same name, earlier in the search path, overrides the clock of Postgres."""
    execute("CREATE SCHEMA bent")
    execute(
        "CREATE FUNCTION bent.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
        f"$$ SELECT pg_catalog.clock_timestamp() + interval '{off}' $$"
    )
    execute("SET LOCAL search_path = bent, pg_catalog, public")
    assert result_of("database clock").level is level


@pytest.mark.parametrize(
    ("seconds", "exact", "level"),
    [(0, True, Level.OK), (30, True, Level.OK), (-30.9, False, Level.OK), (32, True, Level.WARN),
     (-32, True, Level.WARN), (300, True, Level.WARN), (302, True, Level.FAIL), (-302, False, Level.FAIL)],
)  # fmt: skip
def test_clocks_may_differ_by_half_a_minute(seconds: float, exact: bool, level: Level) -> None:
    now = datetime.now(UTC)
    line = check_clock("clock", now + timedelta(seconds=seconds), before=now, after=now, exact=exact)
    assert line.level is level


def test_slow_response_is_no_clock_skew() -> None:
    now = datetime.now(UTC)
    theirs = now + timedelta(seconds=40)
    assert check_clock("c", theirs, before=now, after=now + timedelta(seconds=80), exact=True).level is Level.OK


# --- unreachable database ---------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(connection.settings_dict["HOST"], int(connection.settings_dict["PORT"]))
    yield proxy
    proxy.close()


def unreached(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> CheckResult:
    """Return the result for a database with these settings; the connection of the test stays open."""
    for name, value in changed.items():
        monkeypatch.setitem(connection.settings_dict, name, value)
    first, second = database.database_checks(Deadline(18), WORK)
    assert first.level is Level.FAIL
    assert second.reason == "other database checks did not run"
    return first


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"PASSWORD": "not-the-password"}, "wrong password"),
        ({"USER": "nobody-known"}, "wrong password"),  # Postgres does not say which it is
        ({"NAME": "no_such_database"}, "the database does not exist"),
        ({"PORT": 9}, "connection refused"),
        ({"OPTIONS": {"sslmode": "verify-full", "sslrootcert": "/dev/null", "pool": {}}}, "TLS handshake failed"),
    ],
)
def test_each_connection_error_has_its_own_message(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], reason: str
) -> None:
    line = unreached(monkeypatch, **changed)
    assert reason in line.reason
    assert "not-the-password" not in str(line)


def test_unknown_host_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unknown host" in unreached(monkeypatch, HOST="db.invalid").reason


def refuse_options(listener: socket.socket) -> None:
    """Answer as a pooler does (PostgreSQL protocol 3.0, "Start-up"): refuse TLS, then reject the options."""
    client, _ = listener.accept()
    with client:
        client.recv(1024)  # SSLRequest
        client.sendall(b"N")
        client.recv(1024)  # StartupMessage
        error = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
        client.sendall(b"E" + (len(error) + 4).to_bytes(4, "big") + error)


def test_pooler_that_rejects_our_options_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse_options, args=(listener,), daemon=True).start()
        line = unreached(monkeypatch, HOST="127.0.0.1", PORT=listener.getsockname()[1])
    assert "a pooler rejects connection options" in line.reason


def test_bug_in_one_check_does_not_stop_the_others() -> None:
    lines = {line.subject: line for line in database.database_checks(Deadline(18), [("odd", lambda: [1 / 0]), *WORK])}  # type: ignore[list-item]
    assert lines["odd"].reason == "the check itself failed (ZeroDivisionError)"
    assert lines["queue"].level is Level.OK


def test_unresponsive_database_times_out(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy.in_mode("hang"):
        soon = {**connection.settings_dict["OPTIONS"], "connect_timeout": 2}
        line = unreached(monkeypatch, HOST="127.0.0.1", PORT=proxy.port, OPTIONS=soon)
    assert "timed out" in line.reason


@pytest.mark.django_db(transaction=True)
def test_failed_query_does_not_stop_other_checks() -> None:
    def broken() -> list[CheckResult]:
        execute("SELECT 1 / 0")
        return []

    lines = {line.subject: line for line in database.database_checks(Deadline(18), [("odd", broken), *WORK])}
    assert lines["odd"].reason == "query failed (DataError)"
    assert lines["queue"].level is Level.OK


def test_checks_after_the_deadline_fail() -> None:
    lines = [*database.database_checks(Deadline(0))]
    assert {line.level for line in lines} == {Level.FAIL}
    assert len(lines) == len(database.CHECKS)


def test_storage_is_checked_without_a_database(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "PORT", 9)
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("doctor", stdout=out)
    assert "FAIL  database: cannot connect to 127.0.0.1: connection refused. Fix: start Postgres" in out.getvalue()
    assert "OK    checksums: " in out.getvalue()


# --- work in the background -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sweep", "worker", "verify", "fsck"])
def test_command_that_never_ran_is_reported_with_its_schedule(name: str) -> None:
    line = result_of(name)
    assert line.level is Level.WARN
    assert f"manage.py {name}" in line.advice


@pytest.mark.parametrize(
    ("name", "late"),
    [("sweep", timedelta(minutes=11)), ("worker", timedelta(minutes=11)), ("verify", timedelta(hours=51)),
     ("fsck", timedelta(days=16))],
)  # fmt: skip
def test_recent_runs_are_ok_and_overdue_ones_are_reported(name: str, late: timedelta) -> None:
    Heartbeat.objects.beat(name)
    assert result_of(name).level is Level.OK
    Heartbeat.objects.filter(name=name).update(at=Now() - late)
    line = result_of(name)
    assert line.level is Level.WARN
    assert "ago" in line.reason


def test_files_that_were_never_verified_are_counted(alice: User) -> None:
    Heartbeat.objects.beat("verify")
    create_file(alice, checksum_status=ChecksumStatus.UNVERIFIED, available_at=Now() - timedelta(hours=1))
    create_file(alice, checksum_status=ChecksumStatus.UNVERIFIED)
    create_file(alice, checksum_status=ChecksumStatus.VERIFIED_BY_STORAGE, available_at=Now() - timedelta(hours=1))
    assert result_of("verify").reason.startswith("1 file was never verified")


def test_stuck_queue_is_reported(alice: User) -> None:
    request_previews([create_file(alice).pk])
    assert result_of("queue").level is Level.OK
    DBTaskResult.objects.update(enqueued_at=Now() - timedelta(hours=3))
    line = result_of("queue")
    assert (line.level, line.reason) == (Level.WARN, "1 task is waiting, the oldest for 3 hours")


def test_overdue_files_are_reported(alice: User) -> None:
    create_file(alice, state=State.COMPLETING)
    erased = create_file(alice, state=State.DELETING)
    assert result_of("stuck files").level is Level.OK
    File.objects.filter(state=State.COMPLETING).update(lease_until=Now() - timedelta(hours=1))
    File.objects.filter(pk=erased.pk).update(updated_at=Now() - timedelta(hours=2))
    assert result_of("stuck files").reason == "1 incomplete upload is stuck, 1 file waits for deletion"
