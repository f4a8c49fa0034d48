"""Check that the database can be reached, how it is connected, and that it is set up as needed."""

from __future__ import annotations

import functools
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.conf import settings
from django.core.checks import Tags, run_checks
from django.db import DatabaseError, OperationalError, ProgrammingError, connection, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from psycopg.errors import FeatureNotSupported, UndefinedFunction

from amalga.db import Connection as DatabaseConnection
from amalga.db import TokenConnection, statement_timeout, unpooled_connection
from amalga.db.replica import ALIAS, PIN_SECONDS, PRIMARY, REPLAYED
from amalga.settings.env import is_loopback
from uploads.humanize import humanize_bytes
from uploads.services.doctor.results import CheckResult, Deadline, Level, fail, ok, run_safely, warn
from uploads.services.doctor.storage import check_clock

OLDEST_VERSION = 14
LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
STORES_SECONDS = 2.0
TEST_TABLE_BYTES = 8_000_000
FULL_STATES = {"53100": "disk full", "58030": "disk error", "54000": "a limit of the server is reached"}
FILL = "CREATE TEMPORARY TABLE doctor_was_here ON COMMIT DROP AS SELECT repeat('x', 7900) FROM generate_series(1, %s)"
BACKGROUND = 3  # processes: sweep, verify, worker
Check = Callable[[], Iterable[CheckResult]]


def database_checks(deadline: Deadline, extra: Sequence[tuple[str, Check]] = ()) -> Iterable[CheckResult]:
    """Yield the results of all database checks, without a thread: the connection's own timeouts end what hangs."""
    error = connection_error()
    if error:
        yield error
        yield warn("database", "other database checks did not run", "fix the connection first, and run doctor again")
        return
    replica_check: tuple[tuple[str, Check], ...] = (("replica", check_replica),) if ALIAS in connections else ()
    for subject, check in (*CHECKS, *replica_check, *extra):
        if not deadline.remaining:
            yield fail(subject, "not checked: the database is too slow", "check its load")
            continue
        yield from run_safely(subject, functools.partial(_query, subject, check))


def _query(subject: str, check: Check) -> list[CheckResult]:
    try:
        return list(check())
    except DatabaseError as error:
        connection.close_if_unusable_or_obsolete()
        advice = "run `manage.py migrate`" if isinstance(error, ProgrammingError) else "check the database log"
        return [fail(subject, f"query failed ({type(error).__name__})", advice)]


def _fetch_row(sql: str, *values: Any) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def _version() -> Iterable[CheckResult]:
    (number, recovering) = _fetch_row("SELECT current_setting('server_version_num')::int, pg_is_in_recovery()")
    major = number // 10_000
    if major < OLDEST_VERSION:
        yield fail("database", f"Postgres {major} is too old", f"upgrade to Postgres {OLDEST_VERSION} or newer")
    elif recovering or _fetch_row("SHOW transaction_read_only")[0] == "on":
        yield fail("database", "read-only", "set DATABASE_URL to the primary, or wait until the failover has finished")
    else:
        yield ok("database", f"Postgres {major}, writable")


def _tls() -> Iterable[CheckResult]:
    connection.ensure_connection()
    driver_connection: Any = connection.connection
    database = connection.settings_dict
    if driver_connection.pgconn.ssl_in_use:  # not asked of the server, which may only see the connection of a pooler
        is_verified = str(database["OPTIONS"].get("sslmode", "")).startswith("verify-")
        verification = "certificate verified" if is_verified else "certificate not verified"
        yield ok("database TLS", f"on, {verification}")
    elif is_loopback(database.get("HOST")):
        yield ok("database TLS", "off, not needed: the database is on this machine")
    else:
        advice = "turn on TLS on the server, remove sslmode from DATABASE_URL, and set DATABASE_CA"
        yield fail("database TLS", "off: all data is sent unencrypted over the network", advice)


def _time_limits() -> Iterable[CheckResult]:
    values = {name: _fetch_row("SELECT current_setting(%s)", name)[0] for name in LIMITS}
    disabled = [name for name, value in values.items() if value == "0"]
    if disabled:
        role = connection.settings_dict["USER"]
        advice = (
            f"set them for the role, because a pooler drops connection options: ALTER ROLE {role} SET {disabled[0]} = …"
        )
        yield fail("database timeouts", f"not set: {', '.join(disabled)}", advice)
    else:
        yield ok("database timeouts", ", ".join(f"{name} {value}" for name, value in values.items()))


def _connections() -> Iterable[CheckResult]:
    limit, used = _fetch_row(
        "SELECT least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
        " nullif((SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), -1),"
        " nullif((SELECT datconnlimit FROM pg_database WHERE datname = current_database()), -1)),"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
    )
    pool = settings.DATABASE_CONNECTIONS
    processes = settings.WEB_CONCURRENCY + BACKGROUND
    needed = processes * pool
    if settings.DATABASE_POOLER:
        yield ok("database connections", f"a pooler is configured; its max_client_conn must be at least {needed}")
        return
    reason = f"{needed} needed at most ({processes} processes with {pool} each), {limit} available, {used} in use"
    if needed > limit:
        advice = "raise max_connections, lower WEB_CONCURRENCY, or use a pooler; add up all hosts"
        yield warn("database connections", reason, advice)
    else:
        yield ok("database connections", reason)


def _migrations() -> Iterable[CheckResult]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        first = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:3])
        yield fail("migrations", f"{len(plan)} not applied: {first}", "run `manage.py migrate`")
    else:
        yield ok("migrations", "all applied")


def _collation() -> Iterable[CheckResult]:
    messages = run_checks(tags=[Tags.database], databases=["default"])
    for message in messages:
        yield warn("database locale", f"{message.msg} ({message.id})", str(message.hint or ""))
    if not messages:
        yield ok("database locale", "searches in all scripts use the index")


def _clock() -> Iterable[CheckResult]:
    before = datetime.now(UTC)
    server_time = _fetch_row("SELECT clock_timestamp()")[0]
    yield check_clock("database clock", server_time, before=before, after=datetime.now(UTC), exact=True)


def _stores() -> Iterable[CheckResult]:
    """Check that a setting names the store of each row. If none is missing, this scans all rows."""
    store_names = [settings.S3_STORE_NAME, *([settings.SECONDARY_S3["name"]] if settings.SECONDARY_S3 else [])]
    try:
        with statement_timeout(STORES_SECONDS) as cursor:
            cursor.execute("SELECT store FROM uploads_file WHERE store <> ALL(%s) LIMIT 1", [store_names])
            row = cursor.fetchone()
    except OperationalError:
        yield ok("storage names", "not checked: too many files. `manage.py fsck` checks them")
        return
    if row:
        advice = "set S3_STORE_NAME to that name, or SECONDARY_S3_STORE_NAME and the other SECONDARY_S3_* variables"
        yield fail("storage names", f"some files are in a storage named “{row[0]}”, which is not configured", advice)
    else:
        yield ok("storage names", "the storage of every file is configured")


def _disk() -> Iterable[CheckResult]:
    """Check that the database can write, by a temporary table in a transaction that is rolled back."""
    subject = "database disk"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(FILL, [TEST_TABLE_BYTES // 7900])
            transaction.set_rollback(True)
    except DatabaseError as fault:
        state = str(getattr(fault.__cause__, "sqlstate", "") or "")
        if state in FULL_STATES:
            yield fail(
                subject,
                f"{FULL_STATES[state]}, so nothing can be uploaded",
                "free some space, or turn on storage autoscaling",
            )
        elif state in {"42501", "25006"}:  # temporary tables not permitted, or read-only: another check reports that
            yield ok(subject, "not checked: this role cannot create tables. Monitor free space on the server")
        else:
            raise
    else:
        yield ok(subject, f"{humanize_bytes(TEST_TABLE_BYTES)} could be written")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("database", _version),
    ("database TLS", _tls),
    ("database timeouts", _time_limits),
    ("database connections", _connections),
    ("database clock", _clock),
    ("migrations", _migrations),
    ("database locale", _collation),
    ("storage names", _stores),
    ("database disk", _disk),
)


SUBJECT = "replica"
ADVICE = "set READ_DATABASE_URL to a replica of this database"
FAR_BEHIND_BYTES = 16 * 1024**2  # a busy primary writes less than this during the check

Connection = psycopg.Connection[Any]


def check_replica() -> Iterable[CheckResult]:
    """Check the replica, if there is one. Problems are only warnings, as the primary takes its queries."""
    if ALIAS not in connections:
        return
    if error := connection_error(SUBJECT, ALIAS):
        yield replace(error, level=Level.WARN)
        return
    with unpooled_connection() as primary, unpooled_connection(ALIAS) as replica:
        yield _replica_result(primary, replica)


def _replica_result(primary: Connection, replica: Connection) -> CheckResult:
    if not _fetch_first(replica, "SELECT pg_is_in_recovery()"):
        return fail(SUBJECT, "not a replica: it is writable", ADVICE)
    ids = {_fetch_first(database, "SELECT id FROM uploads_installation") for database in (primary, replica)}
    if len(ids - {None}) > 1:
        return fail(SUBJECT, "a replica of another database", ADVICE)
    written, replayed = _wal_position(primary, PRIMARY), _wal_position(replica, REPLAYED)
    if written is None or replayed is None:
        reason = f"no lag reported. It is not used for {PIN_SECONDS} seconds after a user's own write"
        return ok(SUBJECT, reason)
    behind = max(0, written - replayed)
    if behind > FAR_BEHIND_BYTES:
        advice = "check its load, and whether replay is paused"
        return warn(SUBJECT, f"lag of {humanize_bytes(behind)}. Until it catches up, the primary is used", advice)
    return ok(SUBJECT, f"lag of {behind} bytes")


def _wal_position(database: Connection, sql: str) -> int | None:
    try:
        return int(_fetch_first(database, sql))
    except (FeatureNotSupported, UndefinedFunction):
        return None


def _fetch_first(database: Connection, sql: str) -> Any:
    row = database.execute(sql).fetchone()
    return row[0] if row else None


# --- why the database cannot be reached ----------------------------------------------------------

REASONS = {
    "28P01": ("wrong password", "correct DATABASE_URL"),
    "28000": ("this role cannot connect from here, or not without TLS", "check the role and pg_hba.conf"),
    "3D000": ("the database does not exist", "create it, or correct DATABASE_URL"),
    "53300": ("no connections left", "raise max_connections, or lower WEB_CONCURRENCY"),
    "57P03": ("starting or stopping", "wait, and run doctor again"),
}
TOKEN_REFUSAL = (
    "the IAM token was rejected",
    "grant rds_iam to the database role, and rds-db:connect to the IAM role",
)
POOLER_REFUSAL = ("a pooler rejects connection options", "set DATABASE_POOLER=on")


def connection_error(subject: str = "database", alias: str = "default") -> CheckResult | None:
    """Return why the database cannot be reached, or None. Connects without the pool, which hides the reasons."""
    database: dict[str, Any] = connections[alias].settings_dict
    try:
        with unpooled_connection(alias):
            return None
    except DatabaseError as error:
        state = str(getattr(error.__cause__, "sqlstate", None) or "")
        reason, advice = _message_of(state, str(error), database)
        return fail(subject, f"cannot connect to {database.get('HOST') or 'this machine'}: {reason}", advice)


def _message_of(state: str, text: str, database: dict[str, Any]) -> tuple[str, str]:
    lower = text.lower()
    if _uses_iam_token(database) and (state == "28P01" or "authentication failed" in lower):
        return TOKEN_REFUSAL
    if "no iam token" in lower:
        return "no AWS credentials for an IAM token", "give the process an IAM role"
    if state in REASONS:
        return REASONS[state]
    if "certificate" in lower or "ssl" in lower:
        return tls_verification_error(database)
    return _network_error(lower)


def _uses_iam_token(database: dict[str, Any]) -> bool:
    return issubclass(
        (database["OPTIONS"].get("pool") or {}).get("connection_class", DatabaseConnection), TokenConnection
    )


def _network_error(text: str) -> tuple[str, str]:
    if "password authentication" in text:
        return REASONS["28P01"]
    if "does not exist" in text and "database" in text:
        return REASONS["3D000"]
    if "startup parameter" in text:
        return POOLER_REFUSAL
    if "resolve" in text or "name or service" in text:
        return "unknown host", "correct DATABASE_URL, or check DNS"
    if "refused" in text:
        return "connection refused", "start Postgres, or correct DATABASE_URL"
    if "too many" in text or "remaining connection slots" in text or "no more connections" in text:
        return REASONS["53300"]
    return "timed out", "check the network, security groups first"


SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL documentation, "Message Formats"
HANDSHAKE_SECONDS = 3.0
# X509_V_ERR_* of OpenSSL's x509_vfy.h
NOT_YET, EXPIRED, SELF_SIGNED, OTHER_HOST, OTHER_ADDRESS = 9, 10, 18, 62, 64
NO_ISSUER = {2, 19, 20, 21}

Explanation = tuple[str, str]
UNKNOWN_TLS_ERROR: Explanation = (
    "TLS handshake failed, or the certificate is invalid",
    "check sslmode and DATABASE_CA",
)


def tls_verification_error(database: dict[str, Any]) -> Explanation:
    """Return what is wrong with the server's TLS, and what to do, from one more handshake."""
    host, options = str(database.get("HOST") or ""), database.get("OPTIONS", {})
    try:
        explanation = _handshake(host, int(database.get("PORT") or 5432), str(options.get("sslrootcert") or ""))
    except ssl.SSLCertVerificationError as fault:
        return _certificate_error(fault.verify_code, host)
    except OSError:  # an SSLError is one too
        return UNKNOWN_TLS_ERROR
    return explanation or UNKNOWN_TLS_ERROR


def _handshake(host: str, port: int, ca_file: str) -> Explanation | None:
    context = ssl.create_default_context()
    if ca_file and ca_file != "system":
        context = ssl.create_default_context(cafile=ca_file)
    with socket.create_connection((host, port), timeout=HANDSHAKE_SECONDS) as raw_socket:
        raw_socket.sendall(SSL_REQUEST)
        if raw_socket.recv(1) != b"S":
            return (
                "the server has no TLS",
                "turn on TLS (on RDS: rds.force_ssl=1), or add ?sslmode=disable to go without",
            )
        with context.wrap_socket(raw_socket, server_hostname=host):
            return None


def _certificate_error(code: int, host: str) -> Explanation:
    if code in {OTHER_HOST, OTHER_ADDRESS}:
        return (
            "the certificate is for another host",
            "use the host name in the certificate; if it is right, check for interception",
        )
    if code == EXPIRED:
        return "the certificate has expired", "renew it, or correct the clock of this machine"
    if code == NOT_YET:
        return "the certificate is not valid yet", "correct the clock of this machine"
    if code == SELF_SIGNED:
        return "the certificate is self-signed", "set DATABASE_CA to a file with that certificate"
    if code in NO_ISSUER and ".rds.amazonaws.com" in host:
        return "the certificate is signed by Amazon RDS", "set DATABASE_CA to a file with Amazon's bundle"
    return "the certificate is signed by an unknown authority", "set DATABASE_CA to a file with that authority"
